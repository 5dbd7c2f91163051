"""Issue, attenuate, narrow, rotate and revoke tokens.

The access of a token is computed at each use, as its scope within its identity's live grants. So no role can issue
anything beyond those grants, and nothing of them is copied or compared here. A scope can only shrink and an expiry only
get earlier. Rotation adds a secret, and older ones end after an overlap. Revocation ends a token and all its
descendants in one transaction. A pickup link has no secret until its recipient asks for it.
"""

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Peppers
from app.db.versions import move_versions
from app.db.webhook_events import (
    INSERT_DELIVERY,
    Message,
    WebhookEvent,
    delivery_values,
    enqueue,
    has_subscribers,
    token_message,
)
from app.domain import token_format
from app.domain.errors import Conflict, FieldError, Invalid, NotFound
from app.domain.scopes import scope_within
from app.features.approvals.decide import cancel_approvals
from app.features.approvals.queries import open_approvals
from app.features.audit.record import keep_version, record, record_created, record_each
from app.features.identities.queries import TURN, can_sign_in
from app.features.tokens import queries
from app.features.tokens.queries import PickupReading, TokenReading, end_pickups, find_pickups
from app.features.tokens.schemas import TokenCreate, TokenUpdate, TokenView
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.http.runtime import Runtime
from app.http.selectors import (
    TokenScopeModel,
    load_scope,
    scope_to_domain,
    servers_named_by_scope,
    store_scope,
)
from app.lib.ids import IDENTITY, PICKUP, TOKEN, format_id, new_id
from app.models.access import Approval
from app.models.tokens import Token, TokenPickup, TokenSecret

# Turns are taken before any row, and rows are locked in id order, as everywhere.
_HOLD = text(f"""
WITH wanted AS MATERIALIZED (
    SELECT id FROM identities WHERE id = :id OR id = (SELECT owner_id FROM identities WHERE id = :id) ORDER BY id
),
turns AS MATERIALIZED (SELECT id, pg_advisory_xact_lock_shared({TURN}) FROM wanted)
SELECT id, owner_id, status, now() AS now,
    ARRAY(SELECT id FROM servers WHERE id = ANY(CAST(:servers AS uuid[])) AND ended_at IS NULL) AS servers
FROM identities
WHERE id = ANY(ARRAY(SELECT id FROM turns))
ORDER BY id FOR SHARE OF identities
""")  # noqa: S608 - the only value is a constant
_TOKEN = {"id", "identity_id", "parent_id", "depth", "name", "expires_at", "ip_allow"}
_SECRET = {"digest", "pepper_key_id"}

# No decision depends on the token yet, so its version starts here and no other moves.
_ADD = text(f"""
WITH enqueued AS ({INSERT_DELIVERY}),
secret AS (
    INSERT INTO token_secrets (id, token_id, digest, pepper_key_id)
    SELECT CAST(:secret_id AS uuid), CAST(:id AS uuid), CAST(:digest AS bytea), CAST(:pepper_key_id AS varchar)
    WHERE CAST(:secret_id AS uuid) IS NOT NULL
),
version AS (INSERT INTO access_versions (id, version) VALUES (:id, 1))
INSERT INTO tokens (id, identity_id, parent_id, depth, name, scope, expires_at, ip_allow)
VALUES (:id, :identity_id, :parent_id, :depth, :name, CAST(:scope AS jsonb), :expires_at, :ip_allow)
RETURNING created_at, updated_at, revision
""")  # noqa: S608 - the only value is a constant


async def lock_identity_and_servers(
    session: AsyncSession, identity_id: UUID, servers: Collection[UUID]
) -> Sequence[Row[Any]]:
    """Lock an identity and its owner FOR SHARE and read them.

    Each row also has the database's time, ``now``, and the ids of the servers among these that have not ended.
    """
    return (await session.execute(_HOLD, {"id": identity_id, "servers": list(servers)})).all()


