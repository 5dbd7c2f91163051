"""Revocation: tokens end with everything attenuated from them, in one transaction, at once.

What issuing looks up and writes: one round trip for all that has to stand still, and one for the token.

Making a pick-up link. Nothing of a secret is made with it: there is none until the recipient asks for it.

Issuing and attenuating: a new token with its one secret, or with a link for it.

What a token may do is worked out anew at each use as its scope within its identity's live grants, so no role can
issue anything beyond those grants; nothing of them needs to be copied or compared here.

Narrowing: a token's scope may only get smaller and its expiry only earlier.

Rotation: a new secret for the same token, the older ones ending after an overlap.
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
from app.db.outbox import TELL_ONE, is_wanted, tell, values_of
from app.db.versions import move_versions
from app.db.webhook_events import Message, WebhookEvent, token_message
from app.domain import token_format
from app.domain.errors import Conflict, FieldError, Invalid, NotFound
from app.domain.scopes import scope_within
from app.features.approvals.decide import cancel_approvals
from app.features.approvals.queries import open_approvals
from app.features.audit.record import keep_version, record, record_each, record_made
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
from app.models.approvals import Approval
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
""")  # noqa: S608 - the one value is a constant of ours
_TOKEN = {"id", "identity_id", "parent_id", "depth", "name", "expires_at", "ip_allow"}
_SECRET = {"digest", "pepper_key_id"}

# Nothing can rest on the token yet, so its version begins here and moves nobody's.
_ADD = text(f"""
WITH told AS ({TELL_ONE}),
secret AS (
    INSERT INTO token_secrets (id, token_id, digest, pepper_key_id)
    SELECT CAST(:secret_id AS uuid), CAST(:id AS uuid), CAST(:digest AS bytea), CAST(:pepper_key_id AS varchar)
    WHERE CAST(:secret_id AS uuid) IS NOT NULL
),
version AS (INSERT INTO access_versions (id, version) VALUES (:id, 1))
INSERT INTO tokens (id, identity_id, parent_id, depth, name, scope, expires_at, ip_allow)
VALUES (:id, :identity_id, :parent_id, :depth, :name, CAST(:scope AS jsonb), :expires_at, :ip_allow)
RETURNING created_at, updated_at, revision
""")  # noqa: S608 - the one value is a constant of ours


async def hold(session: AsyncSession, identity_id: UUID, servers: Collection[UUID]) -> Sequence[Row[Any]]:
    """An identity and its owner as they are once both are held FOR SHARE.

    Each row also has the database's time, ``now``, and which of these servers exist and have not ended.
    """
    return (await session.execute(_HOLD, {"id": identity_id, "servers": list(servers)})).all()


