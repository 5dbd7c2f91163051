"""Issue, attenuate, narrow, rotate and revoke tokens.

The access of a token is computed at each use, as its scope within its identity's live grants. So no role can issue
anything beyond those grants, and nothing of them is copied or compared here. A scope can only shrink and an expiry only
get earlier. Rotation adds a secret, and older ones end after an overlap. Revocation ends a token and all its
descendants in one transaction. A pickup link has no secret until its recipient asks for it.
"""

import json
import secrets
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Peppers
from app.db import rows
from app.db.change import Change, Subject, Values, erase_from_history
from app.db.clock import transaction_time
from app.db.rows import Lock, is_one_of
from app.db.webhook_events import WebhookEvent, has_subscribers
from app.domain import token_format
from app.domain.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from app.domain.scopes import scope_within
from app.features.approvals.queries import open_approvals
from app.features.approvals.service import cancel_approvals
from app.features.grants.queries import reject_unknown_servers, unknown_servers
from app.features.identities.queries import TURN, agents_of, can_sign_in, lock_identity
from app.features.tokens import queries
from app.features.tokens.queries import SORTS, PickupReading, TokenReading, find_pickups
from app.features.tokens.schemas import (
    RevocationView,
    RevokedTokens,
    TokenCreate,
    TokenQuery,
    TokenRevoke,
    TokenRotate,
    TokenUpdate,
    TokenView,
)
from app.features.tools.queries import Finding, Reaches, Selected, SelectorWarning, find_reach, may_see_reach
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.http.pagination import Cursors, Page, read_page
from app.http.runtime import Runtime
from app.http.selectors import load_scope, scope_to_domain, servers_named_by_scope, store_scope
from app.lib import ids
from app.lib.event_loop import in_slices
from app.lib.ids import IDENTITY, format_id, new_id, parse_id
from app.models.access import Approval
from app.models.identities import Identity
from app.models.tokens import Token, TokenPickup, TokenSecret

# A reason is stored with everything that ended with a token or the person: child tokens, and those of agents.
_ERASE = text("""
WITH RECURSIVE family AS (
    SELECT id FROM tokens WHERE identity_id = :id
    UNION SELECT id FROM unnest(CAST(:ended AS uuid[])) ended(id)
    UNION SELECT below.id FROM tokens below JOIN family ON below.parent_id = family.id
),
held AS (SELECT id FROM tokens WHERE id IN (SELECT id FROM family) ORDER BY id FOR UPDATE)
UPDATE tokens SET
    name = CASE WHEN identity_id = :id THEN 'erased' ELSE name END,
    ip_allow = CASE WHEN identity_id = :id THEN '{}' ELSE ip_allow END,
    revoke_reason = NULL, revision = revision + 1, updated_at = now()
WHERE id IN (SELECT id FROM held) AND (identity_id = :id OR revoke_reason IS NOT NULL)
RETURNING id, identity_id
""")
# Drafts by a person, and those by others for the person; there are few, of one day.
_ERASE_DRAFTS = text(
    "DELETE FROM token_drafts WHERE person_id = :id OR content ->> 'identity_id' = :shown_id"
)
_ENDED_BY_OFFBOARDING = text("""
SELECT ended #>> '{}' FROM offboarding_receipts, jsonb_array_elements(body -> 'revoked' -> 'tokens') ended
WHERE identity_id = :id
""")

TOKEN = Subject(
    "token",
    # A name can be personal, so events have only the fact of its change.
    audited=tuple(name for name in TokenUpdate.model_fields if name != "name"),
    history="token_scope",
    kept=("identity_id", "parent_id", "scope", "expires_at", "ip_allow"),
    webhook=("identity_id",),
)
_NEW_TOKEN = replace(TOKEN, webhook=(*TOKEN.webhook, "parent_id"))
"""Only the message about a new token names its parent."""
MAX_DEPTH = 5
MAX_GRANTS = 200
"""With more live grants, the reach of a token is not computed: each grant is a condition of the statement."""
_PEOPLE = frozenset({"administrator", "identity"})
_NOT_OWN = "There is no such token, or it is neither yours nor that of an agent that you own."
_INSERTED = {"id", "identity_id", "parent_id", "depth", "name", "expires_at", "ip_allow"}

