"""From bytes to one JSON-RPC message of a known era, or a refusal that says what is wrong.

Which era a request belongs to is said by ``MCP-Protocol-Version`` alone (absent: 2025-03-26). The modern header
rules are those of MCP 2026-07-28, as the ``mcp`` package checks them.
"""

from dataclasses import dataclass
from typing import Any

from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request, decode_header_value
from mcp_types.version import (
    HANDSHAKE_PROTOCOL_VERSIONS,
    MODERN_PROTOCOL_VERSIONS,
    SUPPORTED_PROTOCOL_VERSIONS,
)

from app.gateway.wire.http import Exchange, too_large
from app.gateway.wire.refusals import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    Refused,
    UnknownVersion,
)
from app.lib import strict_json
from app.lib.event_loop import is_large, off_loop
from app.lib.strict_json import folded

VERSION = b"mcp-protocol-version"
SESSION = b"mcp-session-id"
METHOD = b"mcp-method"
NAME = b"mcp-name"
PARAM_PREFIX = b"mcp-param-"

CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO_KEY = "io.modelcontextprotocol/clientInfo"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
OURS = "io.scopegate/"
"""How the names begin of what only the gateway says, or is told, in ``_meta``."""
REASON_KEY = f"{OURS}reason"
MAX_REASON = 500

_MODERN = frozenset(MODERN_PROTOCOL_VERSIONS)
_LEGACY = frozenset(HANDSHAKE_PROTOCOL_VERSIONS)
NEWEST_FIRST = tuple(reversed(SUPPORTED_PROTOCOL_VERSIONS))
_ROUTING = frozenset({VERSION, METHOD, NAME})
_NAMING_TASKS = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
"""Their ``Mcp-Name`` is the id of the task, which the ``mcp`` package does not check. Some clients leave it out."""


@dataclass(slots=True)
class Message:
    """One request or notification. ``params`` is the object inside ``body``; ``id`` is None for a notification."""

    body: dict[str, Any]
    method: str
    params: dict[str, Any]
    id: str | int | None
    modern: bool
    version: str | None
    """The version that the header names; None without one."""
    is_response: bool = False
    """It answers a request of the server, and has no method."""
    reason: str | None = None
    """Why the caller asks, for those who may have to approve it. Nobody else gets it."""

    def serialised(self) -> bytes:
        """The bytes to forward, made of the very object that is decided on."""
        # mutation: body_written
        return strict_json.dumps(self.body)


def read_version(exchange: Exchange) -> tuple[str | None, bool]:
    """The named protocol version and whether it is a modern one.

    Raises ``Refused`` for a version that nobody speaks.
    """
    raw = exchange.headers.get(VERSION)
    if raw is None:
        return None, False
    version = raw.decode("latin-1")
    if version in _MODERN:
        return version, True
    if version in _LEGACY:
        return version, False
    raise UnknownVersion(version, NEWEST_FIRST)


async def read_message(exchange: Exchange, limit: int, *, responses: bool = False) -> Message:
    """Read, parse and check the body of a POST. Sets ``exchange.id``. Raises ``Refused`` and ``ClientGone``.

    ``responses``: legacy clients may answer requests of the server here.
    """
    _check_contents(exchange.headers, limit)
    # mutation: body_read
    raw = await exchange.read_body(limit)
    try:
        body = await off_loop(strict_json.loads, raw) if is_large(raw) else strict_json.loads(raw)
    except strict_json.StrictJsonError as error:
        raise Refused(400, PARSE_ERROR, f"Parse error: {error.message}") from None
    if not isinstance(body, dict):
        raise Refused(400, INVALID_REQUEST, "The body must be one JSON-RPC object; batches are not taken.")
    method, id = _check_envelope(body, responses)
    exchange.id = id
    version, modern = read_version(exchange)
    is_response = method is None
    if is_response and modern:
        raise _nobody_waits()
    params: Any = body.get("params")
    if params is None and "params" not in body:
        params = {}
    elif not isinstance(params, dict):
        raise Refused(400, INVALID_REQUEST, "params must be an object.")
    message = Message(body, method or "", params, id, modern, version, is_response, _take_reason(params))
    _check_headers(exchange, message)
    return message


def _check_contents(headers: dict[bytes, bytes], limit: int) -> None:
    if headers.get(b"content-type") != b"application/json" or b"content-encoding" in headers:
        _check_media(headers)
    length = headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length[:20]) > limit:
        raise too_large(limit)


