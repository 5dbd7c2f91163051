"""Queries and locks of tokens and of their pickup links.

Live tokens are selected by conditions with an index, for any number of ended tokens or people. Pickup links come after
tokens in the one order of locks: identities, grants, tokens, pickups.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, false, func, literal_column, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlalchemy.types import Boolean, String
from sqlmodel import col

from app.db.rows import has_text, is_one_of
from app.domain.errors import Invalid, NotFound
from app.features.grants.queries import is_active
from app.features.tokens.schemas import TokenQuery, TokensRevokeFilter
from app.features.tools.queries import Selected
from app.http.pagination import Sorts, caseless, select_filtered
from app.models.access import Grant
from app.models.identities import GroupMember, Identity
from app.models.tokens import Token, TokenPickup, TokenSecret, TokenUse

# Looked up by key for each token of a chain: planned as a join, it would read all identities for every token.
_STOPPED_SQL = """EXISTS (
    WITH RECURSIVE link AS (
        SELECT tokens.parent_id, tokens.identity_id
        UNION ALL
        SELECT above.parent_id, above.identity_id FROM tokens above JOIN link ON above.id = link.parent_id
    )
    SELECT 1 FROM link WHERE (
        SELECT holder.status <> 'active' OR coalesce(
            (SELECT owner.status <> 'active' FROM identities owner WHERE owner.id = holder.owner_id), false
        )
        FROM identities holder WHERE holder.id = link.identity_id
    )
)"""
STATUS_SQL = f"""CASE
    WHEN tokens.revoked_at IS NOT NULL THEN 'revoked'
    WHEN tokens.expires_at <= now() THEN 'expired'
    WHEN {_STOPPED_SQL} THEN 'suspended'
    ELSE 'active' END"""
"""As in `domain.access.liveness`: the token and every ancestor, their identities and those identities' owners."""
STATUS: ColumnElement[str] = literal_column(STATUS_SQL, String)


# The same for the opposite case, when the few suspended ones are wanted. A live token's ancestors live too.
_OF_STOPPED_SQL = """tokens.id IN (
    WITH RECURSIVE held AS (
        SELECT mine.id FROM (
            SELECT id FROM identities WHERE status <> 'active'
            UNION
            SELECT agent.id FROM identities agent JOIN identities owner ON owner.id = agent.owner_id
            WHERE owner.status <> 'active'
        ) stopped
        JOIN tokens mine ON mine.identity_id = stopped.id
        WHERE mine.revoked_at IS NULL AND mine.expires_at > now()
        UNION
        SELECT below.id FROM tokens below JOIN held ON below.parent_id = held.id
    )
    SELECT id FROM held
)"""


def has_status(statuses: Collection[str]) -> ColumnElement[bool]:
    """Tokens with one of these statuses, as in ``STATUS_SQL``."""
    revoked, expired = col(Token.revoked_at).is_not(None), col(Token.expires_at) <= func.now()
    live = ~revoked & ~expired
    conditions: dict[str, ColumnElement[bool]] = {
        "revoked": revoked,
        "expired": ~revoked & expired,
        "active": live & ~literal_column(_STOPPED_SQL, Boolean),
        "suspended": live & literal_column(_OF_STOPPED_SQL, Boolean),
    }
    if {"active", "suspended"}.issubset(statuses):
        # Together they depend on no holder.
        conditions |= {"active": live, "suspended": false()}
    return or_(false(), *(condition for status, condition in conditions.items() if status in statuses))


async def count_active(session: AsyncSession, limit: int) -> int:
    """Count active tokens, at most up to ``limit``, skipping expired ones."""
    # In the order of an index: otherwise ended tokens would be read one by one.
    active = (
        select(col(Token.id))
        .where(has_status(["active"]))
        .order_by(col(Token.expires_at), col(Token.id))
        .limit(limit)
    )
    return int(await session.scalar(select(func.count()).select_from(active.subquery())) or 0)


_COUNTED = 2_000
"""Maximum of calls to check for running ones: a revocation must not wait for the count of a whole day."""

# One index lookup per call, even if the planner knows little of a young partition.
_IN_FLIGHT = text(
    """SELECT count(*) FROM unnest(CAST(:ids AS uuid[])) AS token(id)
    CROSS JOIN LATERAL (
        SELECT event.id, event.worker_id FROM audit_events event
        WHERE event.token_id = token.id AND event.action = 'tool.call' AND event.decision = 'allow'
            AND event.time > now() - interval '24 hours'
        ORDER BY event.xact DESC LIMIT :each
    ) call
    JOIN worker_leases worker ON worker.worker_id = call.worker_id
        AND worker.renewed_at > now() - interval '60 seconds'
    WHERE (
        SELECT result.id FROM audit_events result
        WHERE result.call_id = call.id AND result.time > now() - interval '24 hours' LIMIT 1
    ) IS NULL"""
)

