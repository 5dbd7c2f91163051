"""Parsing and checks of MCP messages from clients, and the methods that the gateway supports.

``MCP-Protocol-Version`` determines the era of a request (absent: 2025-03-26). The modern header rules are those of MCP
2026-07-28, as the ``mcp`` package checks them. A method that is not listed here is refused, never forwarded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from mcp.shared.inbound import (
    InboundLadderRejection,
    classify_inbound_request,
    decode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    validate_mcp_param_headers,
    x_mcp_header_map,
)
from mcp_types.version import (
    HANDSHAKE_PROTOCOL_VERSIONS,
    MODERN_PROTOCOL_VERSIONS,
    SUPPORTED_PROTOCOL_VERSIONS,
)

from app.admission.store import Client
from app.domain.objects import Part
from app.domain.policy import UNNAMED, CallerProgram
from app.gateway.wire.exchange import Exchange, too_large
from app.gateway.wire.refusals import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    Refused,
    UnknownVersion,
    invalid_params,
)
from app.lib import strict_json
from app.lib.event_loop import MIN_LARGE_BYTES, is_large, off_loop
from app.lib.strict_json import fold_name

VERSION = b"mcp-protocol-version"
SESSION = b"mcp-session-id"
METHOD = b"mcp-method"
NAME = b"mcp-name"
PARAM_PREFIX = b"mcp-param-"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO_KEY = "io.modelcontextprotocol/clientInfo"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
GATEWAY_PREFIX = "io.scopegate/"
"""Prefix of ``_meta`` members that only the gateway sets or reads."""
REASON_KEY = f"{GATEWAY_PREFIX}reason"
MAX_REASON = 500
_MODERN = frozenset(MODERN_PROTOCOL_VERSIONS)
_LEGACY = frozenset(HANDSHAKE_PROTOCOL_VERSIONS)
NEWEST_FIRST = tuple(reversed(SUPPORTED_PROTOCOL_VERSIONS))
_ROUTING = frozenset({VERSION, METHOD, NAME})
_NAMING_TASKS = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
"""Methods whose ``Mcp-Name`` is a task id. The ``mcp`` package does not check it, and some clients omit it."""


@dataclass(slots=True)
class Message:
    """A request or notification. ``params`` is the object inside ``body``; ``id`` is None for a notification."""

    body: dict[str, Any]
    method: str
    params: dict[str, Any]
    id: str | int | None
    modern: bool
    version: str | None
    """The version in the header; None without one."""
    is_response: bool = False
    """A response to a request of the server, without a method."""
    reason: str | None = None
    """The caller's reason, shown only to approvers."""

    def serialize(self) -> bytes:
        """Encode the message to forward, from the same object that is decided on."""
        # mutation: body_written
        return strict_json.dumps(self.body)


def read_version(exchange: Exchange) -> tuple[str | None, bool]:
    """Return the protocol version in the header and whether it is modern. Raises ``UnknownVersion``."""
    raw = exchange.headers.get(VERSION)
    if raw is None:
        return None, False
    version = raw.decode("latin-1")
    if version in _MODERN:
        return version, True
    if version in _LEGACY:
        return version, False
    raise UnknownVersion(version, NEWEST_FIRST)


async def read_request(exchange: Exchange, limit: int, *, responses: bool = False) -> Message:
    """Read, parse and check the body of a POST; other methods have no body, and are their own message.

    Sets ``exchange.id``. Raises ``Refused`` and ``ClientGone``. ``responses``: accept responses of legacy clients to
    requests of the server.
    """
    if exchange.method != "POST":
        version, modern = read_version(exchange)
        return Message({}, exchange.method, {}, None, modern, version)
    _check_contents(exchange.headers, limit)
    # mutation: body_read
    raw = await exchange.read_body(limit)
    try:
        large = len(raw) > MIN_LARGE_BYTES and is_large(raw)
        body = await off_loop(strict_json.loads, raw) if large else strict_json.loads(raw)
    except strict_json.StrictJsonError as error:
        raise Refused(400, PARSE_ERROR, f"Parse error: {error.message}") from None
    if not isinstance(body, dict):
        raise Refused(
            400, INVALID_REQUEST, "The body must be one JSON-RPC object; batches are not supported."
        )
    method, id = _check_envelope(body, responses)
    exchange.id = id
    version, modern = read_version(exchange)
    is_response = method is None
    if is_response and modern:
        raise _unexpected_response()
    params: Any = body.get("params")
    if params is None and "params" not in body:
        params = {}
    elif not isinstance(params, dict):
        raise Refused(400, INVALID_REQUEST, "params must be an object.")
    reason = None
    # The escapes of JSON could hide the name.
    if b"copegate" in raw.lower() or b"\\" in raw:
        reason = _take_reason(params)
    message = Message(body, method or "", params, id, modern, version, is_response, reason)
    if exchange.duplicated:
        _check_duplicates(exchange)
    if modern and id is not None and not _headers_match(exchange.headers, message):
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
        raise Refused(415, INVALID_REQUEST, "JSON must be UTF-8.")
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise Refused(415, INVALID_REQUEST, "Compressed request bodies are not supported.")


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
            # The ids of forwarded server requests are strings.
            raise _unexpected_response()
        return None, id
    if not isinstance(method, str):
        raise Refused(400, INVALID_REQUEST, "The method must be a string.")
    return method, id


