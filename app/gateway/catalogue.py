"""What a client may learn of a server: capabilities that the gateway carries, tools that the token may use."""

from collections.abc import Collection, Mapping
from typing import Any

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from app.admission.store import SyncRequests
from app.domain.definitions import PINNED_MEMBERS, definition_digest, text_digest
from app.domain.objects import Part, Server, Tool
from app.domain.visibility import EVERY_TOOL
from app.gateway.wire.members import keep_list
from app.gateway.wire.methods import carried_extensions, flags_of

_TASK_SUPPORT = ("required", "optional", "forbidden")
LIST_TTL_MS = 0
"""How long a client may keep a filtered list: not at all, or a withdrawn tool would show until the list aged."""


def make_private(result: dict[str, Any]) -> None:
    """Say that a filtered answer is this caller's own (MCP 2026-07-28, caching)."""
    result["cacheScope"] = "private"
    result["ttlMs"] = LIST_TTL_MS


def carried_capabilities(capabilities: Any, parts: Collection[str], *, modern: bool) -> dict[str, Any]:
    """Of a server's capabilities those that the gateway carries and the token can use."""
    if not isinstance(capabilities, dict):
        return {}
    reached = [part for part in Part if part in parts]
    kept = ["tools", "logging", *reached, *(["completions"] if reached else [])]
    carried = {key: value for key, value in capabilities.items() if key in kept and isinstance(value, dict)}
    return flags_of(
        {**carried, **(carried_extensions(capabilities) if modern else _carried_tasks(capabilities))}
    )


def shows_instructions(capabilities: Any, parts: Collection[str]) -> bool:
    """Whether what a server says of its use holds for the token: it speaks of all that there is, in one text."""
    declared = capabilities if isinstance(capabilities, dict) else {}
    return EVERY_TOOL in parts and all(part in parts for part in Part if part in declared)


def keep_approved_instructions(result: dict[str, Any], server: Server, sync_requests: SyncRequests) -> None:
    """Leave out what a server says of its use when it is not what was approved: a model would follow it."""
    text = result.get("instructions")
    if text is None or (isinstance(text, str) and text_digest(text) == server.instructions):
        return
    del result["instructions"]
    sync_requests.request_sync(server.id)


def _carried_tasks(capabilities: dict[str, Any]) -> dict[str, Any]:
    """Of what a legacy server can do with tasks: calls of tools as tasks, and cancelling these."""
    tasks = capabilities.get("tasks")
    requests = tasks.get("requests") if isinstance(tasks, dict) else None
    tools = requests.get("tools") if isinstance(requests, dict) else None
    if not isinstance(tasks, dict) or not isinstance(tools, dict) or not isinstance(tools.get("call"), dict):
        return {}
    cancel = {"cancel": tasks["cancel"]} if isinstance(tasks.get("cancel"), dict) else {}
    return {"tasks": {**cancel, "requests": {"tools": {"call": tools["call"]}}}}


def filter_tools(
    result: dict[str, Any], server: Server, names: frozenset[str], sync_requests: SyncRequests
) -> None:
    """Keep, in the server's order, the visible tools whose live definition is the approved one.

    Anything that the catalogue does not know, or knows otherwise, asks for a sync.
    """
    listed = result.get("tools")
    kept: list[Any] = []
    differs = False
    for item in listed if isinstance(listed, list) else []:
        name = item.get("name") if isinstance(item, dict) else None
        tool = server.tools.get(name) if isinstance(name, str) else None
        if tool is None:
            differs = True
        elif name in names:
            if is_approved(item, tool):
                kept.append(_definition(item))
            else:
                differs = True
    keep_list(result, "tools")
    result["tools"] = kept
    if differs:
        sync_requests.request_sync(server.id)


def _definition(item: dict[str, Any]) -> dict[str, Any]:
    """What was approved of a definition, and whether calls may be tasks, which the eras say differently."""
    definition = {name: item[name] for name in PINNED_MEMBERS if item.get(name) is not None}
    execution = item.get("execution")
    support = execution.get("taskSupport") if isinstance(execution, dict) else None
    return {**definition, "execution": {"taskSupport": support}} if support in _TASK_SUPPORT else definition


def is_approved(item: Mapping[str, object], tool: Tool) -> bool:
    """Whether a live definition is the one that was approved."""
    try:
        return definition_digest(item) == tool.approved_digest
    except ValueError:
        return False


def handshake_versions(offered: tuple[str, ...]) -> tuple[str, ...]:
    """Of the offered versions those that begin with ``initialize``, newest first."""
    return tuple(version for version in reversed(HANDSHAKE_PROTOCOL_VERSIONS) if version in offered)
