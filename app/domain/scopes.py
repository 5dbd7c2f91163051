"""Selectors of grants and scopes of tokens.

Empty selects nothing: an empty list of ids, names or entries, or an empty map of labels. Only the kind ``all`` selects
everything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from app.domain.risk import Risk


@dataclass(frozen=True, slots=True)
class AllServers:
    """Every server, including those registered later."""

    def matches(self, server_id: UUID, labels: Mapping[str, str]) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class ServersByIds:
    """Exactly these servers."""

    ids: frozenset[UUID]

    def matches(self, server_id: UUID, labels: Mapping[str, str]) -> bool:
        return server_id in self.ids


@dataclass(frozen=True, slots=True)
class ServersByLabels:
    """Servers with all of these labels; an empty set selects nothing."""

    labels: frozenset[tuple[str, str]]

    def matches(self, server_id: UUID, labels: Mapping[str, str]) -> bool:
        return bool(self.labels) and all(labels.get(key) == value for key, value in self.labels)


ServerSelector = AllServers | ServersByIds | ServersByLabels


@dataclass(frozen=True, slots=True)
class AllTools:
    """Every tool of the selected servers."""

    def matches(self, name: str, risk: Risk) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class ToolsByNames:
    """Tools with exactly these names."""

    names: frozenset[str]

    def matches(self, name: str, risk: Risk) -> bool:
        return name in self.names


@dataclass(frozen=True, slots=True)
class ToolsByRisk:
    """Tools whose approved risk is one of these."""

    risks: frozenset[Risk]

    def matches(self, name: str, risk: Risk) -> bool:
        return risk in self.risks


ToolSelector = AllTools | ToolsByNames | ToolsByRisk


@dataclass(frozen=True, slots=True)
class ScopeEntry:
    """One entry of a listed scope."""

    servers: ServerSelector
    tools: ToolSelector
    resources: bool = False
    prompts: bool = False


@dataclass(frozen=True, slots=True)
class GrantsScope:
    """Everything that the identity's live grants allow."""


@dataclass(frozen=True, slots=True)
class ListedScope:
    """Only these entries, as far as the live grants allow them."""

    entries: tuple[ScopeEntry, ...]


Scope = GrantsScope | ListedScope


def _servers_within(child: ServerSelector, parent: ServerSelector) -> bool:
    if isinstance(parent, AllServers):
        return True
    if isinstance(child, ServersByIds):
        return isinstance(parent, ServersByIds) and child.ids <= parent.ids
    if isinstance(child, ServersByLabels):
        # More labels select fewer servers; an empty set selects none.
        return not child.labels or (
            isinstance(parent, ServersByLabels) and bool(parent.labels) and parent.labels <= child.labels
        )
    return False


def _tools_within(child: ToolSelector, parent: ToolSelector) -> bool:
    if isinstance(parent, AllTools):
        return True
    if isinstance(child, ToolsByNames):
        return not child.names or (isinstance(parent, ToolsByNames) and child.names <= parent.names)
    if isinstance(child, ToolsByRisk):
        return not child.risks or (isinstance(parent, ToolsByRisk) and child.risks <= parent.risks)
    return False


def _server_pieces(servers: ServerSelector) -> list[ServerSelector]:
    """The smallest parts of a selector, so that several parent entries can cover it together."""
    if isinstance(servers, ServersByIds):
        return [ServersByIds(frozenset({one})) for one in servers.ids]
    return [servers]


def _tool_pieces(tools: ToolSelector) -> list[ToolSelector]:
    if isinstance(tools, ToolsByNames) and tools.names:
        return [ToolsByNames(frozenset({one})) for one in tools.names]
    if isinstance(tools, ToolsByRisk) and tools.risks:
        return [ToolsByRisk(frozenset({one})) for one in tools.risks]
    return [tools]


def _entry_within(child: ScopeEntry, parents: tuple[ScopeEntry, ...]) -> bool:
    """Whether one of the parents covers each server of the entry with each of its tools.

    A thousand servers and a thousand tools are a million pairs. So it compares bit sets of the covering parents, of
    which there are only a few different ones.
    """
    able = [
        parent
        for parent in parents
        if child.resources <= parent.resources and child.prompts <= parent.prompts
    ]
    by_server = {
        sum(1 << bit for bit, parent in enumerate(able) if _servers_within(piece, parent.servers))
        for piece in _server_pieces(child.servers)
    }
    by_tool = {
        sum(1 << bit for bit, parent in enumerate(able) if _tools_within(piece, parent.tools))
        for piece in _tool_pieces(child.tools)
    }
    return all(servers & tools for servers in by_server for tools in by_tool)


def scope_within(child: Scope, parent: Scope) -> bool:
    """Whether ``child`` is provably no wider than ``parent``, for any set of servers and tools.

    Sound, not complete: ids against labels, or names against risk, cannot be proven and count as wider.
    """
    if isinstance(parent, GrantsScope):
        return True
    if isinstance(child, GrantsScope):
        return False
    return all(_entry_within(entry, parent.entries) for entry in child.entries)