async def add(session: AsyncSession, token: Token, secret: TokenSecret | None, message: Message) -> None:
    """Add a token with its secret, if it gets one now, tell of it, and read its times."""
    values = token.model_dump(include=_TOKEN) | values_of(message) | {"scope": json.dumps(token.scope)}
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
    """Make a link for a token that is held and has none that waits.

    Raises ``Conflict`` for a recipient who could not sign in to take the secret.
    """
    if not await can_sign_in(session, recipient_id):
        raise Conflict(
            "The person who would take the secret cannot sign in: no account of an active provider is linked to the "
            "identity. Invite the person, set a link, or have the secret revealed to you.",
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


DEEPEST = 5


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token with its secret, which is kept nowhere, or else with the link by which somebody takes one."""

    token: TokenView
    secret: str | None
    pickup: PickupReading | None


async def issue_token(
    session: AsyncSession, runtime: Runtime, caller: Caller, body: TokenCreate, request_id: str | None
) -> Issued:
    """Issue a token.

    Identity, owner and parent are held FOR SHARE until the commit, so that no offboarding or revocation that runs
    beside this one misses the new token. Raises ``Conflict`` when the identity or its owner is not active, and
    ``Invalid``.
    """
    named = servers_named_by_scope(body.scope, "/scope")
    identity = await hold_active(session, body.identity_id, {id for _, id in named})
    parent = None
    if body.parent_id is not None:
        parent = await _hold_parent(session, body.parent_id, identity)
        _check_within(body, parent)
    _check_expiry(identity.now, body.expires_at, runtime.max_token_ttl)
    _check_named(named, identity.servers)
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
    await add(session, token, secret, message)
    await record_made(
        session, caller, "token.issue", "token", token.id, event_id=event_id,
        kind="token_scope", content=scope_content(token), changes=_issued(token),
        request_id=request_id, token_id=token.id,
    )  # fmt: skip
    # Active: so were those that it rests on, and they are held.
    view = TokenView.from_reading(TokenReading(token, "active", None, None))
    if text is not None:
        return Issued(view, text, None)
    recipient_id = identity.owner_id or identity.id
    pickup = await offer_pickup(
        session, caller, token, recipient_id, ttl=runtime.pickup_ttl, request_id=request_id
    )
    return Issued(view, None, pickup)


def new_secret(peppers: Peppers, token_id: UUID) -> tuple[str, TokenSecret]:
    """A secret of the token: the credential's text, and the row that keeps its HMAC."""
    text = token_format.format_credential(
        token_format.SCOPED_TOKEN, token_id, secrets.token_bytes(token_format.SECRET_BYTES)
    )
    credential = token_format.parse_credential(text, token_format.SCOPED_TOKEN)
    if credential is None:
        raise AssertionError("a new credential always parses")
    digest = peppers.digest(credential.digest_input)
    return text, TokenSecret(token_id=token_id, digest=digest, pepper_key_id=peppers.current_id)


def scope_content(token: Token) -> dict[str, Any]:
    """What history keeps of a token: all that says what it could reach, and when."""
    return {
        "identity_id": token.identity_id,
        "parent_id": token.parent_id,
        "scope": token.scope,
        "expires_at": token.expires_at.isoformat(),
        "ip_allow": token.ip_allow,
    }


async def check_scope_servers(session: AsyncSession, scope: TokenScopeModel) -> None:
    """Raise ``Invalid`` naming every server id of the scope that is not there."""
    named = servers_named_by_scope(scope, "/scope")
    if named:
        _check_named(named, await queries.existing_servers(session, {id for _, id in named}))


def _check_named(named: Sequence[tuple[str, UUID]], existing: Collection[UUID]) -> None:
    missing = [
        FieldError(pointer, "not_found", "There is no such server.")
        for pointer, id in named
        if id not in existing
    ]
    if missing:
        raise Invalid("The scope names servers that do not exist; see errors for which.", errors=missing)


def _check_expiry(now: datetime, expires_at: datetime, longest: timedelta) -> None:
    """By the database's clock."""
    if expires_at <= now:
        raise Invalid.field("/expires_at", "in_the_past", "expires_at must lie in the future.")
    if expires_at > now + longest:
        latest = (now + longest).isoformat(timespec="seconds")
        raise Invalid.field(
            "/expires_at",
            "too_late",
            f"The time lies too far ahead: choose one up to {latest}.",
        )


async def hold_active(session: AsyncSession, identity_id: UUID, servers: Collection[UUID]) -> Row[Any]:
    """The identity, held FOR SHARE together with its owner, both active; see ``issue_queries.hold``."""
    while True:
        held = {row.id: row for row in await hold(session, identity_id, servers)}
        identity = held.get(identity_id)
        if identity is None:
            raise Invalid.field("/identity_id", "not_found", "There is no such identity.")
        # The agent may have been handed over while we waited; then its new owner must be held as well.
        if identity.owner_id is None or identity.owner_id in held:
            break
    for one, word in ((identity, "identity"), (held.get(identity.owner_id), "identity's owner")):
        if one is not None and one.status != "active":
            raise Conflict(
                f"This {word} is {one.status}: only active ones can get tokens. Reinstate it first.",
                code="identity_not_active",
            )
    return identity


async def _hold_parent(session: AsyncSession, parent_id: UUID, identity: Row[Any]) -> Token:
    parent = await queries.lock_token(session, parent_id, share=True)
    if parent is None:
        raise Invalid.field("/parent_id", "not_found", "There is no such token.")
    if parent.identity_id not in (identity.id, identity.owner_id):
        raise Invalid.field(
            "/identity_id", "not_of_parent",
            "A token can be attenuated for its own identity or an agent which that identity owns.",
        )  # fmt: skip
    reading = await queries.find_reading(session, parent_id)
    if reading is None or reading.status != "active":
        raise Invalid.field("/parent_id", "parent_not_live", "Only an active token can be attenuated.")
    if parent.depth >= DEEPEST:
        raise Invalid.field(
            "/parent_id",
            "too_deep",
            f"At most {DEEPEST} tokens may stand above one: attenuate one further up.",
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
        raise Invalid("An attenuated token may not reach further than its parent.", errors=wrong)


def _issued(token: Token) -> dict[str, Any]:
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
    """Apply the patch. Raises ``NotFound``, ``Conflict`` for one that has ended, ``Invalid`` for a wider one, and
    ``PreconditionFailed``."""
    # The children's expiry follows, so they are locked with it, in the one order.
    below = await queries.lock_living_family(session, [col(Token.id) == token_id])
    token = await living_token(session, token_id)
    if_match.check(token.row.revision)
    row, given = token.row, body.model_fields_set
    changes: dict[str, Any] = {}
    _check_narrower(body, row)
    if "scope" in given:
        await check_scope_servers(session, body.scope)
        scope = store_scope(body.scope)
        if scope != row.scope:
            changes["scope"] = {"from": row.scope, "to": scope}
            row.scope = scope
    moved = []
    if "expires_at" in given and body.expires_at != row.expires_at:
        if body.expires_at <= await queries.database_now(session):
            raise Invalid.field(
                "/expires_at",
                "in_the_past",
                "expires_at must lie in the future; to end a token now, revoke it.",
            )
        changes["expires_at"] = {"from": row.expires_at.isoformat(), "to": body.expires_at.isoformat()}
        row.expires_at = body.expires_at
        children = [id for id in below if id != row.id]
        moved = await queries.clamp_expiry(session, children, body.expires_at)
    if changes:
        moved.append(row.id)
    if "name" in given and body.name != row.name:
        # A name can be personal, so the event says that it changed and not what it was.
        changes["name"] = "changed"
        row.name = body.name
    if not changes:
        return
    row.revision += 1
    await session.flush()
    await _note_narrowed(session, caller, row, moved, changes, request_id)
    await move_versions(session, moved, narrows=True)


async def _note_narrowed(
    session: AsyncSession,
    caller: Caller,
    row: Token,
    moved: list[UUID],
    changes: dict[str, Any],
    request_id: str | None,
) -> None:
    """Keep the history of all that moved, and tell of the change: one event, and a message for each token."""
    holders = {row.id: row.identity_id}
    for id in moved:
        reading = await queries.find_reading(session, id)
        if reading is not None:
            holders[id] = reading.row.identity_id
            await keep_version(session, "token_scope", id, scope_content(reading.row))
    event_id = await record(
        session, caller, "token.update", "token", row.id,
        changes=changes, request_id=request_id, token_id=row.id,
    )  # fmt: skip
    # Those that got its expiry have changed as well, by the one event.
    updated = (
        token_message(WebhookEvent.TOKEN_UPDATED, id, holder, event_id) for id, holder in holders.items()
    )
    await tell(session, *updated)


async def living_token(session: AsyncSession, token_id: UUID) -> TokenReading:
    """A token that can still be changed. Raises ``NotFound`` or ``Conflict``."""
    reading = await queries.find_reading(session, token_id)
    if reading is None:
        raise NotFound("There is no such token.")
    if reading.status in {"revoked", "expired"}:
        raise Conflict(f"This token is {reading.status} and stays so: issue another.", code="token_ended")
    return reading


def _check_narrower(body: TokenUpdate, row: Token) -> None:
    wrong = []
    if "scope" in body.model_fields_set and not scope_within(
        scope_to_domain(body.scope), load_scope(row.scope)
    ):
        wrong.append(
            FieldError(
                "/scope", "wider", "The scope must provably lie within the present one; to widen, issue anew."
            )
        )
    if "expires_at" in body.model_fields_set and body.expires_at > row.expires_at:
        now = row.expires_at.isoformat()
        wrong.append(
            FieldError("/expires_at", "later", f"It may only get earlier than {now}; to prolong, issue anew.")
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
    """Add a secret and return its text; those before it work until now + ``overlap``, or earlier if already set.

    Raises ``NotFound``, ``PreconditionFailed`` and, for a token that has ended, ``Conflict``.
    """
    await queries.lock_token(session, token_id)
    row = (await living_token(session, token_id)).row
    if_match.check(row.revision)
    until = await queries.database_now(session) + overlap
    secret = await add_secret(session, runtime.peppers, row, until)
    # Whoever should have picked one up would end this one with it.
    await end_pickups(session, [token_id])
    event_id = await record(
        session, caller, "token.rotate", "token", token_id,
        changes={"overlap_until": until.isoformat()}, request_id=request_id, token_id=token_id,
    )  # fmt: skip
    await tell(session, token_message(WebhookEvent.TOKEN_ROTATED, token_id, row.identity_id, event_id))
    await move_versions(session, [token_id], narrows=True)
    return secret


async def add_secret(session: AsyncSession, peppers: Peppers, token: Token, until: datetime) -> str:
    """Give a locked token a new secret and return its text; those before it work until this time at the latest."""
    await queries.end_secrets(session, token.id, until)
    secret, secret_row = new_secret(peppers, token.id)
    session.add(secret_row)
    token.revision += 1
    await session.flush()
    return secret


@dataclass(frozen=True, slots=True)
class Revoked:
    """The tokens that ended (or would), in id order, and how many of their calls were running."""

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
) -> Revoked:
    """End every living token that meets the conditions, and all below those; with ``dry_run`` only say which."""
    if dry_run:
        ids = await queries.living_family(session, roots)
        return Revoked(ids, await queries.count_in_flight(session, ids))
    ids = await queries.lock_living_family(session, roots)
    in_flight = await queries.count_in_flight(session, ids)
    await end_tokens(session, caller, ids, reason, request_id)
    await move_versions(session, ids, narrows=True)
    return Revoked(ids, in_flight)


async def end_tokens(
    session: AsyncSession, caller: Caller, ids: Collection[UUID], reason: str, request_id: str | None
) -> None:
    """End these locked tokens and the approvals that calls with them asked for, with an event and a message for each.
    The reason, which people word, stays out of both.

    Moving their versions is left to the caller, who moves all of a transaction's at once.
    """
    if not ids:
        return
    await queries.mark_revoked(session, ids, reason)
    await end_pickups(session, ids)
    events = await record_each(
        session, caller, "token.revoke", "token", ids, request_id=request_id, id_column="token_id"
    )
    await _tell(session, events)
    asked_with = queries.among(col(Approval.token_id), ids)
    approvals = await open_approvals(session, asked_with, lock=True)
    await cancel_approvals(session, caller, approvals, "token_revoked", request_id)


async def _tell(session: AsyncSession, events: Mapping[UUID, UUID]) -> None:
    """Tell of each token that ended, given the events of that. Of many as of one: they are made when somebody wants
    them, and written by one statement."""
    type = WebhookEvent.TOKEN_REVOKED
    if await is_wanted(session, type):
        holders = await queries.holders_of(session, events)
        await tell(session, *(token_message(type, id, holders[id], event) for id, event in events.items()))