def _check_media(headers: dict[bytes, bytes]) -> None:
    media, _, parameters = headers.get(b"content-type", b"").partition(b";")
    if media.strip().lower() != b"application/json":
        raise Refused(415, INVALID_REQUEST, "The Content-Type must be application/json.")
    if parameters and parameters.strip().lower().replace(b'"', b"") not in {b"", b"charset=utf-8"}:
        raise Refused(415, INVALID_REQUEST, "JSON is UTF-8: no other charset is taken.")
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise Refused(415, INVALID_REQUEST, "Compressed request bodies are not taken.")


def _check_envelope(body: dict[str, Any], responses: bool) -> tuple[str | None, str | int | None]:
    variant = strict_json.envelope_case_variant(body)
    if variant is not None:
        raise Refused(400, INVALID_REQUEST, "A member of the message differs from a known one only by case.")
    id = body.get("id")
    if "id" in body and (isinstance(id, bool) or not isinstance(id, (str, int))):
        raise Refused(400, INVALID_REQUEST, "The id must be a string or an integer.")
    if body.get("jsonrpc") != "2.0":
        raise Refused(400, INVALID_REQUEST, 'The message must say "jsonrpc": "2.0".')
    method = body.get("method")
    if "result" in body or "error" in body:
        if not responses or "method" in body or not isinstance(id, str) or len(body) != 3:
            # The ids under which clients are asked are strings.
            raise _nobody_waits()
        return None, id
    if not isinstance(method, str):
        raise Refused(400, INVALID_REQUEST, "The method must be a string.")
    return method, id


def _take_reason(params: dict[str, Any]) -> str | None:
    """The reason in ``_meta``. It is taken out, and so is all else there under the gateway's own names."""
    meta = params.get("_meta")
    if not isinstance(meta, dict):
        return None
    given, reason = REASON_KEY in meta, meta.get(REASON_KEY)
    for name in [name for name in meta if "copegate" in name.lower() and folded(name).startswith(OURS)]:
        del meta[name]
    if not given:
        return None
    if not isinstance(reason, str) or len(reason) > MAX_REASON:
        raise Refused(
            400, INVALID_PARAMS, f"{REASON_KEY} must be a string of {MAX_REASON} characters at most."
        )
    return reason.strip() or None


def _nobody_waits() -> Refused:
    return Refused(400, INVALID_REQUEST, "No request of the server is waiting for this response.")


def _check_headers(exchange: Exchange, message: Message) -> None:
    if exchange.duplicated:
        for name in exchange.duplicated:
            if name in _ROUTING or name.startswith(PARAM_PREFIX):
                raise Refused(400, HEADER_MISMATCH, f"{name.decode('latin-1')} header appears more than once")
            if name == SESSION:
                raise Refused(400, INVALID_REQUEST, "Mcp-Session-Id appears more than once.")
    if not message.modern or message.id is None or _plainly_agrees(exchange.headers, message):
        return
    headers = {VERSION.decode(): message.version or ""}
    for name in (METHOD, NAME):
        value = exchange.headers.get(name)
        if value is not None:
            # Blanks around a value are no part of it (RFC 9110, 5.5); not every parser takes them away.
            value = exchange.headers[name] = value.strip(b" \t")
            headers[name.decode()] = value.decode("latin-1")
    verdict = classify_inbound_request(message.body, headers=headers)
    if isinstance(verdict, InboundLadderRejection):
        raise Refused(400, verdict.code, verdict.message, data=verdict.data)
    if not isinstance(verdict.client_capabilities, dict):
        raise Refused(400, INVALID_PARAMS, "The client capabilities must be an object.")
    _check_task_name(message, headers.get(NAME.decode()))


def _check_task_name(message: Message, header: str | None) -> None:
    if message.method not in _NAMING_TASKS:
        return
    id = message.params.get("taskId")
    if not isinstance(id, str):
        raise Refused(400, INVALID_PARAMS, "taskId must be a string.")
    if header is not None and decode_header_value(header) != id:
        raise Refused(400, HEADER_MISMATCH, "Mcp-Name header does not match body value of 'taskId'")


def _plainly_agrees(headers: dict[bytes, bytes], message: Message) -> bool:
    """Whether headers and body agree without a doubt: the same ladder, for the plain case that nearly all are."""
    meta, name = message.params.get("_meta"), message.params.get("name")
    return (
        isinstance(meta, dict)
        and meta.get(VERSION_KEY) == message.version
        and isinstance(meta.get(CAPABILITIES_KEY), dict)
        and headers.get(METHOD) == message.method.encode()
        and (
            message.method == "tools/list"
            or (
                message.method == "tools/call"
                and isinstance(name, str)
                and not name.startswith("=?")
                and headers.get(NAME) == name.encode()
            )
        )
    )