_REACHES_SERVER = """(tokens.scope ->> 'kind' = 'grants' OR EXISTS (
    SELECT 1 FROM servers asked, jsonb_array_elements(tokens.scope -> 'entries') entry
    WHERE asked.id = CAST(:asked_server AS uuid) AND (
        entry -> 'servers' ->> 'kind' = 'all'
        OR entry -> 'servers' -> 'ids' ? CAST(asked.id AS text)
        OR (entry -> 'servers' -> 'labels' <> '{}' AND asked.labels @> (entry -> 'servers' -> 'labels'))
    )))"""


@dataclass(frozen=True, slots=True)
class TokenReading:
    """A token with computed values, as of this transaction."""

    row: Token
    status: str
    last_used_at: datetime | None
    overlap_until: datetime | None


def _readings() -> Select[Token, str, datetime | None, datetime | None]:
    overlap = (
        select(func.max(col(TokenSecret.expires_at)))
        .where(col(TokenSecret.token_id) == col(Token.id), col(TokenSecret.expires_at) > func.now())
        .scalar_subquery()
    )
    return (
        select(Token, STATUS, col(TokenUse.last_used_at), overlap)
        .outerjoin(TokenUse, col(TokenUse.token_id) == col(Token.id))
        .execution_options(populate_existing=True)
    )


async def find_reading(session: AsyncSession, id: UUID) -> TokenReading | None:
    """Read a token, including this transaction's changes."""
    return (await find_readings(session, [id])).get(id)


async def find_readings(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, TokenReading]:
    """Several tokens by id."""
    rows = await session.execute(_readings().where(is_one_of(col(Token.id), ids)))
    return {row[0].id: TokenReading(*row) for row in rows}


def of_members(group_id: UUID) -> ColumnElement[bool]:
    """Tokens whose identity is in the group."""
    members = select(col(GroupMember.identity_id)).where(col(GroupMember.group_id) == group_id)
    return col(Token.identity_id).in_(members)


def can_reach(server_id: UUID) -> ColumnElement[bool]:
    """Tokens whose own scope, without grants, can reach the server."""
    # Cast, since `text` is no ColumnElement to the type checker but can be combined like one.
    return cast("ColumnElement[bool]", text(_REACHES_SERVER).bindparams(asked_server=server_id))


async def read_identities(session: AsyncSession, ids: Iterable[UUID], *, lock: bool) -> dict[UUID, Identity]:
    """Identities by id; locked on demand, in id order. The lock allows foreign keys to the rows, and still excludes
    ``FOR SHARE``."""
    query = select(Identity).where(is_one_of(col(Identity.id), set(ids))).order_by(col(Identity.id))
    query = query.with_for_update(key_share=True) if lock else query
    return {row.id: row for row in await session.scalars(query.execution_options(populate_existing=True))}


async def live_family(session: AsyncSession, roots: Iterable[ColumnElement[bool]]) -> list[UUID]:
    """The ids of live tokens that meet the conditions and of all live tokens below them, in order."""
    family = select(col(Token.id)).where(*roots).cte("family", recursive=True)
    child = aliased(Token)
    family = family.union(select(col(child.id)).where(col(child.parent_id) == family.c.id))
    live = (col(Token.revoked_at).is_(None), col(Token.expires_at) > func.now())
    query = select(col(Token.id)).where(col(Token.id).in_(select(family.c.id)), *live)
    return list(await session.scalars(query.order_by(col(Token.id))))


async def lock_live_family(session: AsyncSession, roots: Iterable[ColumnElement[bool]]) -> list[UUID]:
    """The same, locked. A child that is attenuated concurrently is found on the next read, since its creator holds the
    parent until the commit."""
    conditions = tuple(roots)
    locked: set[UUID] = set()
    while True:
        ids = await live_family(session, conditions)
        if locked.issuperset(ids):
            return ids
        rows = select(col(Token.id)).where(is_one_of(col(Token.id), ids)).order_by(col(Token.id))
        await session.execute(rows.with_for_update(key_share=True))
        locked.update(ids)


async def holders_of(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, UUID]:
    """The holders of these tokens."""
    query = select(col(Token.id), col(Token.identity_id)).where(is_one_of(col(Token.id), ids))
    return {row.id: row.identity_id for row in await session.execute(query)}


