"""Narrowing of grants to the access that was used: never more than the grant gives, never less than was used.

Both hold for the present servers and tools, as a property test checks. Later they can differ: a selector by labels or
risk follows changes, a list of ids or names does not (``notes_on``).
"""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.domain import scopes
from app.domain.objects import Identity, Part, Server, ToolState

Reach = Mapping[UUID, frozenset[str]]
"""The names of the active tools that a right gives, by selected server."""


class Note(StrEnum):
    """How narrowing changes the meaning of a grant."""

    NEW_SERVERS_EXCLUDED = "new_servers_excluded"
    """The grant gave all servers; the narrowed one excludes servers that are registered later."""
    LABELS_NO_LONGER_MATCHED = "labels_no_longer_matched"
    """The grant followed the labels of servers; the narrowed one names servers, which stay when their labels change."""
    NEW_TOOLS_EXCLUDED = "new_tools_excluded"
    """The grant gave all tools; the narrowed one excludes tools that are added later."""
    RISKS_NO_LONGER_MATCHED = "risks_no_longer_matched"
    """The grant followed the risk of tools; the narrowed one names tools, which stay when their risk changes."""


@dataclass(frozen=True, slots=True)
class RetainedAccess:
    """The access to a server that stays because it was used or is too new to judge. ``whole``: all of it."""

    tools: frozenset[str] = frozenset()
    resources: bool = False
    prompts: bool = False
    whole: bool = False


def grants_giving(
    identity: Identity, server: Server, tool: str | None, part: Part | None, at: float
) -> list[UUID]:
    """All grants that give an identity what it used. A decision names only the first, but each of them counts as
    used."""
    return [
        grant.id
        for grant in identity.grants
        if grant.not_before <= at
        and grant.servers.matches(server.id, server.labels)
        and (tool is None or _selects(grant.tools, server, tool))
        and (part is None or (grant.resources if part is Part.RESOURCES else grant.prompts))
    ]


def reach_of(right: scopes.ScopeEntry, servers: Iterable[Server]) -> Generator[None, None, Reach]:
    """The servers and tools that a right reaches. Yields after each server."""
    reach = {}
    for server in servers:
        yield
        if right.servers.matches(server.id, server.labels):
            reach[server.id] = frozenset(
                name
                for name, tool in server.tools.items()
                if tool.state is ToolState.ACTIVE and right.tools.matches(name, tool.risk)
            )
    return reach


def narrow(
    right: scopes.ScopeEntry,
    reach: Reach,
    retained: Mapping[UUID, RetainedAccess],
    servers: Mapping[UUID, Server],
    most: int,
) -> scopes.ScopeEntry | None:
    """The narrowest right that includes all retained access.

    ``None`` when nothing is retained; the right itself when nothing within reach would be lost. A selector that would
    list more than ``most`` entries stays unchanged.
    """
    retained_within = {
        id: access
        for id in reach
        if id in retained and (access := _retain(right, servers[id], retained[id])) is not None
    }
    if not retained_within:
        return None
    parts = right.resources or right.prompts
    chosen = right.servers
    if (
        any(id not in retained_within and (reach[id] or parts) for id in reach)
        and len(retained_within) <= most
    ):
        chosen = scopes.ServersByIds(frozenset(retained_within))
    left = retained_within.keys() if chosen is not right.servers else reach.keys()
    names = frozenset[str]().union(*(access.tools for access in retained_within.values()))
    tools = right.tools
    if any(not reach[id] <= names for id in left):
        tools = _narrow_tools(right.tools, names, [servers[id] for id in left], retained_within, most)
    return scopes.ScopeEntry(
        chosen,
        tools,
        right.resources and any(access.resources for access in retained_within.values()),
        right.prompts and any(access.prompts for access in retained_within.values()),
    )


def notes_on(before: scopes.ScopeEntry, after: scopes.ScopeEntry) -> tuple[Note, ...]:
    """How the narrowing changes the meaning of the grant beyond what is within reach today."""
    notes = []
    if before.servers != after.servers:
        if isinstance(before.servers, scopes.AllServers):
            notes.append(Note.NEW_SERVERS_EXCLUDED)
        if isinstance(before.servers, scopes.ServersByLabels):
            notes.append(Note.LABELS_NO_LONGER_MATCHED)
    if isinstance(after.tools, scopes.ToolsByNames):
        if isinstance(before.tools, scopes.AllTools):
            notes.append(Note.NEW_TOOLS_EXCLUDED)
        if isinstance(before.tools, scopes.ToolsByRisk):
            notes.append(Note.RISKS_NO_LONGER_MATCHED)
    return tuple(notes)


def _retain(right: scopes.ScopeEntry, server: Server, retained: RetainedAccess) -> RetainedAccess | None:
    """The part of the retained access to a server that the right gives; ``None`` if nothing."""
    if retained.whole:
        return RetainedAccess(
            frozenset(name for name in server.tools if _selects(right.tools, server, name)), True, True, True
        )
    retained_part = RetainedAccess(
        frozenset(name for name in retained.tools if _selects(right.tools, server, name)),
        right.resources and retained.resources,
        right.prompts and retained.prompts,
    )
    return retained_part if retained_part.tools or retained_part.resources or retained_part.prompts else None


def _selects(tools: scopes.ToolSelector, server: Server, name: str) -> bool:
    """Whether a tool is selected. A tool that does not exist at the moment has no risk."""
    tool = server.tools.get(name)
    if tool is None:
        return isinstance(tools, scopes.AllTools) or (
            isinstance(tools, scopes.ToolsByNames) and name in tools.names
        )
    return tools.matches(name, tool.risk)


def _narrow_tools(
    tools: scopes.ToolSelector,
    names: frozenset[str],
    left: list[Server],
    retained_within: Mapping[UUID, RetainedAccess],
    most: int,
) -> scopes.ToolSelector:
    # Whether these names select tools of a server that were not selected before.
    widens = isinstance(tools, scopes.ToolsByRisk) and any(
        name in names and not tools.matches(name, tool.risk)
        for server in left
        for name, tool in server.tools.items()
    )
    if len(names) <= most and not widens:
        return scopes.ToolsByNames(names)
    if not isinstance(tools, scopes.ToolsByRisk):
        return tools
    # Names apply to all servers, and a destructive tool elsewhere can have the name of a read-only one.
    return scopes.ToolsByRisk(
        frozenset(
            server.tools[name].risk
            for server in left
            for name in (retained_within[server.id].tools if server.id in retained_within else ())
            if name in server.tools
        )
    )