async def insert_token(
    session: AsyncSession, token: Token, secret: TokenSecret | None, message: Message
) -> None:
    """Insert a token, with its secret if it gets one now and its message, and read its times."""
    values = token.model_dump(include=_TOKEN) | delivery_values(message) | {"scope": json.dumps(token.scope)}
    values |= dict.fromkeys(("secret_id", *_SECRET)) if secret is None else _values_of(secret)
    row = (await session.execute(_ADD, values)).one()
    token.created_at, token.updated_at, token.revision = row


def _values_of(secret: TokenSecret) -> dict[str, Any]:
    return {"secret_id": secret.id} | secret.model_dump(include=_SECRET)


async def offer_pickup(
    session: AsyncSession,
    caller: Caller,
    token: Token,
    recipient_id: UUID,
    *,
    overlap_s: int = 0,
    ttl: timedelta,
    request_id: str | None,
) -> PickupReading:
    """Create a link for a locked token without a pending one.

    Raises ``Conflict`` for a recipient who could not sign in to use it.
    """
    if not await can_sign_in(session, recipient_id):
        raise Conflict(
            "The recipient cannot sign in: no account of an active provider is linked to the identity. Invite the "
            "person, set a link, or have the secret revealed to you.",
            code="recipient_cannot_sign_in",
        )
    until = await queries.database_now(session) + ttl
    row = TokenPickup(token_id=token.id, recipient_id=recipient_id, overlap_s=overlap_s, expires_at=until)
    session.add(row)
    await session.flush()
    changes = {
        "pickup_id": format_id(PICKUP, row.id),
        "recipient_id": format_id(IDENTITY, recipient_id),
        "expires_at": min(until, token.expires_at).isoformat(),
    }
    await record(
        session, caller, "token.pickup_create", "token", token.id,
        changes=changes, request_id=request_id, token_id=token.id,
    )  # fmt: skip
    return (await find_pickups(session, [row.id]))[row.id]


MAX_DEPTH = 5


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token with its secret, which is stored nowhere, or with its pickup link."""

    token: TokenView
    secret: str | None
    pickup: PickupReading | None


async def issue_token(
    session: AsyncSession, runtime: Runtime, caller: Caller, body: TokenCreate, request_id: str | None
) -> IssuedToken:
    """Issue a token.

    Identity, owner and parent are locked FOR SHARE until the commit, so that no concurrent offboarding or revocation
    misses the new token. Raises ``Conflict`` when the identity or its owner is not active, and ``Invalid``.
    """
    references = servers_named_by_scope(body.scope, "/scope")
    identity = await lock_active_identity(session, body.identity_id, {id for _, id in references})
    parent = None
    if body.parent_id is not None:
        parent = await _lock_parent(session, body.parent_id, identity)
        _check_within(body, parent)
    _check_expiry(identity.now, body.expires_at, runtime.max_token_ttl)
    _check_named(references, identity.servers)
    token = Token(
        id=new_id(),
        identity_id=body.identity_id,
        parent_id=body.parent_id,
        depth=0 if parent is None else parent.depth + 1,
        name=body.name,
        scope=store_scope(body.scope),
        expires_at=body.expires_at,
        ip_allow=list(dict.fromkeys(body.ip_allow)),
    )
    text, secret = (None, None) if body.delivery == "pickup" else new_secret(runtime.peppers, token.id)
    event_id = new_id()
    message = token_message(
        WebhookEvent.TOKEN_ISSUED, token.id, token.identity_id, event_id, parent_id=token.parent_id
    )
    await insert_token(session, token, secret, message)
    await record_created(
        session, caller, "token.issue", "token", token.id, event_id=event_id,
        kind="token_scope", content=scope_content(token), changes=_issue_changes(token),
        request_id=request_id, token_id=token.id,
    )  # fmt: skip
    # Active, since everything that it depends on was active and is locked.
    view = TokenView.from_reading(TokenReading(token, "active", None, None))
    if text is not None:
        return IssuedToken(view, text, None)
    recipient_id = identity.owner_id or identity.id
    pickup = await offer_pickup(
        session, caller, token, recipient_id, ttl=runtime.pickup_ttl, request_id=request_id
    )
    return IssuedToken(view, None, pickup)


def new_secret(peppers: Peppers, token_id: UUID) -> tuple[str, TokenSecret]:
    """Create a secret of the token: the credential's text, and the row with its HMAC."""
    text = token_format.format_credential(
        token_format.SCOPED_TOKEN, token_id, secrets.token_bytes(token_format.SECRET_BYTES)
    )
    credential = token_format.parse_credential(text, token_format.SCOPED_TOKEN)
    if credential is None:
        raise AssertionError("a new credential always parses")
    digest = peppers.digest(credential.digest_input)
    return text, TokenSecret(token_id=token_id, digest=digest, pepper_key_id=peppers.current_id)


