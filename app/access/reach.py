"""Reach of identities: a matrix of identities and servers, the callers of a tool, and pages of reached servers.

Everything is decided like calls.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.point_in_time import AccessReader, AccessState
from app.domain.access import AccessRequest, Decision, PolicyContext, decide
from app.domain.objects import Identity, Server
from app.domain.policy import Effect
from app.domain.reach import Reach, Tally, reach, stop_reason, tally, widest_token
from app.lib.event_loop import in_slices

# The maximum of identities checked for one page, even if few of them can call the tool.
IDENTITIES_PER_PAGE = 2_000
_AT_ONCE = 100
_SELECT = """
SELECT i.id, i.user_name, i.kind FROM identities i
WHERE (CAST(:after AS uuid) IS NULL OR i.id < :after) AND {} ORDER BY i.id DESC LIMIT :limit
"""

# Only holders of grants can call, which excludes most identities. OFFSET 0 forces a lookup by key for each identity;
# otherwise all grants would be read for every hundred identities.
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
    """An identity that can call the tool, with its decision, which names the grant, and the group of that grant."""

    id: UUID
    user_name: str
    kind: str
    decision: Decision
    group_id: UUID | None


async def find_callers(
    session: AsyncSession, reader: AccessReader, server_id: UUID, tool: str, *, after: UUID | None, limit: int
) -> tuple[list[ToolCaller], UUID | None]:
    """A page of the identities that can call a tool, newest first, and the identity to continue after (or ``None``).

    Raises ``Unavailable``, and ``Invalid`` for a time before the history begins.
    """
    callers: list[ToolCaller] = []
    for _ in range(IDENTITIES_PER_PAGE // _AT_ONCE):
        query = _HOLDERS_EVER if reader.is_past else _HOLDERS_NOW
        holders = (await session.execute(query, {"after": after, "limit": _AT_ONCE})).all()
        state = await reader.of([holder.id for holder in holders])
        for caller in await in_slices(_can_call(holders, state, server_id, tool, reader.at)):
            if len(callers) == limit:
                return callers, callers[-1].id
            callers.append(caller)
        if len(holders) < _AT_ONCE:
            return callers, None
        after = holders[-1].id
    return callers, after


def _can_call(
    holders: Sequence[Any], state: AccessState, server_id: UUID, tool: str, at: float
) -> Generator[None, None, list[ToolCaller]]:
    callers = []
    server = state.servers.get(server_id)
    for holder in holders:
        yield
        identity = state.identities.get(holder.id)
        if identity is None or server is None:
            continue
        decision = decide(AccessRequest(widest_token(identity), server, tool), state.context, at)
        if decision.effect is not Effect.DENY:
            group_id = None if decision.grant_id is None else state.group_of.get(decision.grant_id)
            callers.append(ToolCaller(holder.id, holder.user_name, holder.kind, decision, group_id))
    return callers


# The maximum of tools on a page, after which it ends even with fewer servers.
TOOLS_PER_PAGE = 2_000


async def reach_page(
    identity: Identity,
    servers: Iterable[Server],
    context: PolicyContext,
    at: float,
    *,
    after: str | None,
    limit: int,
) -> tuple[list[Reach], str | None]:
    """A page of reached servers in the order of slugs, and the slug to continue after (or ``None``)."""
    wanted = sorted(servers, key=lambda server: server.slug)
    remaining = [server for server in wanted if after is None or server.slug > after]
    return await in_slices(_page(identity, remaining, context, at, limit))


def _page(
    identity: Identity, servers: Iterable[Server], context: PolicyContext, at: float, limit: int
) -> Generator[None, None, tuple[list[Reach], str | None]]:
    reaches: list[Reach] = []
    tools = 0
    for server in servers:
        yield
        one = yield from reach(identity, server, context, at)
        if one is None:
            continue
        if len(reaches) == limit or tools > TOOLS_PER_PAGE:
            return reaches, reaches[-1].server.slug
        reaches.append(one)
        tools += len(one.tools)
    return reaches, None


MAX_IDENTITIES = 50
MAX_SERVERS = 20
MAX_DECISIONS = 20_000
"""The maximum of decisions for a matrix, divided evenly among its pairs. One takes some 30 µs, more with policies."""


@dataclass(frozen=True, slots=True)
class Row:
    """The row of an identity: why nothing is within reach, if so, and a tally for each server."""

    identity_id: UUID
    stopped: str | None
    tallies: tuple[tuple[UUID, Tally], ...]


async def build_matrix(
    reader: AccessReader, identity_ids: Sequence[UUID], server_ids: Sequence[UUID]
) -> list[Row]:
    """A row for each existing identity, with each existing server, in the requested order.

    Uses one read for any number of pairs. Raises ``Unavailable``.
    """
    state = await reader.of(identity_ids)
    servers = [state.servers[id] for id in dict.fromkeys(server_ids) if id in state.servers]
    return await in_slices(_rows(state, list(dict.fromkeys(identity_ids)), servers, reader.at))


def _rows(
    state: AccessState, identity_ids: Sequence[UUID], servers: Sequence[Server], at: float
) -> Generator[None, None, list[Row]]:
    most = MAX_DECISIONS // max(1, len(identity_ids) * len(servers))
    rows = []
    for identity_id in identity_ids:
        identity = state.identities.get(identity_id)
        if identity is None:
            continue
        tallies = []
        for server in servers:
            yield
            counts = yield from tally(identity, server, state.context, at, most=most)
            tallies.append((server.id, counts))
        rows.append(Row(identity_id, stop_reason(identity, at), tuple(tallies)))
    return rows
