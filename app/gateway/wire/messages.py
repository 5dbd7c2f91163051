"""MCP messages from clients: parsed and checked in both eras, with the methods that the gateway carries.

``MCP-Protocol-Version`` alone says which era a request belongs to (absent: 2025-03-26). The modern header rules are
those of MCP 2026-07-28, as the ``mcp`` package checks them. A method that is not listed here is refused, never
forwarded.
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
from app.domain.objects import Part, Tool
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
from app.lib.event_loop import is_large, off_loop
from app.lib.strict_json import fold_name

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
    for name in [name for name in meta if "copegate" in name.lower() and fold_name(name).startswith(OURS)]:
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


@dataclass(frozen=True, slots=True)
class Method:
    """One method. ``names`` is the parameter that says what of the part is meant."""

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
"""What is asked about a task. Not ``tasks/list``: a server cannot tell one token's tasks from another's."""
INTRODUCING = frozenset({"initialize", "server/discover", "subscriptions/listen"})
"""What is answered with, or filtered by, the parts that the token reaches."""
CLIENT_NOTIFICATIONS = frozenset(
    f"notifications/{name}" for name in ("initialized", "cancelled", "progress", "roots/list_changed")
)
SERVER_REQUESTS = frozenset({"ping", "roots/list", "sampling/createMessage", "elicitation/create"})
INPUT_REQUESTS = SERVER_REQUESTS - {"ping"}
TASKS_EXTENSION = "io.modelcontextprotocol/tasks"
"""What tasks are called in 2026-07-28: the one extension that is carried."""
INPUT_METHODS = frozenset({"tools/call", "prompts/get", "resources/read"})
"""What a modern server may answer with a request for input."""
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
"""Each with the part that it tells of."""
TASK_NOTIFICATIONS: Mapping[str, bool] = {"notifications/tasks/status": False, "notifications/tasks": True}
"""Those that tell of a task, and whether each is of the modern era."""
_FLAGS = frozenset(
    "tools prompts resources logging completions listChanged subscribe tasks cancel requests call extensions roots "
    f"sampling context elicitation form url {TASKS_EXTENSION}".split()
)
_CLIENT_CAPABILITIES = ("roots", "sampling", "elicitation")
_REFERENCES = {"ref/prompt": (Part.PROMPTS, "name"), "ref/resource": (Part.RESOURCES, "uri")}


def part_of(method: Method, message: Message) -> Part | None:
    """Which part of a server a message uses. Raises ``Refused`` for a reference that is none."""
    return method.part if message.method != "completion/complete" else _referred(message)[0]


def _referred(message: Message) -> tuple[Part, dict[str, Any]]:
    """The part that a completion is about, and what of it. Raises ``Refused``."""
    ref = message.params.get("ref")
    reference = ref if isinstance(ref, dict) else {}
    kind = reference.get("type")
    found = _REFERENCES.get(kind) if isinstance(kind, str) else None
    if found is None:
        raise invalid_params("ref must be of the type ref/prompt or ref/resource.", message.modern)
    part, key = found
    value = reference.get(key)
    if not isinstance(value, str):
        raise invalid_params(f"{key} must be a string.", message.modern)
    return part, {key: value}


def named_by(method: Method, message: Message) -> dict[str, Any] | None:
    """What of the part is meant, for policy and the record. Raises ``Refused`` for a reference that is none."""
    if message.method == "completion/complete":
        return _referred(message)[1]
    value = None if method.names is None else message.params.get(method.names)
    return {method.names: value} if method.names is not None and isinstance(value, str) else None


def beside_name(message: Message) -> Any:
    """What a prompt is asked for with, which is as much of the request as its name is."""
    return message.params.get("arguments") if message.method == "prompts/get" else None


def client_capabilities(declared: Any, *, modern: bool = False) -> dict[str, Any]:
    """Of a client's capabilities those that the gateway carries: the server may ask for these, and no more."""
    if not declared or not isinstance(declared, dict):
        return {}
    kept = {key: declared[key] for key in _CLIENT_CAPABILITIES if isinstance(declared.get(key), dict)}
    return {**kept, **carried_extensions(declared)} if modern else kept


class Asks(IntFlag):
    """What a client said that it can be asked for."""

    NOTHING = 0
    ROOTS = 1
    SAMPLING = 2
    FORM = 4
    URL = 8