def scope_content(token: Token) -> dict[str, Any]:
    """The history of a token: what it could reach, and when."""
    return {
        "identity_id": token.identity_id,
        "parent_id": token.parent_id,
        "scope": token.scope,
        "expires_at": token.expires_at.isoformat(),
        "ip_allow": token.ip_allow,
    }


async def check_scope_servers(session: AsyncSession, scope: TokenScopeModel) -> None:
    """Raise ``Invalid`` with every server id of the scope that does not exist."""
    references = servers_named_by_scope(scope, "/scope")
    if references:
        _check_named(references, await queries.existing_servers(session, {id for _, id in references}))


def _check_named(references: Sequence[tuple[str, UUID]], existing: Collection[UUID]) -> None:
    missing = [
        FieldError(pointer, "not_found", "There is no such server.")
        for pointer, id in references
        if id not in existing
    ]
    if missing:
        raise Invalid("The scope names servers that do not exist; see errors.", errors=missing)


def _check_expiry(now: datetime, expires_at: datetime, max_lifetime: timedelta) -> None:
    """Raise ``Invalid`` for a past or too distant expiry, by the database's clock."""
    if expires_at <= now:
        raise Invalid.field("/expires_at", "in_the_past", "expires_at must be in the future.")
    if expires_at > now + max_lifetime:
        latest = (now + max_lifetime).isoformat(timespec="seconds")
        raise Invalid.field(
            "/expires_at",
            "too_late",
            f"The time is too far ahead: choose one up to {latest}.",
        )


async def lock_active_identity(
    session: AsyncSession, identity_id: UUID, servers: Collection[UUID]
) -> Row[Any]:
    """Lock the identity and its owner FOR SHARE, and require that both are active."""
    while True:
        locked = {row.id: row for row in await lock_identity_and_servers(session, identity_id, servers)}
        identity = locked.get(identity_id)
        if identity is None:
            raise Invalid.field("/identity_id", "not_found", "There is no such identity.")
        # The agent may have been transferred while we waited; then its new owner must be locked as well.
        if identity.owner_id is None or identity.owner_id in locked:
            break
    for one, word in ((identity, "identity"), (locked.get(identity.owner_id), "identity's owner")):
        if one is not None and one.status != "active":
            raise Conflict(
                f"This {word} is {one.status}: only active ones can get tokens. Reinstate it first.",
                code="identity_not_active",
            )
    return identity


async def _lock_parent(session: AsyncSession, parent_id: UUID, identity: Row[Any]) -> Token:
    parent = await queries.lock_token(session, parent_id, share=True)
    if parent is None:
        raise Invalid.field("/parent_id", "not_found", "There is no such token.")
    if parent.identity_id not in (identity.id, identity.owner_id):
        raise Invalid.field(
            "/identity_id", "not_of_parent",
            "A token can be attenuated for its own identity or an agent of that identity.",
        )  # fmt: skip
    reading = await queries.find_reading(session, parent_id)
    if reading is None or reading.status != "active":
        raise Invalid.field("/parent_id", "parent_not_live", "Only an active token can be attenuated.")
    if parent.depth >= MAX_DEPTH:
        raise Invalid.field(
            "/parent_id",
            "too_deep",
            f"A token can have at most {MAX_DEPTH} ancestors: attenuate one of them.",
        )
    return parent


