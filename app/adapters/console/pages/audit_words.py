"""What events are about, in words and links."""

import json
from typing import Any

from app.adapters.console.pages.grant_words import ROOMS
from app.features.audit.schemas import Actor, AuditEventView

ACTIONS = (
    "tool.call", "tools.list", "resource.read", "prompt.get", "mcp.initialize", "token.refused",
    "credential.refused", "token.issue", "token.update", "token.rotate", "token.revoke", "token.pick_up",
    "token.check", "grant.create", "grant.update", "grant.end", "policy.create", "policy.update",
    "policy.publish", "policy.rollback", "policy.unpublish", "policy.end", "identity.create",
    "identity.update", "identity.suspend", "identity.reinstate", "identity.offboard", "identity.erase",
    "group.create", "group.update", "group.end", "group.add_member", "group.remove_member",
    "group.change_members", "server.create", "server.update", "server.delete", "server.sync",
    "server_credential.set", "server_credential.delete", "tool.update", "tool.approve", "approval.request",
    "approval.approve", "approval.deny", "service_account.create", "service_account.sign_in", "administrator.sign_in",
    "session.open", "session.end", "arguments.read", "scim.request", "signal.received", "break_glass.sign_in",
    "break_glass.use",
)  # fmt: skip
"""What is offered to filter by; any other may be typed."""
_LONGEST = 2_000


def path_of(kind: str, id: str | None) -> str | None:
    """The page of an object; None where it has none."""
    room = ROOMS.get(kind)
    return None if room is None or id is None else f"/console/{room}/{id}"


def who_path(actor: Actor) -> str | None:
    """The page of whoever did it, if it has one."""
    return path_of(actor.type, actor.id) if actor.type == "identity" else None


def changes_of(event: AuditEventView) -> list[tuple[str, str | None, str]]:
    """What changed, field by field: its name, what it was (None where that is not told), what it is."""
    return [_change(name, value) for name, value in sorted((event.changes or {}).items())]


def _change(name: str, value: Any) -> tuple[str, str | None, str]:
    if value == {"personal": True}:
        return name, None, "changed; what is personal is not kept in the trail"
    if isinstance(value, dict) and value.keys() == {"from", "to"}:
        return name, _text(value["from"]), _text(value["to"])
    return name, None, _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