async def count_in_flight(session: AsyncSession, token_ids: Collection[UUID]) -> int:
    """Count admitted, unfinished calls of live workers, among the newest of these tokens."""
    if not token_ids:
        return 0
    each = max(1, _COUNTED // len(token_ids))
    return int(await session.scalar(_IN_FLIGHT, {"ids": list(token_ids), "each": each}) or 0)


# The state is read after the lock is acquired, which may be long after the transaction began.
_STATE: ColumnElement[str] = literal_column(
    """CASE WHEN token_pickups.state <> 'pending' THEN token_pickups.state
    WHEN least(token_pickups.expires_at, tokens.expires_at) <= clock_timestamp() THEN 'expired'
    WHEN coalesce(identities.owner_id, identities.id) <> token_pickups.recipient_id THEN 'cancelled'
    ELSE 'pending' END""",
    String,
)


@dataclass(frozen=True, slots=True)
class PickupReading:
    """A link with its current state, its effective expiry, and the token's holder."""

    row: TokenPickup
    state: str
    expires_at: datetime
    identity_id: UUID


def _pickup_readings() -> Select[TokenPickup, str, datetime, UUID]:
    until = func.least(col(TokenPickup.expires_at), col(Token.expires_at))
    return (
        select(TokenPickup, _STATE, until, col(Token.identity_id))
        .join(Token, col(Token.id) == col(TokenPickup.token_id))
        .join(Identity, col(Identity.id) == col(Token.identity_id))
        .execution_options(populate_existing=True)
    )


async def find_pickups(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, PickupReading]:
    """Several links by id."""
    rows = await session.execute(_pickup_readings().where(is_one_of(col(TokenPickup.id), ids)))
    return {row[0].id: PickupReading(*row) for row in rows}


def select_pending_pickups(me: UUID) -> Select[TokenPickup]:
    """The pending links for this person."""
    pending = (col(TokenPickup.recipient_id) == me, col(TokenPickup.state) == "pending", _STATE == "pending")
    return _pickup_readings().with_only_columns(TokenPickup).where(*pending)


async def find_own_pickup(session: AsyncSession, me: UUID, id: UUID) -> PickupReading:
    """Find a link for this person, if they still own the token's identity. Raises ``NotFound``."""
    answers = func.coalesce(col(Identity.owner_id), col(Identity.id))
    query = _pickup_readings().where(
        col(TokenPickup.id) == id, col(TokenPickup.recipient_id) == me, answers == me
    )
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFound(
            "There is no such pickup link, or it is for another person: sign in as the person that it was sent to."
        )
    return PickupReading(*row)


async def lock_pickup(session: AsyncSession, id: UUID) -> PickupReading:
    """Lock and read an existing link; the caller has locked its token."""
    await session.execute(select(col(TokenPickup.id)).where(col(TokenPickup.id) == id).with_for_update())
    # Read after the lock: the clock of a statement that waits is read before it.
    return (await find_pickups(session, [id]))[id]


SORTS: Sorts = {"name": caseless(col(Token.name)), "expires_at": col(Token.expires_at)}
"""The sort orders of the list, with an index for each."""


def select_tokens(query: TokenQuery) -> Select[Token]:
    """Select the tokens that match a list's filters."""
    statement = select_filtered(Token, query, "identity_id", "parent_id")
    if query.server_id is not None:
        statement = statement.where(can_reach(query.server_id))
    if query.status:
        statement = statement.where(has_status([status.value for status in query.status]))
    if query.expires_after is not None:
        statement = statement.where(col(Token.expires_at) > query.expires_after)
    if query.expires_before is not None:
        statement = statement.where(col(Token.expires_at) < query.expires_before)
    if query.q:
        statement = statement.where(has_text(query.q, col(Token.name), indexed="tokens.name"))
    return statement


_BULK: dict[str, Callable[[Any], ColumnElement[bool]]] = {
    "token_ids": lambda ids: col(Token.id).in_(ids),
    "identity_id": lambda id: col(Token.identity_id) == id,
    "group_id": of_members,
    "server_id": can_reach,
    "parent_id": lambda id: col(Token.parent_id) == id,
    "created_before": lambda time: col(Token.created_at) < time,
}


def bulk_conditions(filter: TokensRevokeFilter) -> list[ColumnElement[bool]]:
    """The conditions of a bulk filter. Raises ``Invalid`` for an empty one, which would match everything."""
    wanted = dict(filter).items()
    conditions = [_BULK[name](value) for name, value in wanted if value is not None]
    if not conditions:
        detail = "Name at least one condition: an empty filter revokes nothing."
        raise Invalid.field("/filter", "empty_filter", detail)
    return conditions


# Since the token was created, or since its person last picked up a secret from an issuer.
_AFTER_OTHER_OWNER = text("""
SELECT EXISTS (
    SELECT 1 FROM object_versions v
    WHERE v.object_id = :holder AND v.kind = 'identity' AND v.content ->> 'owner_id' <> :me
    AND v.valid_to > greatest(
        (SELECT created_at FROM tokens WHERE id = :token),
        (SELECT max(picked_up_at) FROM token_pickups WHERE token_id = :token AND recipient_id = CAST(:me AS uuid))
    )
)
""")


async def is_of_former_owner(session: AsyncSession, token_id: UUID, agent_id: UUID, owner_id: UUID) -> bool:
    """Whether a token of an agent, with all secrets that its owner picked up, is older than the ownership."""
    values = {"holder": agent_id, "token": token_id, "me": str(owner_id)}
    return bool(await session.scalar(_AFTER_OTHER_OWNER, values))


async def live_grants(session: AsyncSession, identity_id: UUID, limit: int) -> list[Selected]:
    """What an identity's live grants select, those of its groups included; at most up to ``limit``."""
    groups = select(col(GroupMember.group_id)).where(col(GroupMember.identity_id) == identity_id)
    of_holder = or_(col(Grant.identity_id) == identity_id, col(Grant.group_id).in_(groups))
    columns = select(col(Grant.servers), col(Grant.tools))
    rows = await session.execute(columns.where(of_holder, is_active(func.clock_timestamp())).limit(limit))
    return [Selected(servers, tools) for servers, tools in rows]