# Turns are taken before any row, and rows are locked in id order, as everywhere.
_LOCK_IDENTITY = text(f"""
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
# One statement, for speed. No decision depends on the token yet, so its version starts here and no other moves.
_INSERT = text("""
WITH secret AS (
    INSERT INTO token_secrets (id, token_id, digest, pepper_key_id)
    SELECT CAST(:secret_id AS uuid), CAST(:id AS uuid), CAST(:digest AS bytea), CAST(:pepper_key_id AS varchar)
    WHERE CAST(:secret_id AS uuid) IS NOT NULL
),
version AS (INSERT INTO access_versions (id, version) VALUES (:id, 1))
INSERT INTO tokens (id, identity_id, parent_id, depth, name, scope, expires_at, ip_allow)
VALUES (:id, :identity_id, :parent_id, :depth, :name, CAST(:scope AS jsonb), :expires_at, :ip_allow)
RETURNING created_at, updated_at, revision
""")


async def list_tokens(session: AsyncSession, query: TokenQuery, runtime: Runtime) -> Page[TokenView]:
    """Read a page of all tokens."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_tokens", query.filters())
    return await _read_page(session, queries.select_tokens(query), cursors, query)


async def list_own_tokens(
    session: AsyncSession, caller: Caller, query: TokenQuery, runtime: Runtime
) -> Page[TokenView]:
    """Read a page of the caller's tokens and those of their agents. Raises as ``person_of`` does."""
    me = person_of(caller)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_own_tokens", query.filters() | {"me": me})
    own = is_one_of(col(Token.identity_id), [me, *await agents_of(session, me)])
    return await _read_page(session, queries.select_tokens(query).where(own), cursors, query)


async def _read_page(
    session: AsyncSession, statement: Any, cursors: Cursors, query: TokenQuery
) -> Page[TokenView]:
    tokens, next_cursor = await read_page(session, statement, Token, cursors, query, SORTS)
    readings = await queries.find_readings(session, [token.id for token in tokens])
    views = [TokenView.from_reading(readings[token.id]) for token in tokens]
    return Page(items=views, next_cursor=next_cursor)


async def show_token(session: AsyncSession, token_id: UUID) -> TokenView:
    """Read a token. Raises ``NotFound``."""
    reading = await queries.find_reading(session, token_id)
    if reading is None:
        raise NotFound("There is no such token.")
    return TokenView.from_reading(reading)


async def with_reach(session: AsyncSession, caller: Caller, token: TokenView) -> TokenView:
    """Add the reach of the token's scope now, within its identity's live grants, if the caller may see it."""
    if not may_see_reach(caller):
        return token
    granted = await queries.live_grants(session, token.identity_id, MAX_GRANTS + 1)
    if len(granted) > MAX_GRANTS:
        return token
    finding = await _find_reach(session, store_scope(token.scope), granted)
    return token.model_copy(update={"reaches": finding.reaches, "warnings": finding.warnings})


async def _find_reach(session: AsyncSession, scope: dict[str, Any], granted: list[Selected]) -> Finding:
    if scope["kind"] == "listed":
        if not scope["entries"]:
            return _nothing("empty_scope", "The scope has no entries and reaches nothing.")
        selected = [
            Selected(entry["servers"], entry["tools"], f"/scope/entries/{index}")
            for index, entry in enumerate(scope["entries"])
        ]
        return await find_reach(session, selected, granted)
    finding = await find_reach(session, granted)
    if finding.reaches.tools:
        return Finding(finding.reaches, [])
    return _nothing("not_granted", "The identity has no live grant that reaches a tool.", finding.reaches)


def _nothing(code: str, detail: str, reaches: Reaches | None = None) -> Finding:
    warning = SelectorWarning(pointer="/scope", code=code, detail=detail)
    return Finding(reaches or Reaches(servers=0, tools=0), [warning])


def person_of(caller: Caller) -> UUID:
    """The person who signed in themselves.

    Raises ``Forbidden`` for other callers: the creator of a service account chooses its owner, and must not get that
    person's secrets with it.
    """
    if caller.kind not in _PEOPLE or caller.identity_id is None:
        raise Forbidden(
            "This is for people who sign in themselves: a service account cannot act as its owner."
        )
    return caller.identity_id


async def show_own_token(session: AsyncSession, caller: Caller, token_id: UUID) -> TokenView:
    """Read a token of the caller or of their agents. Raises ``NotFound`` for any other, and as ``person_of`` does."""
    me, reading = person_of(caller), await queries.find_reading(session, token_id)
    if reading is None:
        raise NotFound(_NOT_OWN)
    identity = await session.get(Identity, reading.row.identity_id, populate_existing=True)
    if not _answers_for(me, identity):
        raise NotFound(_NOT_OWN)
    return TokenView.from_reading(reading)