def _take_reason(params: dict[str, Any]) -> str | None:
    """Return the reason in ``_meta``, and remove all members with the gateway's prefix."""
    meta = params.get("_meta")
    if not isinstance(meta, dict):
        return None
    given, reason = REASON_KEY in meta, meta.get(REASON_KEY)
    for name in [
        name for name in meta if "copegate" in name.lower() and fold_name(name).startswith(GATEWAY_PREFIX)
    ]:
        del meta[name]
    if not given:
        return None
    if not isinstance(reason, str) or len(reason) > MAX_REASON:
        raise Refused(
            400, INVALID_PARAMS, f"{REASON_KEY} must be a string of at most {MAX_REASON} characters."
        )
    return reason.strip() or None


def _unexpected_response() -> Refused:
    return Refused(400, INVALID_REQUEST, "No request of the server is waiting for this response.")


def _check_duplicates(exchange: Exchange) -> None:
    for name in exchange.duplicated:
        if name in _ROUTING or name.startswith(PARAM_PREFIX):
            raise Refused(400, HEADER_MISMATCH, f"{name.decode('latin-1')} header appears more than once")
        if name == SESSION:
            raise Refused(400, INVALID_REQUEST, "Mcp-Session-Id appears more than once.")


def _check_headers(exchange: Exchange, message: Message) -> None:
    headers = {VERSION.decode(): message.version or ""}
    for name in (METHOD, NAME):
        value = exchange.headers.get(name)
        if value is not None:
            # Blanks around a value are not part of it (RFC 9110, section 5.5), but some parsers keep them.
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


def _headers_match(headers: dict[bytes, bytes], message: Message) -> bool:
    """Whether headers and body agree: a fast path for the common case of ``classify_inbound_request``."""
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


@dataclass(frozen=True, slots=True)
class Method:
    """A supported method. ``names`` is the parameter that names a prompt or resource."""

    action: str
    part: Part | None = None
    names: str | None = None


