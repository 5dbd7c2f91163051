"""How objects and text are displayed: names, links, labels of fields, and untrusted text made visible.

Approvers decide on what they see. Hidden blanks or a bidirectional control character could otherwise make an argument
such as an amount look different from what is approved.
"""

import asyncio
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from markupsafe import Markup, escape

from app.domain.risk import Risk
from app.features.access.unused_schemas import NarrowingNote
from app.features.approvals.schemas import ApprovalView
from app.features.audit.schemas import show_id
from app.features.identities.schemas import IdentityView
from app.features.servers.schemas import ServerView
from app.features.tools.schemas import ToolView
from app.http import selectors
from app.models.identities import Identity

MAX_SHORT_TEXT = 2_000
"""The length, in characters, above which a text is long."""
ERASED = "an erased identity"
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
"""The path segment of each kind of object, under ``/console``."""
# Control and format characters, surrogates, private use and unassigned ones, line and paragraph separators, and all
# blanks other than the plain space.
_ODD_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
# Letters and marks without a glyph: fillers, joiners, variation selectors.
_INVISIBLE = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0x180B, 0x1810)}
    | set(range(0xFE00, 0xFE10))
    | set(range(0xE0100, 0xE01F0))
)
# No script stacks more marks on a letter; more would cover other lines.
_MAX_MARKS = 4
Names = Mapping[UUID, str]
_MAX_LISTED = 3
MAX_IDS = _MAX_LISTED + 1
"""The maximum number of ids in a list that a description names."""
RISK_WORDS = {
    Risk.READ: "only read",
    Risk.WRITE: "change something",
    Risk.DESTRUCTIVE: "destroy something",
    Risk.UNKNOWN: "have no known risk",
}
NARROWING_NOTES: dict[NarrowingNote, str] = {
    "new_servers_excluded": "Servers that are registered later are excluded.",
    "labels_no_longer_matched": "Servers are named, so they stay included when their labels change.",
    "new_tools_excluded": "Tools that are added later are excluded.",
    "risks_no_longer_matched": "Tools are named, so they stay included when their risk changes.",
}
"""Consequences of a narrowing beyond what is reachable today."""


# Letters and digits of any script with a glyph, which need no further check.
_PLAIN = re.compile("(?:[ -~\n]|(?![\u115f\u1160\u3164\uffa0])\\w)+")


