"""Servers and tools that a token of an identity could reach, by its grants or an additional one.

Decided as calls are. For the additional grant, the identity is treated as if everything were granted, so that what
policies forbid or no grant can allow is not offered.
"""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.point_in_time import AccessReader, AccessState
from app.domain.errors import NotFound
from app.domain.objects import Identity, Part, Server
from app.domain.policy import Effect
from app.domain.reach import Reach, reach, stop_reason, with_all_grants
from app.domain.risk import Risk
from app.features.servers.queries import select_servers
from app.features.servers.schemas import ServerQuery
from app.lib.event_loop import in_slices
from app.models.servers import Server as ServerRow

TOOLS_A_PAGE = 2_000
"""A page ends after this many tools, for any requested number of servers."""
_MAX_NAMED = 1_000
_NOTHING: Mapping[Part, object] = {}


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool that a token could reach; ``is_granted``: without another grant."""

    name: str
    risk: Risk
    is_granted: bool
    needs_approval: bool


@dataclass(frozen=True, slots=True)
class OfferedServer:
    """A server that a token could reach. ``is_granted``: at least a part of it without another grant; ``is_whole``: all
    of it, including resources and prompts."""

    id: UUID
    slug: str
    is_granted: bool
    is_whole: bool
    tools: tuple[OfferedTool, ...]


@dataclass(frozen=True, slots=True)
class Offers:
    """A page of servers by slug. ``stop_reason``: why the identity reaches nothing at all; ``following``: the slug to
    continue after."""

    stop_reason: str | None
    servers: tuple[OfferedServer, ...] = ()
    following: str | None = None


async def offers_to(
    session: AsyncSession,
    reader: AccessReader,
    identity_id: UUID,
    *,
    grantable: bool,
    q: str = "",
    server_ids: Iterable[UUID] | None = None,
    after: str = "",
    limit: int = 10,
) -> Offers:
    """Read a page of what a token of the identity could reach; with ``grantable``, also with a new grant.

    ``q`` is text in a server's name or description, or in the name of one of its tools. Raises ``NotFound`` and
    ``Unavailable``.
    """
    state = await reader.of([identity_id])
    identity = state.identities.get(identity_id)
    if identity is None:
        raise NotFound("There is no such identity.")
    reason = stop_reason(identity, reader.at)
    if reason is not None:
        return Offers(reason)
    named = await _servers_with_text(session, q)
    within = None if server_ids is None else frozenset(server_ids)
    candidates = [
        server
        for server in sorted(state.servers.values(), key=lambda server: server.slug)
        if server.slug > after and (within is None or server.id in within)
    ]
    page = _page(identity, candidates, state, reader.at, q=q, named=named, grantable=grantable, limit=limit)
    servers, following = await in_slices(page)
    return Offers(None, servers, following)


async def _servers_with_text(session: AsyncSession, q: str) -> frozenset[UUID]:
    """Servers with the text in their name or description, which the access snapshot does not have."""
    if not q:
        return frozenset()
    statement = select_servers(ServerQuery(q=q)).with_only_columns(col(ServerRow.id)).limit(_MAX_NAMED)
    return frozenset(await session.scalars(statement))


def _page(
    identity: Identity, servers: Iterable[Server], state: AccessState, at: float, *,
    q: str, named: frozenset[UUID], grantable: bool, limit: int,
) -> Generator[None, None, tuple[tuple[OfferedServer, ...], str | None]]:  # fmt: skip
    anything = with_all_grants(identity)
    text = q.lower()
    offered: list[OfferedServer] = []
    tools = 0
    for server in servers:
        yield
        if q and server.id not in named and not _has_text(server, text):
            continue
        own = yield from reach(identity, server, state.context, at)
        reachable = (yield from reach(anything, server, state.context, at)) if grantable else own
        if reachable is None:
            continue
        if len(offered) == limit or tools > TOOLS_A_PAGE:
            return tuple(offered), offered[-1].slug
        offered.append(_offer(reachable, own))
        tools += len(reachable.tools)
    return tuple(offered), None


def _offer(reachable: Reach, own: Reach | None) -> OfferedServer:
    granted = frozenset() if own is None else frozenset(tool.name for tool, _ in own.tools)
    tools = tuple(
        OfferedTool(tool.name, tool.risk, tool.name in granted, decision.effect is Effect.REQUIRE_APPROVAL)
        for tool, decision in reachable.tools
    )
    parts = _NOTHING if own is None else own.parts
    is_whole = own is not None and len(granted) == len(tools) and reachable.parts.keys() == parts.keys()
    return OfferedServer(reachable.server.id, reachable.server.slug, own is not None, is_whole, tools)


def _has_text(server: Server, text: str) -> bool:
    return text in server.slug or any(text in name.lower() for name in server.tools)