_BOTH: Mapping[str, Method] = {
    "tools/list": Method("tools.list"),
    "tools/call": Method("tool.call"),
    "prompts/list": Method("prompts.list", Part.PROMPTS),
    "prompts/get": Method("prompt.get", Part.PROMPTS, "name"),
    "resources/list": Method("resources.list", Part.RESOURCES),
    "resources/templates/list": Method("resources.list", Part.RESOURCES),
    "resources/read": Method("resource.read", Part.RESOURCES, "uri"),
    "completion/complete": Method("completion.complete"),
}
MODERN: Mapping[str, Method] = {
    **_BOTH,
    "server/discover": Method("mcp.discover"),
    "subscriptions/listen": Method("mcp.listen"),
}
LEGACY: Mapping[str, Method] = {
    **_BOTH,
    "initialize": Method("mcp.initialize"),
    "logging/setLevel": Method("mcp.set_level"),
    "resources/subscribe": Method("resource.subscribe", Part.RESOURCES, "uri"),
    "resources/unsubscribe": Method("resource.unsubscribe", Part.RESOURCES, "uri"),
}
_TASKS: Mapping[str, Method] = {"tasks/get": Method("task.get"), "tasks/cancel": Method("task.cancel")}
MODERN_TASKS: Mapping[str, Method] = {**_TASKS, "tasks/update": Method("task.update")}
LEGACY_TASKS: Mapping[str, Method] = {**_TASKS, "tasks/result": Method("task.result")}
"""Methods about one task. ``tasks/list`` is missing, because a server cannot separate tasks by token."""
INTRODUCING = frozenset({"initialize", "server/discover", "subscriptions/listen"})
"""Methods whose answer depends on the parts that the token reaches."""
CLIENT_NOTIFICATIONS = frozenset(
    f"notifications/{name}" for name in ("initialized", "cancelled", "progress", "roots/list_changed")
)
SERVER_REQUESTS = frozenset({"ping", "roots/list", "sampling/createMessage", "elicitation/create"})
INPUT_REQUESTS = SERVER_REQUESTS - {"ping"}
TASKS_EXTENSION = "io.modelcontextprotocol/tasks"
"""The tasks extension of 2026-07-28, the only supported extension."""
INPUT_METHODS = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Methods that a modern server may answer with input requests."""
SERVER_NOTIFICATIONS: Mapping[str, Part | None] = {
    "notifications/progress": None,
    "notifications/message": None,
    "notifications/cancelled": None,
    "notifications/elicitation/complete": None,
    "notifications/subscriptions/acknowledged": None,
    "notifications/tools/list_changed": None,
    "notifications/prompts/list_changed": Part.PROMPTS,
    "notifications/resources/list_changed": Part.RESOURCES,
    "notifications/resources/updated": Part.RESOURCES,
    "notifications/tasks/status": None,
    "notifications/tasks": None,
}
"""Forwarded server notifications, with the part that each concerns."""
TASK_NOTIFICATIONS: Mapping[str, bool] = {"notifications/tasks/status": False, "notifications/tasks": True}
"""Notifications about a task, and whether each belongs to the modern era."""
_FLAGS = frozenset(
    "tools prompts resources logging completions listChanged subscribe tasks cancel requests call extensions roots "
    f"sampling context elicitation form url {TASKS_EXTENSION}".split()
)
_CLIENT_CAPABILITIES = ("roots", "sampling", "elicitation")
_REFERENCES = {"ref/prompt": (Part.PROMPTS, "name"), "ref/resource": (Part.RESOURCES, "uri")}


def used_part(method: Method, message: Message) -> Part | None:
    """Return the part of a server that a message uses. Raises ``Refused`` for an invalid reference."""
    return method.part if message.method != "completion/complete" else _referred(message)[0]


def _referred(message: Message) -> tuple[Part, dict[str, Any]]:
    """Return the part that a completion is about, and the name or URI in it. Raises ``Refused``."""
    ref = message.params.get("ref")
    reference = ref if isinstance(ref, dict) else {}
    kind = reference.get("type")
    reference_kind = _REFERENCES.get(kind) if isinstance(kind, str) else None
    if reference_kind is None:
        raise invalid_params("ref must be of the type ref/prompt or ref/resource.", message.modern)
    part, key = reference_kind
    value = reference.get(key)
    if not isinstance(value, str):
        raise invalid_params(f"{key} must be a string.", message.modern)
    return part, {key: value}


def named_arguments(method: Method, message: Message) -> dict[str, Any] | None:
    """Return the name or URI in a request, for policies and the audit log. Raises ``Refused``."""
    if message.method == "completion/complete":
        return _referred(message)[1]
    value = None if method.names is None else message.params.get(method.names)
    return {method.names: value} if method.names is not None and isinstance(value, str) else None


def prompt_arguments(message: Message) -> Any:
    """Return the arguments of ``prompts/get``."""
    return message.params.get("arguments") if message.method == "prompts/get" else None


def client_capabilities(declared: Any, *, modern: bool = False) -> dict[str, Any]:
    """Return the client capabilities that the gateway supports, which are all that the server sees."""
    if not declared or not isinstance(declared, dict):
        return {}
    kept = {key: declared[key] for key in _CLIENT_CAPABILITIES if isinstance(declared.get(key), dict)}
    return {**kept, **supported_extensions(declared)} if modern else kept


class ClientFeatures(IntFlag):
    """Client features that server requests need, as the client declared them."""

    NOTHING = 0
    ROOTS = 1
    SAMPLING = 2
    FORM = 4
    URL = 8


def client_features(declared: Any) -> ClientFeatures:
    """Return the features in a client's capabilities. ``elicitation: {}`` means forms."""
    if not isinstance(declared, dict):
        return ClientFeatures.NOTHING
    features = ClientFeatures.NOTHING
    if isinstance(declared.get("roots"), dict):
        features |= ClientFeatures.ROOTS
    if isinstance(declared.get("sampling"), dict):
        features |= ClientFeatures.SAMPLING
    elicitation = declared.get("elicitation")
    if isinstance(elicitation, dict):
        if isinstance(elicitation.get("url"), dict):
            features |= ClientFeatures.URL
        if isinstance(elicitation.get("form"), dict) or "url" not in elicitation:
            features |= ClientFeatures.FORM
    return features