def _answers_for(person_id: UUID, identity: Identity | None) -> bool:
    """Whether an identity is this person, or an agent of theirs."""
    return identity is not None and (identity.owner_id or identity.id) == person_id


async def _lock_own(change: Change, token_id: UUID) -> UUID:
    """Lock the holder of an own token, so that its agent is not transferred until this transaction ends."""
    holder = (await show_own_token(change.session, change.caller, token_id)).identity_id
    identity = await lock_identity(change.session, holder, share=True)
    if not _answers_for(person_of(change.caller), identity):
        raise NotFound(_NOT_OWN)
    return holder


async def rotate_own_token(
    change: Change, token_id: UUID, body: TokenRotate, if_match: Precondition, peppers: Peppers
) -> str:
    """Rotate a token of the caller or of their agents; return its secret.

    Raises as ``show_own_token`` and ``rotate_token`` do, and ``Forbidden`` for an agent's token from the time of a
    former owner: otherwise a caller who may transfer agents, but issue nothing, would get access that others were
    given.
    """
    holder, me = await _lock_own(change, token_id), person_of(change.caller)
    if holder != me and await queries.is_of_former_owner(change.session, token_id, holder, me):
        raise Forbidden(
            "This token is older than your ownership of its agent: revoke it, or ask for a pickup link from a "
            "person who issues tokens."
        )
    return await rotate_token(change, token_id, body, if_match, peppers)


