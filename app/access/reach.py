"""How much many identities reach of many servers: a number for each pair, counted as calls are decided.

Who can call a tool: identities from the newest on, each asked as its calls are.

One page of what an identity reaches, in the order of slugs.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.point_in_time import AccessReader, AccessState
from app.domain.access import Decision, PolicyContext
from app.domain.objects import Identity, Server
from app.domain.policy import Effect
from app.domain.reach import Reach, Tally, call_of, reach, stopped, tally
from app.lib.event_loop import in_slices

# A page ends when so many identities were looked at, however few of them can call the tool.
LOOKED_AT_A_PAGE = 2_000
_AT_ONCE = 100
_SELECT = """
SELECT i.id, i.user_name, i.kind FROM identities i
WHERE (CAST(:after AS uuid) IS NULL OR i.id < :after) AND {} ORDER BY i.id DESC LIMIT :limit
"""

# Without a grant nobody can: it saves asking of most. OFFSET has it looked for by key, of each who is looked at: all
# grants would be read for every hundred of them otherwise.
_HOLDERS_NOW = text(
    _SELECT.format("""(
    EXISTS (SELECT FROM grants g WHERE g.identity_id = i.id AND g.ended_at IS NULL OFFSET 0) OR EXISTS (
        SELECT FROM group_members m JOIN grants g ON g.group_id = m.group_id AND g.ended_at IS NULL
        WHERE m.identity_id = i.id
    )
)""")
)
_HOLDERS_EVER = text(
    _SELECT.format("""EXISTS (
    SELECT FROM object_versions v
    WHERE v.content ->> 'identity_id' = i.id::text AND v.kind IN ('grant', 'membership')
)""")
)


@dataclass(frozen=True, slots=True)
class ToolCaller:
    """An identity that can call the tool, with the decision that says by which grant, and the group of that grant."""

    id: UUID
    user_name: str
    kind: str
    decision: Decision
    group_id: UUID | None


async def callers_of(
    session: AsyncSession, reader: AccessReader, server_id: UUID, tool: str, *, after: UUID | None, limit: int
) -> tuple[list[ToolCaller], UUID | None]:
    """A page of them, and the identity to go on after; ``None`` at the end.

    Raises ``Unavailable``, and ``Invalid`` for a moment before which nothing is known.
    """
    found: list[ToolCaller] = []
    for _ in range(LOOKED_AT_A_PAGE // _AT_ONCE):
        query = _HOLDERS_EVER if reader.is_past else _HOLDERS_NOW
        holders = (await session.execute(query, {"after": after, "limit": _AT_ONCE})).all()
        state = await reader.of([holder.id for holder in holders])
        for caller in await in_slices(_can_call(holders, state, server_id, tool, reader.at)):
            if len(found) == limit:
                return found, found[-1].id
            found.append(caller)
        if len(holders) < _AT_ONCE:
            return found, None
        after = holders[-1].id
    return found, after


def _can_call(
    holders: Sequence[Any], state: AccessState, server_id: UUID, tool: str, at: float
) -> Generator[None, None, list[ToolCaller]]:
    found = []
    server = state.servers.get(server_id)
    for holder in holders:
        yield
        identity = state.identities.get(holder.id)
        if identity is None or server is None:
            continue
        decision = call_of(identity, server, tool, state.context, at)
        if decision.effect is not Effect.DENY:
            group_id = None if decision.grant_id is None else state.group_of.get(decision.grant_id)
            found.append(ToolCaller(holder.id, holder.user_name, holder.kind, decision, group_id))
    return found


# A page ends when it is past so many tools, however many servers it was asked for.
TOOLS_A_PAGE = 2_000


async def page_of(
    identity: Identity,
    servers: Iterable[Server],
    context: PolicyContext,
    at: float,
    *,
    after: str | None,
    limit: int,
) -> tuple[list[Reach], str | None]:
    """What is reached of the servers after a slug, and the slug to go on after; ``None`` at the end."""
    wanted = sorted(servers, key=lambda server: server.slug)
    left = [server for server in wanted if after is None or server.slug > after]
    return await in_slices(_page(identity, left, context, at, limit))


def _page(
    identity: Identity, servers: Iterable[Server], context: PolicyContext, at: float, limit: int
) -> Generator[None, None, tuple[list[Reach], str | None]]:
    found: list[Reach] = []
    tools = 0
    for server in servers:
        yield
        one = yield from reach(identity, server, context, at)
        if one is None:
            continue
        if len(found) == limit or tools > TOOLS_A_PAGE:
            return found, found[-1].server.slug
        found.append(one)
        tools += len(one.tools)
    return found, None


MOST_IDENTITIES = 50
MOST_SERVERS = 20
MOST_DECISIONS = 20_000
"""What one matrix decides at most, shared out evenly among its pairs: one takes some 30 µs, and more with policies."""


@dataclass(frozen=True, slots=True)
class Row:
    """One identity: why nothing at all is within reach, if something keeps it so, and a tally for each server."""

    identity_id: UUID
    stopped: str | None
    tallies: tuple[tuple[UUID, Tally], ...]


async def matrix_of(
    reader: AccessReader, identity_ids: Sequence[UUID], server_ids: Sequence[UUID]
) -> list[Row]:
    """A row for each of the identities that there are, with each of the servers that there are, in the order asked.

    One read, whatever the number of pairs. Raises ``Unavailable``.
    """
    state = await reader.of(identity_ids)
    servers = [state.servers[id] for id in dict.fromkeys(server_ids) if id in state.servers]
    return await in_slices(_rows(state, list(dict.fromkeys(identity_ids)), servers, reader.at))


def _rows(
    state: AccessState, identity_ids: Sequence[UUID], servers: Sequence[Server], at: float
) -> Generator[None, None, list[Row]]:
    most = MOST_DECISIONS // max(1, len(identity_ids) * len(servers))
    rows = []
    for identity_id in identity_ids:
        identity = state.identities.get(identity_id)
        if identity is None:
            continue
        tallies = []
        for server in servers:
            yield
            found = yield from tally(identity, server, state.context, at, most=most)
            tallies.append((server.id, found))
        rows.append(Row(identity_id, stopped(identity, at), tuple(tallies)))
    return rows