def keep_flags(declared: dict[str, Any]) -> dict[str, Any]:
    """Return capabilities with only known flags, without text."""
    return {
        name: keep_flags(value) if isinstance(value, dict) else value
        for name, value in declared.items()
        if name in _FLAGS and isinstance(value, (dict, bool))
    }


def supported_extensions(capabilities: dict[str, Any]) -> dict[str, Any]:
    """Return the supported extensions in capabilities."""
    extensions = capabilities.get("extensions")
    tasks = extensions.get(TASKS_EXTENSION) if isinstance(extensions, dict) else None
    return {"extensions": {TASKS_EXTENSION: tasks}} if isinstance(tasks, dict) else {}


def allowed_notifications(wanted: Any, parts: frozenset[str]) -> dict[str, Any]:
    """Return the requested notifications that the token may receive."""
    keys = ["toolsListChanged"]
    if Part.PROMPTS in parts:
        keys.append("promptsListChanged")
    if Part.RESOURCES in parts:
        keys += ["resourcesListChanged", "resourceSubscriptions"]
    return {key: wanted[key] for key in keys if key in wanted}


def call_parameters(message: Message, *, tasks: bool = False) -> tuple[str, dict[str, Any] | None]:
    """Return the name and arguments of a ``tools/call``. Raises ``Refused``.

    ``tasks``: the call may request a task.
    """
    name, arguments = message.params.get("name"), message.params.get("arguments")
    if not isinstance(name, str):
        raise invalid_params("name must be a string.", message.modern)
    if "arguments" in message.params and not isinstance(arguments, dict):
        raise invalid_params("arguments must be an object.", message.modern)
    if "task" in message.params:
        if message.modern:
            # In this era, the server decides whether a call becomes a task, and ignores this member.
            del message.params["task"]
        elif not tasks:
            raise invalid_params("Tasks are supported only on /mcp/<server>.", message.modern)
        elif not isinstance(message.params["task"], dict):
            raise invalid_params("task must be an object.", message.modern)
    return name, arguments


def bound_content(message: Message) -> Any:
    """Return what an approval covers in addition to name and arguments; usually ``None``."""
    task = message.params.get("task")
    return None if task is None else {"task": task}


def caller_program(client: Client | None) -> CallerProgram:
    """Return the calling program for policies, by its own name."""
    return UNNAMED if client is None else CallerProgram(client.name, client.version)


def read_client(exchange: Exchange, message: Message) -> Client | None:
    """Return the client with its own name and version, if the message contains them."""
    if message.modern:
        info = message.params["_meta"].get(CLIENT_INFO_KEY)
    elif message.method == "initialize":
        info = message.params.get("clientInfo")
    else:
        return None
    if not isinstance(info, dict):
        return None
    name, version = info.get("name"), info.get("version")
    here = exchange.client
    return Client(
        here.ip,
        here.user_agent,
        name if isinstance(name, str) else None,
        version if isinstance(version, str) else None,
    )


Headers = tuple[tuple[bytes, bytes], ...]


def _sent(exchange: Exchange) -> Headers:
    headers = exchange.headers
    return tuple([(name, headers[name].strip(b" \t")) for name in headers if name.startswith(PARAM_PREFIX)])


def check_parameter_headers(
    exchange: Exchange, header_schema: Mapping[str, object], arguments: dict[str, Any] | None
) -> None:
    """Raise ``Refused`` (400, -32020) when a header and the argument that it mirrors do not agree."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in _sent(exchange)}
    rejection = validate_mcp_param_headers(header_schema, arguments or {}, headers)
    if rejection is not None:
        raise Refused(400, rejection.code, rejection.message)


def parameter_headers(header_schema: Mapping[str, object], arguments: dict[str, Any] | None) -> Headers:
    """Make the parameter headers of a call from the decided arguments. The client's own headers are not forwarded."""
    if find_invalid_x_mcp_header(header_schema) is not None:
        return ()
    made = mcp_param_headers(x_mcp_header_map(header_schema), arguments or {})
    return tuple((name.lower().encode("ascii"), value.encode("ascii")) for name, value in made.items())
