"""Malformed requests and answers: messages of both eras with random damage.

An object is a list of pairs here, so that keys can be duplicated, and a token may be invalid JSON.
"""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.gateway.messages import LEGACY, call, initialize, modern, request


class Object(list[tuple[str, Any]]):
    """An object that may have duplicate keys."""


class Token(str):
    """A token that is written unchanged."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Post:
    """A POST: headers as pairs, and a body that may be invalid."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


def _pairs(value: Any) -> Any:
    if isinstance(value, dict):
        return Object((key, _pairs(item)) for key, item in value.items())
    return [_pairs(item) for item in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    if isinstance(value, Token):
        return value
    if isinstance(value, Object):
        return "{" + ",".join(f"{json.dumps(key)}:{_text(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)


BROKEN = [
    "NaN",
    "-Infinity",
    "1e400",
    "9" * 500,
    '"\\ud800"',
    '"\\u0000"',
    "'a'",
    "tru",
    "01",
    "[" * 80 + "]" * 80,
]
ODD = [
    "-0", "1.0", "5E0", "1e-400", str(2**70), '"add"', '"calc__add"', '"other"', '"tools/call"', '"resources/read"',
    '"2026-07-28"', '{"__entity":{"type":"User","id":"root"}}', '""', "{}", "[]", "null", "true", '"ref/resource"',
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(ODD).map(Token),
    st.sampled_from(ODD).map(Token),
    st.sampled_from(ODD).map(Token) | st.sampled_from(BROKEN).map(Token),
    st.integers(),
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
)
MESSAGES = [
    call("add", {"a": 1, "b": {"c": [1.5, "ü"]}}),
    call("calc__add", {"a": 1}),
    request("tools/list", {"cursor": "x"}),
    request("server/discover"),
    request("prompts/get", {"name": "p", "arguments": {}}),
    request("prompts/get", {"name": "calc__p"}),
    request("prompts/list"),
    request("resources/read", {"uri": "a:b"}),
    request("resources/templates/list"),
    request("resources/subscribe", {"uri": "a:b"}),
    request("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {}}),
    request("completion/complete", {"ref": {"type": "ref/prompt", "name": "calc__p"}, "argument": {}}),
    request("tasks/get", {"taskId": "x"}),
    request("logging/setLevel", {"level": "info"}),
    request("ping"),
    initialize(),
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
    {"jsonrpc": "2.0", "id": "x", "result": {}},
]


def _objects(value: Any) -> list[Object]:
    found: list[Object] = [value] if isinstance(value, Object) else []
    inner = [item for _, item in value] if isinstance(value, Object) else value
    return found + [deep for item in inner if isinstance(item, list) for deep in _objects(item)]


def _damage(draw: st.DrawFn, message: Object) -> None:
    """Change, drop, repeat or respell one member of one object."""
    inside = draw(st.sampled_from(_objects(message)))
    if not inside:
        inside.append((draw(st.text(max_size=3)), draw(VALUES)))
        return
    at = draw(st.integers(0, len(inside) - 1))
    key, value = inside[at]
    match draw(
        st.sampled_from(["change", "change", "drop", "repeat", "repeat", "respell", "respell", "rename"])
    ):
        case "change":
            inside[at] = (key, _pairs(draw(VALUES)))
        case "drop":
            del inside[at]
        case "repeat":
            twin = (key, draw(st.sampled_from([value, Token('"other"')])))
            inside.insert(draw(st.integers(0, len(inside))), twin)
        case "respell":
            respelt = draw(st.sampled_from([key.upper(), key.title(), key.replace("s", "\u017f"), f"{key} "]))
            inside.insert(draw(st.integers(0, len(inside))), (respelt, Token('"other"')))
        case "rename":
            inside[at] = (draw(st.text(max_size=4)), value)


def _headers(draw: st.DrawFn, headers: dict[str, str]) -> list[tuple[str, str]]:
    sent = [("content-type", "application/json"), *headers.items()]
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 1]))):
        names = ["mcp-name", "mcp-method", "mcp-protocol-version", "mcp-session-id", "mcp-param-a", "x-y"]
        values = [
            "add",
            "other",
            "tools/call",
            LEGACY,
            "2026-07-28",
            "=?base64?YWRk?=",
            "=?base64?!?=",
            "",
            "ü",
        ]
        changed = (draw(st.sampled_from(names)), draw(st.sampled_from(values)))
        kept = draw(st.sampled_from([sent, [pair for pair in sent if pair[0] != changed[0]]]))
        sent = [*kept, changed]
    return sent