def visible(text: str) -> Markup:
    """Escape a text and replace each odd character by its code; line ends stay."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        plain = _PLAIN.match(text, at)
        if plain is not None:
            parts.append(str(escape(plain[0])))
            at = plain.end()
            continue
        after = _PLAIN.search(text, at)
        end = len(text) if after is None else after.start()
        parts.extend(_each(text[at:end]))
        at = end
    return Markup("".join(parts))  # noqa: S704 - each part is escaped, or consists of digits


async def visible_in_thread(text: str) -> Markup:
    """The same, in a thread if the text is long: escaping a megabyte would block the event loop."""
    return await asyncio.to_thread(visible, text) if len(text) > MAX_SHORT_TEXT else visible(text)


def _each(text: str) -> Iterator[str]:
    """Escape characters that are not plain, one by one."""
    marks = 0
    for char in text:
        category = unicodedata.category(char)
        marks = marks + 1 if category.startswith("M") else 0
        odd = category in _ODD_CATEGORIES or ord(char) in _INVISIBLE or marks > _MAX_MARKS
        yield f'<span class="odd">U+{ord(char):04X}</span>' if odd else str(escape(char))


_LABELS = {
    "args": "Arguments",
    "at": "Time",
    "auth_method": "Client authentication method",
    "changes": "Policies",
    "client_id": "Client id",
    "confirm": "Confirmation",
    "days": "Calls of the last days",
    "definition_digest": "Definition",
    "delivery": "Delivery of the secret",
    "effective_at": "When",
    "env_names": "Environment variables",
    "event_id": "Event",
    "expect": "Expected",
    "expires_at": "Expiry",
    "grant_id": "Grant",
    "group_id": "Group",
    "identity_id": "Who it is for",
    "ip": "Client address",
    "ip_allow": "Allowed client addresses",
    "items": "Grants",
    "keep_arguments": "Keep arguments of calls",
    "lasts": "Lifetime",
    "new_tools": "Tools that a later sync finds",
    "not_before": "Start time",
    "overlap_s": "Overlap of the current secret",
    "owner_group_id": "Owner group",
    "owner_id": "Owner of the agent",
    "parent_id": "Parent token",
    "part": "Requested part",
    "policy_id": "Policy",
    "principal": "Holder",
    "requestable": "Access requests",
    "server_id": "Server",
    "server_ids": "Servers",
    "since": "Start time",
    "text": "Policy",
    "token_id": "Token",
    "token_url": "Token endpoint",
    "transfer_agents_to": "New owner of the agents",
    "unused_for_days": "Days without use",
    "url": "URL",
    "variables": "Environment variables",
}
# Objects that only group fields, and so need no label.
_CONTAINERS = frozenset({"access", "parameters", "request"})
# Objects whose members are named by users.
_NAMED = frozenset({"attributes", "labels", "variables"})


def label_of_pointer(pointer: str) -> str:
    """The label of a JSON pointer: ``/principal/id`` is "Holder", ``/tests/1/name`` is "Tests, no. 2, name"."""
    first, *within = pointer.lstrip("/?").split("/")
    if first in _CONTAINERS and within:
        first, *within = within
    if not first:
        return "The form"
    said = [_label(first)]
    before = first
    for part in within:
        if before in _NAMED:
            said.append(part)
        elif part.isdecimal():
            said.append(f"no. {int(part) + 1}")
        elif len(said) > 1:
            said.append(_label(part).lower())
        before = part
    return ", ".join(said)


def _label(name: str) -> str:
    return _LABELS.get(name) or name.replace("_", " ").capitalize()


def listed(words: Sequence[str], more: str, joined: str = "and") -> str:
    """Join words as a list, shortened if there are many; ``more`` is the noun for the remaining ones."""
    if len(words) > MAX_IDS:
        words = [*words[:_MAX_LISTED], f"{len(words) - _MAX_LISTED} more {more}"]
    return f" {joined} ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else f"no {more}"


def describe_servers(selector: selectors.ServerSelectorModel, names: Names) -> str:
    """Describe which servers."""
    match selector:
        case selectors.AllServersModel():
            return "every server"
        case selectors.ServersByIdsModel():
            return listed([names.get(id, "a server that has ended") for id in selector.ids], "servers")
        case selectors.ServersByLabelsModel():
            labels = [f"{key}={value}" for key, value in sorted(selector.labels.items())]
            return f"servers labelled {listed(labels, 'labels')}" if labels else "no servers"


def describe_tools(selector: selectors.ToolSelectorModel) -> str:
    """Describe which tools."""
    match selector:
        case selectors.AllToolsModel():
            return "every tool"
        case selectors.ToolsByNamesModel():
            return listed(list(selector.names), "tools")
        case selectors.ToolsByRiskModel():
            risks = [RISK_WORDS[risk] for risk in Risk if risk in selector.risk]
            return f"tools that {listed(risks, 'tools', 'or')}" if risks else "no tools"


def describe_access(right: Any, names: Names) -> str:
    """Describe an object with ``servers``, ``tools``, ``resources`` and ``prompts``."""
    parts = [part for part in ("resources", "prompts") if getattr(right, part)]
    also = f", with {' and '.join(parts)}" if parts else ""
    return f"{describe_tools(right.tools)} on {describe_servers(right.servers, names)}{also}"


def describe_scope(
    scope: selectors.TokenScopeModel, names: Names, everything: str, max_lines: int | None = None
) -> list[str]:
    """Describe a token's scope, one line for each entry; ``everything`` stands for the scope ``grants``."""
    if isinstance(scope, selectors.GrantsScopeModel):
        return [everything]
    lines = [describe_access(entry, names) for entry in scope.entries[:max_lines]]
    if len(lines) < len(scope.entries):
        lines.append(f"and {len(scope.entries) - len(lines)} more entries")
    return lines or ["nothing"]


def describe_request(view: ApprovalView) -> str:
    """What an approval is about, in a few words."""
    if view.access is not None:
        name = None if view.server is None else view.server.name or view.server.slug
        return f"Access to {name or 'a server that has ended'}"
    tool = "a call" if view.tool is None else view.tool.name
    server = "a server" if view.server is None else view.server.slug or "a server that has ended"
    return f"{tool} on {server}"


def health(server: ServerView) -> tuple[str, str]:
    """A server's health: a state for the badge, and its description."""
    if server.status == "disabled":
        return "disabled", "disabled"
    if server.sync.state == "running":
        return "running", "sync in progress"
    if server.sync.state == "never":
        return "never", "never synced"
    if server.sync.state == "error":
        return "error", "last sync failed"
    return ("warn", "some tools left out") if server.sync.error else ("ok", "healthy")


def why_waiting(tool: ToolView) -> str:
    """Why a tool is quarantined; empty if it is not."""
    if tool.state != "quarantined":
        return ""
    if tool.approved_digest is None:
        return "new"
    return "held manually" if tool.approved_digest == tool.definition_digest else "definition changed"


def link(kind: str, id: UUID) -> str:
    """The path of an object's page."""
    return f"/console/{ROOMS[kind]}/{show_id(kind, id)}"


def object_path(kind: str, id: str | None) -> str | None:
    """The page of an object with this id of the API; None if it has none."""
    return f"/console/{ROOMS[kind]}/{id}" if kind in ROOMS and id is not None else None


def format_time(time: datetime) -> str:
    """A time in UTC as a query parameter of the API."""
    return time.isoformat().replace("+00:00", "Z")


def format_name(it: IdentityView | Identity) -> str:
    """The name to show for an identity."""
    return ERASED if it.erased_at is not None else it.display_name or it.user_name
