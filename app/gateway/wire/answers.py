"""Checks and redaction of an upstream's answers. Everything else is forwarded unchanged.

Only members of the protocol are forwarded, spelled exactly. Clients in Go, .NET and Java match member names
case-insensitively, so they would read a member that differs only by case as one of the protocol. Such a message is
refused. Unknown members are dropped. Names that users or tools choose (schemas, arguments, structured content) are not
checked.

A server may send a client only requests that the client supports. URL elicitation must not use a URL of the gateway,
because users trust the gateway more than a server, nor a URL that browsers parse differently (WHATWG URL, section 4.4).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from mcp_types import SERVER_INFO_META_KEY, URL_ELICITATION_REQUIRED

from app.admission.store import UpstreamTarget
from app.gateway.wire.exchange import HeaderList
from app.gateway.wire.messages import GATEWAY_PREFIX, INPUT_REQUESTS, ClientFeatures
from app.gateway.wire.refusals import INVALID_REQUEST, CredentialRefused, Refused, bad_upstream, upstream_loop
from app.http.service_address import OwnAddresses, is_loopback
from app.lib import strict_json
from app.lib.event_loop import is_on_loop
from app.lib.secret_matcher import SecretMatcher, match_headers, match_values
from app.lib.strict_json import fold_name
from app.outbound.http import OutboundResponse
from app.outbound.mcp.exchange import LOOP_DETECTED
from app.outbound.stdio import REFUSAL


class Members:
    """The member names that an object of the protocol may have."""

    def __init__(self, names: str) -> None:
        self.names = frozenset(names.split())
        self._folded = frozenset(map(fold_name, self.names))

    def check(self, holder: dict[str, Any]) -> None:
        """Raise ``Refused`` for a name that differs from a known one only by case."""
        if holder.keys() <= self.names:
            return
        for name in holder:
            if name not in self.names and fold_name(name) in self._folded:
                raise bad_upstream(
                    "The server behind the gateway spelled a member of its answer in another case than MCP's."
                )

    def keep(self, holder: dict[str, Any]) -> bool:
        """Drop unknown names; returns whether there were any. Raises ``Refused`` like ``check``."""
        if holder.keys() <= self.names:
            return False
        self.check(holder)
        for name in [name for name in holder if name not in self.names]:
            del holder[name]
        return True

    def pick(self, holder: Any) -> dict[str, Any]:
        """Return a copy with only the known names; empty if ``holder`` is not an object."""
        if not isinstance(holder, dict):
            return {}
        return {name: value for name, value in holder.items() if name in self.names}


ANSWER = Members("jsonrpc id result error")
REQUEST = Members("jsonrpc id method params")
ERROR = Members("code message data")
_TASK = "taskId status statusMessage createdAt lastUpdatedAt"
RESULT = Members(
    "_meta resultType ttlMs cacheScope nextCursor tools prompts resources resourceTemplates contents content isError "
    "structuredContent messages description completion protocolVersion capabilities serverInfo instructions "
    f"supportedVersions inputRequests requestState task ttl pollInterval pollIntervalMs result error {_TASK}"
)
"""Members of the results of all supported methods, including the tasks extension."""
TASK = Members(f"_meta ttl ttlMs pollInterval pollIntervalMs {_TASK}")
INPUT = Members("method params")
"""Members of an input request within a result."""
ELICITATIONS = Members("elicitations")
"""Members of the data of an error that requires URL elicitation."""
PARAMS = Members(
    "_meta requestId reason progressToken progress total message level logger data uri elicitationId notifications "
    "mode url requestedSchema task messages modelPreferences systemPrompt includeContext temperature maxTokens "
    f"stopSequences metadata tools toolChoice ttl ttlMs pollInterval pollIntervalMs inputRequests result error {_TASK}"
)
"""Members of the params of server notifications and requests."""
BLOCK = Members(
    "_meta annotations type text data mimeType blob uri name title description icons size resource id input toolUseId "
    "content structuredContent isError role"
)
"""Members of a content block, of an embedded resource, and of a prompt message."""
_PLAIN_BLOCK = BLOCK.names - {"resource", "content"}
PROMPT = Members("_meta name title description icons arguments")
PROMPT_ARGUMENT = Members("name title description required")
RESOURCE = Members("_meta uri uriTemplate name title description icons mimeType size annotations")
INTRODUCTION = Members(
    "_meta protocolVersion supportedVersions capabilities serverInfo instructions resultType"
)
LISTS = {
    key: Members(f"_meta nextCursor resultType ttlMs cacheScope {key}")
    for key in ("tools", "prompts", "resources", "resourceTemplates")
}
IMPLEMENTATION = Members("name title version")
"""Members of ``serverInfo``. The description is dropped, because models may read it and it is not approved."""


def check_answer(message: dict[str, Any]) -> bool:
    """Drop unknown members of an answer; returns whether there were any. Raises ``Refused``."""
    # Not by ``keep``, because most answers have only known members.
    dropped = not ANSWER.names.issuperset(message) and ANSWER.keep(message)
    error, result = message.get("error"), message.get("result")
    if isinstance(error, dict):
        dropped |= ERROR.keep(error)
    if isinstance(result, dict):
        dropped |= check_result(result)
    return dropped


def check_result(result: dict[str, Any]) -> bool:
    """Drop unknown members of a result; returns whether there were any. Raises ``Refused``."""
    dropped = not RESULT.names.issuperset(result) and RESULT.keep(result)
    _check_blocks(result.get("content"))
    if "messages" in result or "contents" in result:
        _check_blocks(result.get("messages"))
        _check_blocks(result.get("contents"))
    task, inner = result.get("task"), result.get("result")
    if isinstance(task, dict):
        dropped |= TASK.keep(task)
    if isinstance(inner, dict):
        dropped |= check_result(inner)
    return dropped


def check_server_message(message: dict[str, Any]) -> bool:
    """Drop unknown members of a server notification or request; returns whether there were any. Raises ``Refused``."""
    dropped = REQUEST.keep(message)
    params = message.get("params")
    if isinstance(params, dict):
        PARAMS.check(params)
        if isinstance(params.get("result"), dict):
            dropped |= check_result(params["result"])
    return dropped


def _check_blocks(blocks: Any) -> None:
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict):
            if _PLAIN_BLOCK.issuperset(block):
                # A plain block holds no other one.
                continue
            BLOCK.check(block)
            for inner in (block.get("resource"), block.get("content")):
                if isinstance(inner, dict):
                    BLOCK.check(inner)


def filter_item(key: str, item: dict[str, Any]) -> dict[str, Any]:
    """Return an item of a list of prompts, resources or templates with only the known members."""
    kept = (PROMPT if key == "prompts" else RESOURCE).pick(item)
    if isinstance(kept.get("arguments"), list):
        kept["arguments"] = [PROMPT_ARGUMENT.pick(each) for each in kept["arguments"]]
    return kept


def filter_introduction(result: dict[str, Any]) -> None:
    """Drop all but the known members of an ``initialize`` or ``server/discover`` result."""
    _keep_only(result, INTRODUCTION)
    if "serverInfo" in result:
        result["serverInfo"] = _implementation(result["serverInfo"])


def filter_list(result: dict[str, Any], key: str) -> None:
    """Drop all but the known members of a list page."""
    _keep_only(result, LISTS[key])
    if not isinstance(result.get("nextCursor", ""), str):
        del result["nextCursor"]


def _keep_only(result: dict[str, Any], members: Members) -> None:
    for name in [name for name in result if name not in members.names]:
        del result[name]
    meta = result.pop("_meta", None)
    if isinstance(meta, dict) and SERVER_INFO_META_KEY in meta:
        result["_meta"] = {SERVER_INFO_META_KEY: _implementation(meta[SERVER_INFO_META_KEY])}


def _implementation(info: Any) -> dict[str, str]:
    return {name: text for name, text in IMPLEMENTATION.pick(info).items() if isinstance(text, str)}


MAX_DEPTH = 256
"""Maximum nesting depth of an answer."""
Rewrite = Callable[[dict[str, Any]], bool]
"""Changes a ``result`` in place and returns whether it changed."""
_NO_INPUT = "The server asked for input from the user, which this gateway does not support."


@dataclass(slots=True)
class Answer:
    """The checks and changes for the answer to one request."""

    id: str | int | None
    secrets: SecretMatcher
    rewrite: Rewrite | None = None
    check_error: Callable[[Any], None] | None = None
    """Checks the data of an error that requires URL elicitation."""
    headers: HeaderList = ()

    def read(self, raw: bytes) -> tuple[bytes, str]:
        """Parse and finish an answer."""
        message = parse(raw)
        if not isinstance(message, dict) or "method" in message:
            raise bad_upstream("The server behind the gateway sent something other than one answer.")
        return self.finish(raw, message)

    def finish(self, raw: bytes, message: dict[str, Any]) -> tuple[bytes, str]:
        """Return the bytes for the client and the outcome. Raises ``Refused`` if this does not answer the request."""
        changed = check_answer(message) | remove_gateway_members(raw, message)
        result, error = message.get("result"), message.get("error")
        id = message.get("id")
        ours = type(id) is type(self.id) and id == self.id and message.get("jsonrpc") == "2.0"
        if not ours or (result is None) == (error is None):
            raise bad_upstream("The server behind the gateway sent an answer that belongs to no request.")
        if error is not None:
            if _requires_url(error) and self.check_error is not None:
                self.check_error(error.get("data"))
            if changed:
                raw = dump(message)
            return self.redact(raw, message), "error"
        if not isinstance(result, dict):
            raise bad_upstream("The server behind the gateway sent a result that is not an object.")
        if (self.rewrite is not None and self.rewrite(result)) or changed:
            raw = dump(message)
        outcome = "error" if result.get("isError") is True else "success"
        return (self.redact(raw, message) if self.secrets else raw), outcome

    def clean_message(self, raw: bytes, message: dict[str, Any]) -> bytes:
        """Return the bytes for the client of a server notification or request. Raises ``Refused``."""
        if check_server_message(message) | remove_gateway_members(raw, message):
            raw = dump(message)
        return self.redact(raw, message)

    def redact(self, raw: bytes, message: Any) -> bytes:
        """Redact the upstream credential. ``message`` is what ``raw`` encodes."""
        raw = self.secrets.redact(raw)
        if self.secrets and (b"\\u" in raw or b"\\/" in raw):
            # Escapes that the message does not need can hide it.
            plain = dump(message)
            if self.secrets.is_in(plain):
                return self.secrets.redact(plain)
        return raw


def remove_gateway_members(raw: bytes, message: Any) -> bool:
    """Remove members that only the gateway may set (events, approvals); returns whether there were any.

    Searches every ``_meta`` and the data of an error, case-insensitively.
    """
    # The prefix of their names has a slash, and only an escape can hide a part of it.
    if not (b"\\u00" in raw or (b"/" in raw and b"copegate" in raw.lower())):
        return False
    taken = False
    holders: list[tuple[bool, Any]] = [(False, message)]
    while holders:
        said, holder = holders.pop()
        if isinstance(holder, list):
            holders += [(False, each) for each in holder if isinstance(each, (dict, list))]
        elif isinstance(holder, dict):
            for name in [name for name in holder if said and fold_name(name).startswith(GATEWAY_PREFIX)]:
                del holder[name]
                taken = True
            in_error = holder is not message and holder is _error_of(message)
            holders += [
                (fold_name(name) == "_meta" or (in_error and name == "data"), value)
                for name, value in holder.items()
                if isinstance(value, (dict, list))
            ]
    return taken


def _requires_url(error: Any) -> bool:
    return isinstance(error, dict) and error.get("code") == URL_ELICITATION_REQUIRED


def _error_of(message: Any) -> Any:
    return message.get("error") if isinstance(message, dict) else None


def fail_input_request(result: dict[str, Any]) -> bool:
    """Convert a modern server's request for input, where it is not supported, to a failed call."""
    if result.get("resultType") != "input_required":
        return False
    result.clear()
    result["resultType"] = "complete"
    result["content"] = [{"type": "text", "text": _NO_INPUT}]
    result["isError"] = True
    return True