def _damaged(draw: st.DrawFn, message: dict[str, Any]) -> bytes:
    """Return the damaged message as bytes."""
    pairs = _pairs(message)
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2, 3]))):
        _damage(draw, pairs)
    body = _text(pairs).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 19)) == 19:
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=3)) + body[at + draw(st.integers(0, 3)) :]
    return body


@st.composite
def posts(draw: st.DrawFn) -> Post:
    """A POST of either era."""
    message, headers = draw(st.sampled_from(MESSAGES[:2]) | st.sampled_from(MESSAGES)), {}
    if draw(st.booleans()):
        message, headers = modern(message) if "method" in message else (message, {})
    elif draw(st.booleans()):
        headers = {"mcp-protocol-version": LEGACY}
    body = _damaged(draw, message)
    return Post(tuple(_headers(draw, headers)), body)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request on a mirror and on ``/mcp``, and the server's answer; ``ID`` is replaced by the request's id."""

    asked: dict[str, Any]
    asked_of_fleet: dict[str, Any]
    answer: bytes
    streamed: bool


ID = "@id@"
SECRET = "upstream-secret-0123456789"
_TEXT = {"type": "text", "text": f"it is {SECRET}"}
_TASK = {"taskId": "t", "status": "working", "createdAt": "2026-01-01T00:00:00Z", "ttl": 1}
_QUESTION = {
    "method": "elicitation/create",
    "params": {"message": "Who?", "requestedSchema": {"type": "object"}},
}
_TOOL = {"name": "add", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}
_ASKS = {"resultType": "input_required", "inputRequests": {"q": _QUESTION}, "requestState": "s"}
_PROGRESS = {"progressToken": 1, "progress": 1, "message": SECRET}
ANSWERED: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (call("add"), call("calc__add"), {"content": [_TEXT], "structuredContent": {"a": [1]}, "isError": False}),
    (call("add"), call("calc__add"), _ASKS),
    (call("add"), call("calc__add"), {"resultType": "task", **_TASK, "task": _TASK}),
    (request("tools/list"), request("tools/list"), {"tools": [_TOOL], "nextCursor": "n", "cacheScope": "public"}),
    (request("prompts/list"), request("prompts/list"), {"prompts": [{"name": "p", "arguments": [{"name": "a"}]}]}),
    (request("prompts/get", {"name": "p"}), request("prompts/get", {"name": "calc__p"}),
     {"messages": [{"role": "user", "content": {"type": "resource_link", "uri": "a:b", "name": SECRET}}]}),
    (request("resources/list"), request("resources/list"), {"resources": [{"name": "r", "uri": "a:b"}]}),
    (request("resources/templates/list"), request("resources/templates/list"),
     {"resourceTemplates": [{"name": "r", "uriTemplate": "a:{b}"}]}),
    (request("resources/read", {"uri": "a:b"}), request("resources/read", {"uri": "mcp+calc+a:b"}),
     {"contents": [{"uri": "a:b", "text": SECRET}]}),
    (request("server/discover"), request("server/discover"),
     {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "instructions": SECRET}),
    (initialize(), initialize(),
     {"protocolVersion": LEGACY, "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}),
]  # fmt: skip
"""Requests to a mirror, the same to ``/mcp``, and valid results."""
_NOTES: list[dict[str, Any]] = [
    {"jsonrpc": "2.0", "method": "notifications/progress", "params": _PROGRESS},
    {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": [SECRET]}},
    {"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": _TASK},
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
    {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "sampling/createMessage",
        "params": {"messages": [], "maxTokens": 1},
    },
]
_FIELDS = ["", "id: 1\n", "retry: 1\n", "event: message\n", ": hello\n", "data\n", "id: \0\n", "event: x\n"]


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    """Generate a valid request, and an answer that may be damaged."""
    asked, of_fleet, result = draw(st.sampled_from(ANSWERED))
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": ID, "result": {"resultType": "complete", **result}}
    if draw(st.integers(0, 5)) == 0:
        answer = {
            "jsonrpc": "2.0",
            "id": ID,
            "error": {"code": -32000, "message": SECRET, "data": {"x": SECRET}},
        }
    body = _damaged(draw, answer)
    streamed = draw(st.booleans())
    if streamed:
        notes = [_damaged(draw, note) for note in draw(st.lists(st.sampled_from(_NOTES), max_size=2))]
        parts = [
            draw(st.sampled_from(_FIELDS)).encode() + b"data: " + part + b"\n\n" for part in (*notes, body)
        ]
        body = b"".join(parts)
    return Exchange(asked, of_fleet, body, streamed)
