"""Grants in words: who can use which tools on which servers, and the addresses of what they name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from app.domain.risk import Risk
from app.features.access.unused_schemas import NarrowingNote
from app.features.audit.schemas import show_id
from app.features.grants.schemas import Principal
from app.http.selectors import (
    AllServersModel,
    AllToolsModel,
    ServersByIdsModel,
    ServersByLabelsModel,
    ServerSelectorModel,
    ToolsByNamesModel,
    ToolsByRiskModel,
    ToolSelectorModel,
)

Names = Mapping[UUID, str]
_MOST_NAMED = 3
MOST_IDS = _MOST_NAMED + 1
"""How many of a list words can name."""
ROOMS = {
    "approval": "approvals",
    "audit_event": "audit",
    "grant": "grants",
    "group": "groups",
    "identity": "identities",
    "policy": "policies",
    "server": "servers",
    "token": "tokens",
    "tool": "tools",
}
"""Where the pages of each kind of object are, under ``/console``."""
RISK_WORDS = {
    Risk.READ: "only read",
    Risk.WRITE: "change something",
    Risk.DESTRUCTIVE: "destroy something",
    Risk.UNKNOWN: "have no known risk",
}
NOTE_WORDS: dict[NarrowingNote, str] = {
    "new_servers_excluded": "Servers that are registered later are left out.",
    "labels_no_longer_matched": "Servers are named, so they stay within reach whatever labels they carry later.",
    "new_tools_excluded": "Tools that come later are left out.",
    "risks_no_longer_matched": "Tools are named, so they stay within reach whatever their risk becomes.",
}
"""What else changes with a narrowing than what is within reach today."""


def link(kind: str, id: UUID) -> str:
    """The page of an object."""
    return f"/console/{ROOMS[kind]}/{show_id(kind, id)}"


def listed(words: Sequence[str], more: str, joined: str = "and") -> str:
    """Some words as people list them, the first few when there are many; ``more`` says what the others are."""
    if len(words) > MOST_IDS:
        left = len(words) - _MOST_NAMED
        words = [*words[:_MOST_NAMED], f"{left} more {more}"]
    return f" {joined} ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else f"no {more}"


def words_of_servers(selector: ServerSelectorModel, names: Names) -> str:
    """Which servers, in a few words."""
    match selector:
        case AllServersModel():
            return "every server"
        case ServersByIdsModel():
            return listed([names.get(id, "a server that has ended") for id in selector.ids], "servers")
        case ServersByLabelsModel():
            labels = [f"{key}={value}" for key, value in sorted(selector.labels.items())]
            return f"servers labelled {listed(labels, 'labels')}" if labels else "no servers"


def words_of_tools(selector: ToolSelectorModel) -> str:
    """Which tools, in a few words."""
    match selector:
        case AllToolsModel():
            return "every tool"
        case ToolsByNamesModel():
            return listed(list(selector.names), "tools")
        case ToolsByRiskModel():
            risks = [RISK_WORDS[risk] for risk in Risk if risk in selector.risk]
            return f"tools that {listed(risks, 'tools', 'or')}" if risks else "no tools"


def words_of_right(right: Any, names: Names) -> str:
    """What something with ``servers``, ``tools``, ``resources`` and ``prompts`` gives, in a few words."""
    parts = [part for part in ("resources", "prompts") if getattr(right, part)]
    tools = words_of_tools(right.tools)
    also = f", with {' and '.join(parts)}" if parts else ""
    return f"{tools} on {words_of_servers(right.servers, names)}{also}"


def ids_of(principal: Principal, servers: ServerSelectorModel) -> Iterable[UUID]:
    """The ids that the words of a grant need names for: its principal's, and of the servers that are named."""
    yield principal.id
    if isinstance(servers, ServersByIdsModel):
        yield from servers.ids[:MOST_IDS]