def target_secrets(target: UpstreamTarget) -> SecretMatcher:
    """Return what to redact in answers: what a command is given, or the credential in the header fields."""
    return match_headers(target.headers) if target.secrets is None else match_values(target.secrets)


def parse(raw: bytes) -> Any:
    """Parse JSON from an upstream, refusing what clients may parse differently. Raises ``Refused``."""
    try:
        return strict_json.loads(raw, max_depth=MAX_DEPTH, any_text=True)
    except strict_json.StrictJsonError as error:
        if error.code == "size":
            raise bad_upstream("The server behind the gateway sent too many values in one message.") from None
        raise bad_upstream("The server behind the gateway sent something that is not JSON.") from None


def dump(message: Any) -> bytes:
    """Encode JSON for a client. Raises ``Refused`` for NaN and lone surrogates."""
    try:
        return strict_json.dumps(message) if is_on_loop() else strict_json.dumps_in_pieces(message)
    except ValueError:
        raise bad_upstream("The server behind the gateway sent something that is not JSON.") from None


def _refused_by(status: int, ours: bool) -> Refused | None:
    """Return the answer for statuses that do not need the body. ``ours``: the supervisor of commands sent it."""
    if status == 401:
        return CredentialRefused()
    if status == LOOP_DETECTED:
        return upstream_loop()
    if status in {403, 407}:
        return bad_upstream("The server behind the gateway does not accept the gateway's credential.")
    if not 400 <= status < 500 and not ours:
        return bad_upstream(f"The server behind the gateway answered with HTTP status {status}.")
    return None


