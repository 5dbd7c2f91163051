"""Queries of tokens: how they look from outside, which of them live, and the locks on them.

Which tokens live: as conditions that indexes serve, however many there are that have ended, or people.

Queries of pick-up links: how they stand, and the locks on them.

They come after tokens in the one order of locks: identities, grants, tokens, pick-ups.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Select,
    String,
    Uuid,
    and_,
    any_,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, aliased
from sqlmodel import col

from app.features.audit.record import close_versions
from app.models.groups import GroupMember
from app.models.identities import Identity
from app.models.servers import Server
from app.models.tokens import Token, TokenPickup, TokenSecret, TokenUse

# Asked for each link by key: planned as a join, it would read all identities for every token.
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
"""As `domain.access.liveness` sees it: the token and every ancestor, their identities and those identities' owners."""
STATUS: ColumnElement[str] = literal_column(STATUS_SQL, String)


# The same from the other end, for when it is they who are wanted: few among many. A live token's ancestors live too.
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
    """Tokens with one of these statuses, which are those of ``STATUS_SQL``."""
    revoked, expired = col(Token.revoked_at).is_not(None), col(Token.expires_at) <= func.now()
    wanted = set(statuses)
    parts: list[ColumnElement[bool]] = [false()]
    if "revoked" in wanted:
        parts.append(revoked)
    if "expired" in wanted:
        parts.append(and_(not_(revoked), expired))
    if "active" in wanted or "suspended" in wanted:
        parts.append(and_(not_(revoked), not_(expired), *_whose_holders(wanted)))
    return or_(*parts)


async def count_active(session: AsyncSession, most: int) -> int:
    """How many tokens are active, up to ``most``: it stops there, and passes over what has expired."""
    # In the order of an index, or those that have ended would be read one after another.
    found = (
        select(col(Token.id))
        .where(has_status(["active"]))
        .order_by(col(Token.expires_at), col(Token.id))
        .limit(most)
    )
    return int(await session.scalar(select(func.count()).select_from(found.subquery())) or 0)