def _check_within(body: TokenCreate, parent: Token) -> None:
    wrong = []
    if not scope_within(scope_to_domain(body.scope), load_scope(parent.scope)):
        wrong.append(FieldError("/scope", "wider_than_parent", "The scope must lie within the parent's."))
    if body.expires_at > parent.expires_at:
        latest = parent.expires_at.isoformat()
        wrong.append(
            FieldError(
                "/expires_at", "later_than_parent", f"The parent expires at {latest}; no later than that."
            )
        )
    if wrong:
        raise Invalid("An attenuated token must not exceed its parent.", errors=wrong)


def _issue_changes(token: Token) -> dict[str, Any]:
    return {
        "identity_id": format_id(IDENTITY, token.identity_id),
        "parent_id": None if token.parent_id is None else format_id(TOKEN, token.parent_id),
        "scope": token.scope,
        "expires_at": token.expires_at.isoformat(),
    }


async def narrow_token(
    session: AsyncSession,
    caller: Caller,
    token_id: UUID,
    body: TokenUpdate,
    if_match: Precondition,
    request_id: str | None,
) -> None:
    """Apply the patch. Raises ``NotFound``, ``Conflict`` for an ended token, ``Invalid`` for a wider one, and
    ``PreconditionFailed``."""
    # The descendants' expiry follows, so they are locked with it, in the one order.
    below = await queries.lock_live_family(session, [col(Token.id) == token_id])
    token = await read_live_token(session, token_id)
    if_match.check(token.row.revision)
    row, fields = token.row, body.model_fields_set
    changes: dict[str, Any] = {}
    _check_narrower(body, row)
    if "scope" in fields:
        await check_scope_servers(session, body.scope)
        scope = store_scope(body.scope)
        if scope != row.scope:
            changes["scope"] = {"from": row.scope, "to": scope}
            row.scope = scope
    changed_ids = []
    if "expires_at" in fields and body.expires_at != row.expires_at:
        if body.expires_at <= await queries.database_now(session):
            raise Invalid.field(
                "/expires_at",
                "in_the_past",
                "expires_at must be in the future; to end a token now, revoke it.",
            )
        changes["expires_at"] = {"from": row.expires_at.isoformat(), "to": body.expires_at.isoformat()}
        row.expires_at = body.expires_at
        children = [id for id in below if id != row.id]
        changed_ids = await queries.clamp_expiry(session, children, body.expires_at)
    if changes:
        changed_ids.append(row.id)
    if "name" in fields and body.name != row.name:
        # A name can be personal, so the event has only the fact of the change.
        changes["name"] = "changed"
        row.name = body.name
    if not changes:
        return
    row.revision += 1
    await session.flush()
    await _record_narrowing(session, caller, row, changed_ids, changes, request_id)
    await move_versions(session, changed_ids, narrows=True)


async def _record_narrowing(
    session: AsyncSession,
    caller: Caller,
    row: Token,
    changed_ids: list[UUID],
    changes: dict[str, Any],
    request_id: str | None,
) -> None:
    """Record the history of all changed tokens, one event, and a message for each token."""
    holders = {row.id: row.identity_id}
    for id in changed_ids:
        reading = await queries.find_reading(session, id)
        if reading is not None:
            holders[id] = reading.row.identity_id
            await keep_version(session, "token_scope", id, scope_content(reading.row))
    event_id = await record(
        session, caller, "token.update", "token", row.id,
        changes=changes, request_id=request_id, token_id=row.id,
    )  # fmt: skip
    # Descendants with the new expiry have changed too, by the same event.
    updated = (
        token_message(WebhookEvent.TOKEN_UPDATED, id, holder, event_id) for id, holder in holders.items()
    )
    await enqueue(session, *updated)


async def read_live_token(session: AsyncSession, token_id: UUID) -> TokenReading:
    """Read a token that can still be changed. Raises ``NotFound`` or ``Conflict``."""
    reading = await queries.find_reading(session, token_id)
    if reading is None:
        raise NotFound("There is no such token.")
    if reading.status in {"revoked", "expired"}:
        raise Conflict(f"This token is {reading.status}, which is final: issue another.", code="token_ended")
    return reading