async def refuse_status(response: OutboundResponse, secrets: SecretMatcher) -> Refused:
    """Return the answer to an error status of the upstream.

    Statuses 4xx, and those of the supervisor of commands, are kept; others become 502.
    """
    status = response.status
    refused = _refused_by(status, response.header(REFUSAL) is not None)
    if refused is not None:
        return refused
    raw = secrets.redact(await response.read())
    headers: tuple[tuple[bytes, bytes], ...] = ()
    retry_after = response.header(b"retry-after")
    if retry_after is not None and retry_after.isdigit():
        headers = ((b"retry-after", retry_after),)
    try:
        message = strict_json.loads(raw)
    except strict_json.StrictJsonError:
        message = None
    remove_gateway_members(raw, message)
    error = _error_of(message)
    if isinstance(error, dict) and not _requires_url(error):
        code, text = error.get("code"), error.get("message")
        if isinstance(code, int) and isinstance(text, str):
            plain = strict_json.dumps(error)
            if not secrets.is_in(plain):
                return Refused(status, code, text, data=error.get("data"), headers=headers)
    return Refused(
        status, INVALID_REQUEST, f"The server refused the request with HTTP status {status}.", headers=headers
    )


_URL = re.compile(r"[\x21-\x5b\x5d-\x7e]{1,2048}")
"""Printable ASCII without blanks and backslashes, which browsers remove or replace."""
_MODES = {"form": ClientFeatures.FORM, "url": ClientFeatures.URL}