def _whose_holders(wanted: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    """What beside time tells the active from the suspended, where only one of the two is wanted."""
    if "suspended" not in wanted:
        return (not_(literal_column(_STOPPED_SQL, Boolean)),)
    return () if "active" in wanted else (literal_column(_OF_STOPPED_SQL, Boolean),)


_COUNTED = 2_000
"""Calls that are looked at for ones that are running: a revocation does not wait for the sum of a day."""

# One look into an index for each call, however little the planner knows of a young partition.
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
    """A token with what is worked out when it is read: as of this transaction."""

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
    """A token as it looks now, this transaction's changes included."""
    row = (await session.execute(_readings().where(col(Token.id) == id))).one_or_none()
    return None if row is None else TokenReading(*row)


def among(column: Mapped[UUID] | Mapped[UUID | None], ids: Collection[UUID]) -> ColumnElement[bool]:
    """Whether a column holds one of these ids, as one array parameter: a bulk may be wider than the 32,767
    parameters of a statement."""
    return column == any_(literal(list(ids), ARRAY(Uuid)))


async def find_readings(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, TokenReading]:
    """Several tokens by id."""
    rows = await session.execute(_readings().where(among(col(Token.id), ids)))
    return {row[0].id: TokenReading(*row) for row in rows}


def of_members(group_id: UUID) -> ColumnElement[bool]:
    """Tokens whose identity is in the group."""
    members = select(col(GroupMember.identity_id)).where(col(GroupMember.group_id) == group_id)
    return col(Token.identity_id).in_(members)


def can_reach(server_id: UUID) -> ColumnElement[bool]:
    """Tokens whose own scope, grants aside, can reach the server."""
    # A clause in its own right, so that it can stand beside others; `text` alone is no ColumnElement to the types.
    return cast("ColumnElement[bool]", text(_REACHES_SERVER).bindparams(asked_server=server_id))


async def database_now(session: AsyncSession) -> datetime:
    """The database's clock at the start of this transaction: the one that expiry goes by."""
    return cast("datetime", await session.scalar(select(func.now())))


async def lock_token(session: AsyncSession, id: UUID, *, share: bool = False) -> Token | None:
    """A token as it is once the lock is held."""
    query = select(Token).where(col(Token.id) == id).with_for_update(read=share, key_share=not share)
    return await session.scalar(query.execution_options(populate_existing=True))


def _identities(ids: Iterable[UUID]) -> Select[Identity]:
    query = select(Identity).where(among(col(Identity.id), set(ids))).order_by(col(Identity.id))
    return query.execution_options(populate_existing=True)


async def read_identities(session: AsyncSession, ids: Iterable[UUID]) -> dict[UUID, Identity]:
    """Identities by id, without a lock."""
    return {row.id: row for row in await session.scalars(_identities(ids))}


async def lock_identities(
    session: AsyncSession, ids: Iterable[UUID], *, share: bool = False
) -> dict[UUID, Identity]:
    """Identities as they are once the locks are held, taken in id order. The exclusive lock lets foreign keys
    refer to the rows, and still excludes ``FOR SHARE``."""
    query = _identities(ids).with_for_update(read=share, key_share=not share)
    return {row.id: row for row in await session.scalars(query)}


async def living_family(session: AsyncSession, roots: Iterable[ColumnElement[bool]]) -> list[UUID]:
    """The ids of tokens that meet the conditions and of all below them, unless ended or expired; in order."""
    family = select(col(Token.id)).where(*roots).cte("family", recursive=True)
    child = aliased(Token)
    family = family.union(select(col(child.id)).where(col(child.parent_id) == family.c.id))
    query = (
        select(col(Token.id))
        .where(
            col(Token.id).in_(select(family.c.id)),
            col(Token.revoked_at).is_(None),
            col(Token.expires_at) > func.now(),
        )
        .order_by(col(Token.id))
    )
    return list(await session.scalars(query))


async def lock_living_family(session: AsyncSession, roots: Iterable[ColumnElement[bool]]) -> list[UUID]:
    """The same, locked. A child that was being attenuated meanwhile is found on the next look, since whoever
    attenuates holds its parent until it has committed."""
    conditions = tuple(roots)
    locked: set[UUID] = set()
    while True:
        found = await living_family(session, conditions)
        if locked.issuperset(found):
            return found
        await session.execute(
            select(col(Token.id))
            .where(among(col(Token.id), found))
            .order_by(col(Token.id))
            .with_for_update(key_share=True)
        )
        locked.update(found)


async def holders_of(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Whose these tokens are."""
    query = select(col(Token.id), col(Token.identity_id)).where(among(col(Token.id), ids))
    return {row.id: row.identity_id for row in await session.execute(query)}


async def mark_revoked(session: AsyncSession, ids: Collection[UUID], reason: str) -> None:
    """End these tokens and close their current scope versions."""
    ended: dict[str, Any] = {
        "revoked_at": func.now(), "revoke_reason": reason, "revision": col(Token.revision) + 1,
    }  # fmt: skip
    await session.execute(
        update(Token)
        .where(among(col(Token.id), ids))
        .values(ended)
        .execution_options(synchronize_session=False)
    )
    await close_versions(session, ids)


async def clamp_expiry(session: AsyncSession, ids: Collection[UUID], expires_at: datetime) -> list[UUID]:
    """Bring the expiry of these tokens down to this time where it is later; the ids of those that moved."""
    moved = await session.scalars(
        update(Token)
        .where(among(col(Token.id), ids), col(Token.expires_at) > expires_at)
        .values(expires_at=expires_at, revision=col(Token.revision) + 1)
        .returning(col(Token.id))
        .execution_options(synchronize_session=False)
    )
    return list(moved)


async def end_secrets(session: AsyncSession, token_id: UUID, at: datetime) -> None:
    """Let every secret so far work until this time at the latest."""
    await session.execute(
        update(TokenSecret)
        .where(
            col(TokenSecret.token_id) == token_id,
            (col(TokenSecret.expires_at).is_(None)) | (col(TokenSecret.expires_at) > at),
        )
        .values(expires_at=at)
        .execution_options(synchronize_session=False)
    )


async def existing_servers(session: AsyncSession, ids: Collection[UUID]) -> set[UUID]:
    """Which of these servers exist and have not ended."""
    query = select(col(Server.id)).where(col(Server.id).in_(ids), col(Server.ended_at).is_(None))
    return set(await session.scalars(query))


async def count_in_flight(session: AsyncSession, token_ids: Collection[UUID]) -> int:
    """Calls that are admitted, unfinished, and whose worker is alive, among the newest of these tokens."""
    if not token_ids:
        return 0
    each = max(1, _COUNTED // len(token_ids))
    return int(await session.scalar(_IN_FLIGHT, {"ids": list(token_ids), "each": each}) or 0)


# A link is looked at when its lock is held, which may be long after the transaction began.
_STATE: ColumnElement[str] = literal_column(
    """CASE WHEN token_pickups.state <> 'pending' THEN token_pickups.state
    WHEN least(token_pickups.expires_at, tokens.expires_at) <= clock_timestamp() THEN 'expired'
    WHEN coalesce(identities.owner_id, identities.id) <> token_pickups.recipient_id THEN 'cancelled'
    ELSE 'pending' END""",
    String,
)

# Once an hour, so that somebody who reloads a page fills neither the log nor a channel.
_REOPENED = text("""
UPDATE token_pickups SET reopened_at = clock_timestamp()
WHERE id = :id AND (reopened_at IS NULL OR reopened_at < clock_timestamp() - interval '1 hour') RETURNING id
""")


@dataclass(frozen=True, slots=True)
class PickupReading:
    """A link with how it stands now, until when it can be taken at most, and whose token it is for."""

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


def select_pickups(token_id: UUID) -> Select[TokenPickup]:
    """The links of a token."""
    return select(TokenPickup).where(col(TokenPickup.token_id) == token_id)


async def find_pickups(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, PickupReading]:
    """Several links by id."""
    rows = await session.execute(_pickup_readings().where(among(col(TokenPickup.id), ids)))
    return {row[0].id: PickupReading(*row) for row in rows}


def select_waiting(me: UUID) -> Select[TokenPickup]:
    """The links that wait for this person."""
    return (
        select(TokenPickup)
        .join(Token, col(Token.id) == col(TokenPickup.token_id))
        .join(Identity, col(Identity.id) == col(Token.identity_id))
        .where(col(TokenPickup.recipient_id) == me, col(TokenPickup.state) == "pending", _STATE == "pending")
    )


async def find_own_pickup(session: AsyncSession, me: UUID, id: UUID) -> PickupReading | None:
    """A link, if it is for this person and they still answer for the token."""
    answers = func.coalesce(col(Identity.owner_id), col(Identity.id))
    query = _pickup_readings().where(
        col(TokenPickup.id) == id, col(TokenPickup.recipient_id) == me, answers == me
    )
    row = (await session.execute(query)).one_or_none()
    return None if row is None else PickupReading(*row)


async def lock_pickup(session: AsyncSession, id: UUID) -> PickupReading:
    """A link that is known to be there, as it is once its lock is held; whoever asks holds its token."""
    await session.execute(select(col(TokenPickup.id)).where(col(TokenPickup.id) == id).with_for_update())
    # Asked after the lock: the clock of a statement that waits is read before it.
    return (await find_pickups(session, [id]))[id]


async def end_pickups(session: AsyncSession, token_ids: Collection[UUID]) -> None:
    """Cancel what waits of these locked tokens."""
    await _cancel(session, among(col(TokenPickup.token_id), token_ids))


async def end_pickups_of(session: AsyncSession, recipient_id: UUID) -> None:
    """Cancel what waits for this locked identity."""
    await _cancel(session, col(TokenPickup.recipient_id) == recipient_id)


async def _cancel(session: AsyncSession, which: ColumnElement[bool]) -> None:
    values: dict[str, Any] = {"state": "cancelled", "revision": col(TokenPickup.revision) + 1}
    await session.execute(
        update(TokenPickup)
        .where(which, col(TokenPickup.state) == "pending")
        .values(values)
        .execution_options(synchronize_session=False)
    )


async def note_reopened(session: AsyncSession, id: UUID) -> bool:
    """Note that a used link was opened again; whether that is to be told, which it was not within the last hour."""
    return (await session.execute(_REOPENED, {"id": id})).one_or_none() is not None