def _check_narrower(body: TokenUpdate, row: Token) -> None:
    wrong = []
    if "scope" in body.model_fields_set and not scope_within(
        scope_to_domain(body.scope), load_scope(row.scope)
    ):
        wrong.append(
            FieldError(
                "/scope",
                "wider",
                "The scope must provably be within the current one; to widen it, issue a new token.",
            )
        )
    if "expires_at" in body.model_fields_set and body.expires_at > row.expires_at:
        now = row.expires_at.isoformat()
        wrong.append(
            FieldError(
                "/expires_at", "later", f"It can only be earlier than {now}; to extend it, issue a new token."
            )
        )
    if wrong:
        raise Invalid("A token can only be narrowed.", errors=wrong)


async def rotate_token(
    session: AsyncSession,
    runtime: Runtime,
    caller: Caller,
    token_id: UUID,
    overlap: timedelta,
    if_match: Precondition,
    request_id: str | None,
) -> str:
    """Add a secret and return its text; earlier ones work until now + ``overlap``, or their own earlier end.

    Raises ``NotFound``, ``PreconditionFailed`` and, for a token that has ended, ``Conflict``.
    """
    await queries.lock_token(session, token_id)
    row = (await read_live_token(session, token_id)).row
    if_match.check(row.revision)
    until = await queries.database_now(session) + overlap
    secret = await add_secret(session, runtime.peppers, row, until)
    # A pending pickup would end the new secret.
    await end_pickups(session, [token_id])
    event_id = await record(
        session, caller, "token.rotate", "token", token_id,
        changes={"overlap_until": until.isoformat()}, request_id=request_id, token_id=token_id,
    )  # fmt: skip
    await enqueue(session, token_message(WebhookEvent.TOKEN_ROTATED, token_id, row.identity_id, event_id))
    await move_versions(session, [token_id], narrows=True)
    return secret


async def add_secret(session: AsyncSession, peppers: Peppers, token: Token, until: datetime) -> str:
    """Add a secret to a locked token and return its text; earlier ones work at most until this time."""
    await queries.end_secrets(session, token.id, until)
    secret, secret_row = new_secret(peppers, token.id)
    session.add(secret_row)
    token.revision += 1
    await session.flush()
    return secret


@dataclass(frozen=True, slots=True)
class Revocation:
    """The tokens that ended (or would), in id order, and the number of their running calls."""

    tokens: list[UUID]
    in_flight: int


async def revoke_tokens(
    session: AsyncSession,
    caller: Caller,
    roots: Collection[ColumnElement[bool]],
    reason: str,
    *,
    dry_run: bool,
    request_id: str | None,
) -> Revocation:
    """Revoke every live token that meets the conditions, and its descendants; with ``dry_run`` only return them."""
    if dry_run:
        ids = await queries.live_family(session, roots)
        return Revocation(ids, await queries.count_in_flight(session, ids))
    ids = await queries.lock_live_family(session, roots)
    in_flight = await queries.count_in_flight(session, ids)
    await end_tokens(session, caller, ids, reason, request_id)
    await move_versions(session, ids, narrows=True)
    return Revocation(ids, in_flight)


async def end_tokens(
    session: AsyncSession, caller: Caller, ids: Collection[UUID], reason: str, request_id: str | None
) -> None:
    """End these locked tokens and the approvals that their calls requested, with an event and a message for each. The
    reason, which people write, is in neither.

    The caller moves the versions, once for the whole transaction.
    """
    if not ids:
        return
    await queries.mark_revoked(session, ids, reason)
    await end_pickups(session, ids)
    events = await record_each(
        session, caller, "token.revoke", "token", ids, request_id=request_id, id_column="token_id"
    )
    await _tell(session, events)
    of_tokens = queries.among(col(Approval.token_id), ids)
    approvals = await open_approvals(session, of_tokens, lock=True)
    await cancel_approvals(session, caller, approvals, "token_revoked", request_id)


async def _tell(session: AsyncSession, events: Mapping[UUID, UUID]) -> None:
    """Enqueue a message for each ended token, given their events. For many tokens they are built only for subscribers,
    and written by one statement."""
    type = WebhookEvent.TOKEN_REVOKED
    if await has_subscribers(session, type):
        holders = await queries.holders_of(session, events)
        await enqueue(session, *(token_message(type, id, holders[id], event) for id, event in events.items()))