@dataclass(frozen=True, slots=True)
class InputRequestRules:
    """The rules for requests that servers send to clients."""

    own: OwnAddresses

    def allow(self, method: object, params: Any, features: ClientFeatures) -> bool:
        """Whether a server may send this request to a client. Raises ``Refused`` for members in another case."""
        if isinstance(params, dict):
            PARAMS.check(params)
        if method == "ping":
            return True
        if method == "roots/list":
            return ClientFeatures.ROOTS in features
        if method == "sampling/createMessage":
            return ClientFeatures.SAMPLING in features
        if method != "elicitation/create" or not isinstance(params, dict):
            return False
        mode = params.get("mode", "form")
        needed = _MODES.get(mode) if isinstance(mode, str) else None
        if needed is None or needed not in features:
            return False
        return needed is ClientFeatures.FORM or self._is_safe_url(params.get("url"))

    def check(self, requests: Any, features: ClientFeatures) -> bool:
        """Check the input requests in a result; returns whether members were dropped. Raises ``Refused``."""
        if not isinstance(requests, dict):
            raise bad_upstream("The server behind the gateway sent input requests that are not an object.")
        dropped = False
        for request in requests.values():
            if not isinstance(request, dict) or request.get("method") not in INPUT_REQUESTS:
                raise bad_upstream("The server behind the gateway asked for input of an unknown kind.")
            dropped |= INPUT.keep(request)
            if not self.allow(request["method"], request.get("params"), features):
                raise bad_upstream(
                    "The server behind the gateway asked for input that this client does not support, or at a URL "
                    "that is not allowed."
                )
        return dropped

    def check_error(self, data: Any, features: ClientFeatures) -> None:
        """Check the URLs of an elicitation error (-32042 of MCP 2025-11-25). Raises ``Refused``."""
        elicitations = None
        if isinstance(data, dict):
            ELICITATIONS.check(data)
            elicitations = data.get("elicitations")
        if not isinstance(elicitations, list) or not all(
            isinstance(each, dict)
            and each.get("mode", "url") == "url"
            and self.allow("elicitation/create", {**each, "mode": "url"}, features)
            for each in elicitations
        ):
            raise bad_upstream("The server behind the gateway sent its user to a URL that is not allowed.")

    def _is_safe_url(self, url: Any) -> bool:
        if not isinstance(url, str) or _URL.fullmatch(url) is None:
            return False
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").rstrip(".")
            _ = parts.port
        except ValueError:
            return False
        if not host or "@" in parts.netloc or "%" in parts.netloc or _is_odd_ipv4(host):
            return False
        safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
        return safe and not self.own.holds(url)


def _is_odd_ipv4(host: str) -> bool:
    """Whether browsers would parse a host name as an IPv4 address in an unusual notation."""
    last = host.rpartition(".")[2]
    if not (last.isdigit() or last.startswith("0x")):
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False