async def revoke_own_token(
    change: Change, token_id: UUID, body: TokenRevoke, if_match: Precondition, *, dry_run: bool = False
) -> RevocationView:
    """Revoke a token of the caller or of their agents. Raises as ``show_own_token`` and ``revoke_token`` do."""
    await _lock_own(change, token_id)
    return await revoke_token(change, token_id, body, if_match, dry_run=dry_run)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token with its secret, which is stored nowhere, or with its pickup link."""

    token: TokenView
    secret: str | None
    pickup: PickupReading | None


async def issue_token(change: Change, body: TokenCreate, runtime: Runtime) -> IssuedToken:
    """Issue a token.

    Identity, owner and parent are locked FOR SHARE until the commit, so that no concurrent offboarding or revocation
    misses the new token. Raises ``Conflict`` when the identity or its owner is not active, and ``Invalid``.
    """
    references = servers_named_by_scope(body.scope, "/scope")
    identity = await lock_active_identity(change.session, body.identity_id, {id for _, id in references})
    parent = None
    if body.parent_id is not None:
        parent = await _lock_parent(change.session, body.parent_id, identity)
        _check_within(body, parent)
    if body.expires_at <= identity.now:
        raise Invalid.field("/expires_at", "in_the_past", "expires_at must be in the future.")
    if body.expires_at > identity.now + runtime.max_token_ttl:
        latest = (identity.now + runtime.max_token_ttl).isoformat(timespec="seconds")
        detail = f"The time is too far ahead: choose one up to {latest}."
        raise Invalid.field("/expires_at", "too_late", detail)
    reject_unknown_servers(references, {id for _, id in references} - set(identity.servers), "scope")
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
    await _insert(change.session, token, secret)
    details = {
        "identity_id": format_id(ids.IDENTITY, token.identity_id),
        "parent_id": None if token.parent_id is None else format_id(ids.TOKEN, token.parent_id),
        "scope": token.scope,
        "expires_at": token.expires_at,
    }
    change.record(
        "token.issue", _NEW_TOKEN, None, token,
        details=details, webhook=WebhookEvent.TOKEN_ISSUED, token_id=token.id,
    )  # fmt: skip
    pickup = None
    if secret is None:
        recipient_id = identity.owner_id or identity.id
        pickup = await offer_pickup(change, token, recipient_id, runtime.pickup_ttl)
    # Active, since everything that it depends on was active and is locked.
    return IssuedToken(TokenView.from_reading(TokenReading(token, "active", None, None)), text, pickup)


async def _insert(session: AsyncSession, token: Token, secret: TokenSecret | None) -> None:
    """Insert a token, with its secret if it gets one now, and read its times."""
    values = token.model_dump(include=_INSERTED) | {"scope": json.dumps(token.scope)}
    values |= {"secret_id": secret and secret.id, "digest": secret and secret.digest}
    values |= {"pepper_key_id": secret and secret.pepper_key_id}
    token.created_at, token.updated_at, token.revision = (await session.execute(_INSERT, values)).one()


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


async def lock_active_identity(
    session: AsyncSession, identity_id: UUID, servers: Collection[UUID]
) -> Row[Any]:
    """Lock the identity and its owner FOR SHARE, and require that both are active.

    The row also has the database's time, ``now``, and the ids of the ``servers`` among these that have not ended.
    """
    while True:
        values = {"id": identity_id, "servers": list(servers)}
        locked = {row.id: row for row in await session.execute(_LOCK_IDENTITY, values)}
        identity = locked.get(identity_id)
        if identity is None:
            raise Invalid.field("/identity_id", "not_found", "There is no such identity.")
        # The agent may have been transferred while we waited; then its new owner must be locked as well.
        if identity.owner_id is None or identity.owner_id in locked:
            break
    for holder, word in ((identity, "identity"), (locked.get(identity.owner_id), "identity's owner")):
        if holder is not None and holder.status != "active":
            raise Conflict(
                f"This {word} is {holder.status}: only active ones can get tokens. Reinstate it first.",
                code="identity_not_active",
            )
    return identity


async def _lock_parent(session: AsyncSession, parent_id: UUID, identity: Row[Any]) -> Token:
    parent = await rows.lock(session, Token, parent_id, Lock.SHARE)
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
        detail = f"A token can have at most {MAX_DEPTH} ancestors: attenuate one of them."
        raise Invalid.field("/parent_id", "too_deep", detail)
    return parent


def _check_within(body: TokenCreate, parent: Token) -> None:
    wrong = []
    if not scope_within(scope_to_domain(body.scope), load_scope(parent.scope)):
        wrong.append(FieldError("/scope", "wider_than_parent", "The scope must lie within the parent's."))
    if body.expires_at > parent.expires_at:
        latest = f"The parent expires at {parent.expires_at.isoformat()}; no later than that."
        wrong.append(FieldError("/expires_at", "later_than_parent", latest))
    if wrong:
        raise Invalid("An attenuated token must not exceed its parent.", errors=wrong)


async def offer_pickup(
    change: Change, token: Token, recipient_id: UUID, ttl: timedelta, *, overlap_s: int = 0
) -> PickupReading:
    """Create a link for a locked token without a pending one.

    Raises ``Conflict`` for a recipient who could not sign in to use it.
    """
    session = change.session
    if not await can_sign_in(session, recipient_id):
        raise Conflict(
            "The recipient cannot sign in: no account of an active provider is linked to the identity. Invite the "
            "person, set a link, or have the secret revealed to you.",
            code="recipient_cannot_sign_in",
        )
    until = change.now + ttl
    row = TokenPickup(token_id=token.id, recipient_id=recipient_id, overlap_s=overlap_s, expires_at=until)
    session.add(row)
    await session.flush()
    details = {
        "pickup_id": format_id(ids.PICKUP, row.id),
        "recipient_id": format_id(ids.IDENTITY, recipient_id),
        "expires_at": min(until, token.expires_at),
    }
    change.record("token.pickup_create", TOKEN, token, token, details=details, token_id=token.id)
    return (await find_pickups(session, [row.id]))[row.id]


async def narrow_token(change: Change, token_id: UUID, body: TokenUpdate, if_match: Precondition) -> None:
    """Apply the patch. Raises ``NotFound``, ``Conflict`` for an ended token, ``Invalid`` for a wider one, and
    ``PreconditionFailed``."""
    session = change.session
    # The descendants' expiry follows, so they are locked with it, in the one order.
    family = await queries.lock_live_family(session, [col(Token.id) == token_id])
    token = (await read_live_token(session, token_id)).row
    if_match.check(token.revision)
    fields = body.given()
    _check_narrower(body, token)
    if "scope" in fields:
        references = servers_named_by_scope(body.scope, "/scope")
        unknown = await unknown_servers(session, (id for _, id in references))
        reject_unknown_servers(references, unknown, "scope")
        fields["scope"] = store_scope(body.scope)
    changed = {name: value for name, value in fields.items() if getattr(token, name) != value}
    if not changed:
        return
    children: Sequence[Token] = ()
    if "expires_at" in changed:
        if body.expires_at <= change.now:
            detail = "expires_at must be in the future; to end a token now, revoke it."
            raise Invalid.field("/expires_at", "in_the_past", detail)
        below = [id for id in family if id != token_id]
        children = await clamp_expiry(session, below, body.expires_at)
    before = TOKEN.values(token)
    for name, value in changed.items():
        setattr(token, name, value)
    token.revision += 1
    await session.flush()
    updated = WebhookEvent.TOKEN_UPDATED
    event_id = change.record(
        "token.update", TOKEN, before, token,
        details={"name": "changed"} if "name" in changed else {},
        narrows=[token_id] if changed.keys() - {"name"} else [], webhook=updated, token_id=token_id,
    )  # fmt: skip
    # Descendants with the new expiry have changed too, by the same event.
    for child in children:
        change.record_with(event_id, TOKEN, None, child, narrows=[child.id], webhook=updated)


async def read_live_token(session: AsyncSession, token_id: UUID) -> TokenReading:
    """Read a token that can still be changed. Raises ``NotFound`` or ``Conflict``."""
    reading = await queries.find_reading(session, token_id)
    if reading is None:
        raise NotFound("There is no such token.")
    if reading.status in {"revoked", "expired"}:
        raise Conflict(f"This token is {reading.status}, which is final: issue another.", code="token_ended")
    return reading


def _check_narrower(body: TokenUpdate, token: Token) -> None:
    wrong, fields = [], body.model_fields_set
    if "scope" in fields and not scope_within(scope_to_domain(body.scope), load_scope(token.scope)):
        detail = "The scope must provably be within the current one; to widen it, issue a new token."
        wrong.append(FieldError("/scope", "wider", detail))
    if "expires_at" in fields and body.expires_at > token.expires_at:
        now = token.expires_at.isoformat()
        detail = f"It can only be earlier than {now}; to extend it, issue a new token."
        wrong.append(FieldError("/expires_at", "later", detail))
    if wrong:
        raise Invalid("A token can only be narrowed.", errors=wrong)


async def rotate_token(
    change: Change, token_id: UUID, body: TokenRotate, if_match: Precondition, peppers: Peppers
) -> str:
    """Add a secret and return its text; earlier ones work until now + the overlap, or their own earlier end.

    Raises ``NotFound``, ``PreconditionFailed`` and, for a token that has ended, ``Conflict``.
    """
    await rows.lock(change.session, Token, token_id)
    token = (await read_live_token(change.session, token_id)).row
    if_match.check(token.revision)
    secret, until = await add_secret(change.session, peppers, token, body.overlap_s)
    # A pending pickup would end the new secret.
    await end_pickups(change.session, [token_id])
    change.record(
        "token.rotate", TOKEN, token, token,
        details={"overlap_until": until}, narrows=[token_id], webhook=WebhookEvent.TOKEN_ROTATED, token_id=token_id,
    )  # fmt: skip
    return secret


async def add_secret(
    session: AsyncSession, peppers: Peppers, token: Token, overlap_s: int
) -> tuple[str, datetime]:
    """Add a secret to a locked token; return its text, and until when earlier ones work at most."""
    until = await transaction_time(session) + timedelta(seconds=overlap_s)
    await end_secrets(session, token.id, until)
    secret, row = new_secret(peppers, token.id)
    session.add(row)
    token.revision += 1
    await session.flush()
    return secret, until


async def revoke_token(
    change: Change, token_id: UUID, body: TokenRevoke, if_match: Precondition, *, dry_run: bool = False
) -> RevocationView:
    """Revoke one token and its descendants, or preview that; return the token afterwards.

    Raises ``NotFound`` and ``PreconditionFailed``.
    """
    roots = [col(Token.id) == token_id]
    if not dry_run:
        await queries.lock_live_family(change.session, roots)
    if_match.check((await show_token(change.session, token_id)).revision)
    revoked = await revoke_tokens(change, roots, body.reason, dry_run=dry_run)
    token = await show_token(change.session, token_id)
    return RevocationView(changed=bool(revoked.tokens), token=token, revoked=revoked)


async def revoke_tokens(
    change: Change, roots: Collection[ColumnElement[bool]], reason: str, *, dry_run: bool = False
) -> RevokedTokens:
    """Revoke every live token that meets the conditions, and its descendants; with ``dry_run`` only return them."""
    find = queries.live_family if dry_run else queries.lock_live_family
    tokens = await find(change.session, roots)
    in_flight = await queries.count_in_flight(change.session, tokens)
    if not dry_run:
        await end_tokens(change, tokens, reason)
    return RevokedTokens(tokens=tokens, in_flight=in_flight)


async def preview_revocation(session: AsyncSession, token_id: UUID) -> RevokedTokens:
    """What revoking a token would end."""
    tokens = await queries.live_family(session, [col(Token.id) == token_id])
    return RevokedTokens(tokens=tokens, in_flight=await queries.count_in_flight(session, tokens))


async def end_tokens(change: Change, tokens: Collection[UUID], reason: str) -> None:
    """End these locked tokens and the approvals that their calls requested, with an event and a message for each. The
    reason, which people write, is in neither."""
    if not tokens:
        return
    holders = await mark_revoked(change.session, tokens, reason)
    await end_pickups(change.session, tokens)
    # For many tokens, messages are built only for subscribers.
    has_readers = await has_subscribers(change.session, WebhookEvent.TOKEN_REVOKED)
    webhook = WebhookEvent.TOKEN_REVOKED if has_readers else None

    def record_each() -> Generator[None, None, None]:
        for id in tokens:
            ended = Values(id, {"identity_id": holders[id]})
            change.record("token.revoke", TOKEN, ended, narrows=[id], webhook=webhook, token_id=id)
            yield

    # There can be a hundred thousand.
    await in_slices(record_each())
    of_tokens = is_one_of(col(Approval.token_id), tokens)
    approvals = await open_approvals(change.session, of_tokens, lock=True)
    await cancel_approvals(change, approvals, "token_revoked")


async def mark_revoked(session: AsyncSession, ids: Collection[UUID], reason: str) -> dict[UUID, UUID]:
    """Revoke these tokens; return their holders."""
    revoked = await session.execute(
        update(Token)
        .where(is_one_of(col(Token.id), ids))
        .values(revoked_at=func.now(), revoke_reason=reason, revision=col(Token.revision) + 1)
        .returning(col(Token.id), col(Token.identity_id))
        .execution_options(synchronize_session=False)
    )
    return {row.id: row.identity_id for row in revoked}


async def clamp_expiry(session: AsyncSession, ids: Collection[UUID], expires_at: datetime) -> Sequence[Token]:
    """Reduce a later expiry of these tokens to this time; return the changed ones."""
    changed = await session.scalars(
        update(Token)
        .where(is_one_of(col(Token.id), ids), col(Token.expires_at) > expires_at)
        .values(expires_at=expires_at, revision=col(Token.revision) + 1)
        .returning(Token)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return changed.all()


async def end_secrets(session: AsyncSession, token_id: UUID, at: datetime) -> None:
    """Limit the validity of all current secrets to this time."""
    later = col(TokenSecret.expires_at).is_(None) | (col(TokenSecret.expires_at) > at)
    statement = update(TokenSecret).where(col(TokenSecret.token_id) == token_id, later).values(expires_at=at)
    await session.execute(statement.execution_options(synchronize_session=False))


async def end_pickups(session: AsyncSession, token_ids: Collection[UUID]) -> None:
    """Cancel the pending links of these locked tokens."""
    await _cancel(session, is_one_of(col(TokenPickup.token_id), token_ids))


async def end_pickups_of(session: AsyncSession, recipient_id: UUID) -> None:
    """Cancel the pending links for this locked identity."""
    await _cancel(session, col(TokenPickup.recipient_id) == recipient_id)


async def _cancel(session: AsyncSession, which: ColumnElement[bool]) -> None:
    await session.execute(
        update(TokenPickup)
        .where(which, col(TokenPickup.state) == "pending")
        .values(state="cancelled", revision=col(TokenPickup.revision) + 1)
        .execution_options(synchronize_session=False)
    )


async def erase(change: Change, identity_id: UUID) -> None:
    """Erase the names and addresses of the identity's tokens, drafts of them, and the reasons of revocations."""
    session = change.session
    rows = await session.execute(_ENDED_BY_OFFBOARDING, {"id": identity_id})
    ended = [parse_id(ids.TOKEN, row[0]) for row in rows]
    erased = await session.execute(_ERASE, {"id": identity_id, "ended": ended})
    own = [id for id, holder_id in erased if holder_id == identity_id]
    await erase_from_history(session, "token_scope", own, "ip_allow", [])
    await session.execute(_ERASE_DRAFTS, {"id": identity_id, "shown_id": format_id(IDENTITY, identity_id)})