def asks_of(declared: Any) -> Asks:
    """What a client can be asked for, by its capabilities. ``elicitation: {}`` has always meant forms."""
    if not isinstance(declared, dict):
        return Asks.NOTHING
    asks = Asks.NOTHING
    if isinstance(declared.get("roots"), dict):
        asks |= Asks.ROOTS
    if isinstance(declared.get("sampling"), dict):
        asks |= Asks.SAMPLING
    elicitation = declared.get("elicitation")
    if isinstance(elicitation, dict):
        if isinstance(elicitation.get("url"), dict):
            asks |= Asks.URL
        if isinstance(elicitation.get("form"), dict) or "url" not in elicitation:
            asks |= Asks.FORM
    return asks


def flags_of(declared: dict[str, Any]) -> dict[str, Any]:
    """Of capabilities what says that something is there, and no text."""
    return {
        name: flags_of(value) if isinstance(value, dict) else value
        for name, value in declared.items()
        if name in _FLAGS and isinstance(value, (dict, bool))
    }


def carried_extensions(capabilities: dict[str, Any]) -> dict[str, Any]:
    """Of a side's extensions the one that the gateway carries, as a part of its capabilities."""
    extensions = capabilities.get("extensions")
    tasks = extensions.get(TASKS_EXTENSION) if isinstance(extensions, dict) else None
    return {"extensions": {TASKS_EXTENSION: tasks}} if isinstance(tasks, dict) else {}


def listened_for(wanted: Any, parts: frozenset[str]) -> dict[str, Any]:
    """Of the notifications that a client listens for those that its token may hear of."""
    keys = ["toolsListChanged"]
    if Part.PROMPTS in parts:
        keys.append("promptsListChanged")
    if Part.RESOURCES in parts:
        keys += ["resourcesListChanged", "resourceSubscriptions"]
    return {key: wanted[key] for key in keys if key in wanted}


def call_parameters(message: Message, *, tasks: bool = False) -> tuple[str, dict[str, Any] | None]:
    """Name and arguments of a ``tools/call``. Raises ``Refused`` for another shape.

    ``tasks``: the call may ask to be a task.
    """
    name, arguments = message.params.get("name"), message.params.get("arguments")
    if not isinstance(name, str):
        raise invalid_params("name must be a string.", message.modern)
    if "arguments" in message.params and not isinstance(arguments, dict):
        raise invalid_params("arguments must be an object.", message.modern)
    if "task" in message.params:
        _check_task(message, tasks)
    return name, arguments


def _check_task(message: Message, tasks: bool) -> None:
    if message.modern:
        # Servers of this era decide that themselves, and ignore what asks for it.
        del message.params["task"]
    elif not tasks:
        raise invalid_params("Tasks are carried on /mcp/<server> alone.", message.modern)
    elif not isinstance(message.params["task"], dict):
        raise invalid_params("task must be an object.", message.modern)


def bound_with(message: Message) -> Any:
    """What an approval covers in addition to name and arguments; ``None`` for nearly all."""
    task = message.params.get("task")
    return None if task is None else {"task": task}


def program_of(client: Client | None) -> CallerProgram:
    """The program that calls, as policies see it: as it names itself."""
    return UNNAMED if client is None else CallerProgram(client.name, client.version)


def client_of(exchange: Exchange, message: Message) -> Client | None:
    """The client with the name it gives itself, where the message holds one."""
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


def check_parameters(exchange: Exchange, tool: Tool | None, arguments: dict[str, Any] | None) -> None:
    """Raise ``Refused`` (400, -32020) when a header and the argument that it mirrors do not agree."""
    if tool is None or tool.header_schema is None:
        return
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in _sent(exchange)}
    rejection = validate_mcp_param_headers(tool.header_schema, arguments or {}, headers)
    if rejection is not None:
        raise Refused(400, rejection.code, rejection.message)


def made_parameters(tool: Tool | None, arguments: dict[str, Any] | None) -> Headers:
    """The headers of a call, made from the arguments that were decided on; others that a client sent go nowhere."""
    if (
        tool is None
        or tool.header_schema is None
        or find_invalid_x_mcp_header(tool.header_schema) is not None
    ):
        return ()
    made = mcp_param_headers(x_mcp_header_map(tool.header_schema), arguments or {})
    return tuple((name.lower().encode("ascii"), value.encode("ascii")) for name, value in made.items())
