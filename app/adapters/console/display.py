"""How objects and text are displayed: names, links, labels of fields, and untrusted text made visible.

Approvers decide on what they see. Hidden blanks or a bidirectional control character could otherwise make an argument
such as an amount look different from what is approved.
"""

import asyncio
import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from markupsafe import Markup, escape

from app.features.audit.schemas import show_id
from app.features.identities.schemas import IdentityView
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


def link(kind: str, id: UUID) -> str:
    """The path of an object's page."""
    return f"/console/{ROOMS[kind]}/{show_id(kind, id)}"


def format_time(time: datetime) -> str:
    """A time in UTC as a query parameter of the API."""
    return time.isoformat().replace("+00:00", "Z")


def format_name(it: IdentityView | Identity) -> str:
    """The name to show for an identity."""
    return ERASED if it.erased_at is not None else it.display_name or it.user_name
