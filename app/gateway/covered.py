"""What an approval covers of a request: every byte that is forwarded, but for what only traces or tells of progress.

Those who decide see a call's name and arguments. Of a call that needs an approval nothing else goes to the server that
its client could choose freely.
"""

import re
from typing import Any

from mcp_types import LOG_LEVEL_META_KEY

from app.gateway.rewrites import Round
from app.gateway.wire.envelope import CAPABILITIES_KEY, CLIENT_INFO_KEY, VERSION_KEY, Message
from app.gateway.wire.methods import client_capabilities, flags_of
from app.outbound.mcp.connection import client_info

_MEMBERS = {
    "tools/call": frozenset({"name", "arguments", "_meta", "task"}),
    "prompts/get": frozenset({"name", "arguments", "_meta"}),
    "resources/read": frozenset({"uri", "_meta"}),
}
_ROUNDS = frozenset({"requestState", "inputResponses"})
_ENVELOPE = frozenset({"jsonrpc", "id", "method", "params"})
_LABEL = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_STATE = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x21-\x2b\x2d-\x3c\x3e-\x7e]{1,256}")
_MAX_TRACE_STATE = 512
LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


def carries_more(message: Message, before: Round) -> bool:
    """Whether a request carries what an approval of it would not cover.

    The next round of an approved call, proven by its state, brings answers that belong to that call. A state of another
    place is refused as such.
    """
    known = _MEMBERS.get(message.method)
    if known is None:
        return False
    if before.continues is not None or before.foreign:
        known = known | _ROUNDS
    params, task = message.params, message.params.get("task", {})
    return not (
        params.keys() <= known
        and message.body.keys() <= _ENVELOPE
        and _is_label(message.id)
        and isinstance(task, dict)
        and all(name == "ttl" and type(value) is int for name, value in task.items())
    )


def bound_with(message: Message) -> Any:
    """What an approval covers in addition to name and arguments; ``None`` for nearly all."""
    task = message.params.get("task")
    return None if task is None else {"task": task}


def covered_meta(meta: Any) -> dict[str, Any]:
    """What is kept of the free part of ``_meta``."""
    if not isinstance(meta, dict):
        return {}
    checks = {"progressToken": _is_label, "traceparent": is_trace_parent, "tracestate": is_trace_state}
    return {name: meta[name] for name, check in checks.items() if name in meta and check(meta[name])}


def covered_body(message: Message) -> dict[str, Any]:
    """The message as it is forwarded of a call that took an approval."""
    meta = message.params.get("_meta")
    kept = covered_meta(meta)
    if message.modern and isinstance(meta, dict):
        declared = client_capabilities(meta[CAPABILITIES_KEY], modern=True)
        kept |= {
            VERSION_KEY: meta[VERSION_KEY],
            CAPABILITIES_KEY: flags_of(declared),
            CLIENT_INFO_KEY: client_info(),
        }
        if meta.get(LOG_LEVEL_META_KEY) in LOG_LEVELS:
            kept[LOG_LEVEL_META_KEY] = meta[LOG_LEVEL_META_KEY]
    params = {name: value for name, value in message.params.items() if name != "_meta"}
    return {**message.body, "params": {**params, "_meta": kept} if kept else params}


def is_trace_parent(value: object) -> bool:
    """Whether it is a ``traceparent`` of W3C Trace Context."""
    return isinstance(value, str) and _TRACE_PARENT.fullmatch(value) is not None


def is_trace_state(value: object) -> bool:
    """Whether it is a ``tracestate`` of W3C Trace Context."""
    return (
        isinstance(value, str)
        and len(value) <= _MAX_TRACE_STATE
        and all(_TRACE_STATE.fullmatch(entry.strip(" \t")) for entry in value.split(","))
    )


def _is_label(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and _LABEL.fullmatch(value) is not None)
