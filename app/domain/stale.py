"""What a grant could be narrowed to, by what of it was used: never to more than it gives, nor to less than was used.

Both are true of the servers and tools as they are when it is asked; a law in the tests says so. What they become later
can differ: a selector by labels or by risk goes with them, and a list of ids or names does not (``notes_on``).
"""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.domain.objects import Grant, Identity, Part, Server, ToolState
from app.domain.scopes import (
    AllServers,
    AllTools,
    ScopeEntry,
    ServersByIds,
    ServersByLabels,
    ToolsByNames,
    ToolsByRisk,
    ToolSelector,
)

Reach = Mapping[UUID, frozenset[str]]
"""By server that a right selects, the names of its active tools that it gives."""


class Note(StrEnum):
    """What changes in the meaning of a grant that is narrowed."""

    NEW_SERVERS_EXCLUDED = "new_servers_excluded"
    """It gave all servers; those registered later are not among the ones that it names."""
    LABELS_NO_LONGER_MATCHED = "labels_no_longer_matched"
    """It followed the labels of servers; those that it names stay within reach whatever labels they carry."""
    NEW_TOOLS_EXCLUDED = "new_tools_excluded"
    """It gave all tools; those that come later are not among the ones that it names."""
    RISKS_NO_LONGER_MATCHED = "risks_no_longer_matched"
    """It followed the risk of tools; those that it names stay within reach whatever their risk becomes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What of one server was used, or is too new to be judged, and so has to stay. ``whole``: all of it."""

    tools: frozenset[str] = frozenset()
    resources: bool = False
    prompts: bool = False
    whole: bool = False


def right_of(grant: Grant) -> ScopeEntry:
    """What a grant gives, apart from whom and when."""
    return ScopeEntry(grant.servers, grant.tools, grant.resources, grant.prompts)


def givers(identity: Identity, server: Server, tool: str | None, part: Part | None, at: float) -> list[UUID]:
    """Every grant that gives an identity what it used, not only the first, which a decision names: each of them was of
    use, and might be the only one tomorrow."""
    return [
        grant.id
        for grant in identity.grants
        if grant.not_before <= at
        and grant.servers.matches(server.id, server.labels)
        and (tool is None or _selects(grant.tools, server, tool))
        and (part is None or (grant.resources if part is Part.RESOURCES else grant.prompts))
    ]


def reach_of(right: ScopeEntry, servers: Iterable[Server]) -> Generator[None, None, Reach]:
    """What a right reaches of the fleet, in steps of a server each."""
    found = {}
    for server in servers:
        yield
        if right.servers.matches(server.id, server.labels):
            found[server.id] = frozenset(
                name
                for name, tool in server.tools.items()
                if tool.state is ToolState.ACTIVE and right.tools.matches(name, tool.risk)
            )
    return found


def narrowed(
    right: ScopeEntry, reach: Reach, kept: Mapping[UUID, Kept], servers: Mapping[UUID, Server], most: int
) -> ScopeEntry | None:
    """The narrowest right that holds all that is kept: ``None`` when that is nothing, the right itself when nothing
    within reach would go. No selector lists more than ``most``; one that would have to stays as it is."""
    stays = {
        id: found
        for id in reach
        if id in kept and (found := _given(right, servers[id], kept[id])) is not None
    }
    if not stays:
        return None
    parts = right.resources or right.prompts
    chosen = right.servers
    if any(id not in stays and (reach[id] or parts) for id in reach) and len(stays) <= most:
        chosen = ServersByIds(frozenset(stays))
    left = stays.keys() if chosen is not right.servers else reach.keys()
    names = frozenset[str]().union(*(found.tools for found in stays.values()))
    tools = right.tools
    if any(not reach[id] <= names for id in left):
        tools = _fewer_tools(right.tools, names, [servers[id] for id in left], stays, most)
    return ScopeEntry(
        chosen,
        tools,
        right.resources and any(found.resources for found in stays.values()),
        right.prompts and any(found.prompts for found in stays.values()),
    )


def notes_on(before: ScopeEntry, after: ScopeEntry) -> tuple[Note, ...]:
    """What else changes with the narrowing than what is within reach today."""
    notes = []
    if before.servers != after.servers:
        if isinstance(before.servers, AllServers):
            notes.append(Note.NEW_SERVERS_EXCLUDED)
        if isinstance(before.servers, ServersByLabels):
            notes.append(Note.LABELS_NO_LONGER_MATCHED)
    if isinstance(after.tools, ToolsByNames):
        if isinstance(before.tools, AllTools):
            notes.append(Note.NEW_TOOLS_EXCLUDED)
        if isinstance(before.tools, ToolsByRisk):
            notes.append(Note.RISKS_NO_LONGER_MATCHED)
    return tuple(notes)


def _given(right: ScopeEntry, server: Server, kept: Kept) -> Kept | None:
    """Of what is to be kept of a server, what the right gives."""
    if kept.whole:
        return Kept(
            frozenset(name for name in server.tools if _selects(right.tools, server, name)), True, True, True
        )
    found = Kept(
        frozenset(name for name in kept.tools if _selects(right.tools, server, name)),
        right.resources and kept.resources,
        right.prompts and kept.prompts,
    )
    return found if found.tools or found.resources or found.prompts else None


def _selects(tools: ToolSelector, server: Server, name: str) -> bool:
    """Whether a tool is selected. One that is not there now, and may come again, has no risk."""
    tool = server.tools.get(name)
    if tool is None:
        return isinstance(tools, AllTools) or (isinstance(tools, ToolsByNames) and name in tools.names)
    return tools.matches(name, tool.risk)


def _fewer_tools(
    tools: ToolSelector, names: frozenset[str], left: list[Server], stays: Mapping[UUID, Kept], most: int
) -> ToolSelector:
    if len(names) <= most and not any(_widens(tools, names, server) for server in left):
        return ToolsByNames(names)
    if not isinstance(tools, ToolsByRisk):
        return tools
    # Names are of all servers at once: a tool that only reads may have a namesake elsewhere that destroys.
    return ToolsByRisk(
        frozenset(
            server.tools[name].risk
            for server in left
            for name in (stays[server.id].tools if server.id in stays else ())
            if name in server.tools
        )
    )


def _widens(tools: ToolSelector, names: frozenset[str], server: Server) -> bool:
    """Whether these names give tools of a server that were not selected."""
    if not isinstance(tools, ToolsByRisk):
        return False
    return any(not tools.matches(name, tool.risk) for name, tool in server.tools.items() if name in names)
