"""Answers of an upstream on their way to the client: checked, redacted, otherwise untouched.

Only members of the protocol pass, spelled exactly. Clients in Go, .NET and Java match the names of members regardless
of case. A member that differs from one of the protocol only by case would be one thing to us and another to them, so
the message is refused. Unknown members are dropped. What a user or a tool names itself (schemas, arguments, structured
content) is left alone.

A server may ask a client for what that client said it can do, at addresses that are not the gateway's. A user trusts
a page of the gateway more than a server's, so a server must not lead its users to one, nor to an address that a
browser reads otherwise than this does (WHATWG URL, section 4.4).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from mcp_types import SERVER_INFO_META_KEY, URL_ELICITATION_REQUIRED

from app.admission.store import UpstreamTarget
from app.gateway.wire.exchange import Exchange, HeaderList
from app.gateway.wire.messages import INPUT_REQUESTS, OURS, Asks
from app.gateway.wire.refusals import INVALID_REQUEST, CredentialRefused, Refused, bad_upstream, is_loop
from app.http.service_address import OwnAddresses, is_loopback
from app.lib import strict_json
from app.lib.event_loop import is_large, is_on_loop, off_loop
from app.lib.strict_json import fold_name
from app.outbound.http import OutboundResponse
from app.outbound.mcp.exchange import LOOP_DETECTED
from app.outbound.stdio import REFUSAL


class Members:
    """The names that an object of the protocol may have."""

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
        """Drop unknown names; whether there were any. Raises as ``check`` does."""
        if holder.keys() <= self.names:
            return False
        self.check(holder)
        for name in [name for name in holder if name not in self.names]:
            del holder[name]
        return True

    def of(self, holder: Any) -> dict[str, Any]:
        """A copy with the known names only; empty for what is no object."""
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
"""Of the results of all methods that are carried, with those of the extension for tasks."""
TASK = Members(f"_meta ttl ttlMs pollInterval pollIntervalMs {_TASK}")
INPUT = Members("method params")
"""Of a question within a result."""
ELICITATIONS = Members("elicitations")
"""Of the data of an error that leads the user to an address."""
PARAMS = Members(
    "_meta requestId reason progressToken progress total message level logger data uri elicitationId notifications "
    "mode url requestedSchema task messages modelPreferences systemPrompt includeContext temperature maxTokens "
    f"stopSequences metadata tools toolChoice ttl ttlMs pollInterval pollIntervalMs inputRequests result error {_TASK}"
)
"""Of the notifications and requests of servers."""
BLOCK = Members(
    "_meta annotations type text data mimeType blob uri name title description icons size resource id input toolUseId "
    "content structuredContent isError role"
)
"""Of a piece of content, of what it embeds, and of a message of a prompt."""
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
"""Who a server says that it is; not its description, which a model would read and nobody has approved."""


def check_answer(message: dict[str, Any]) -> bool:
    """Keep of an answer what is the protocol's; whether something was dropped. Raises ``Refused``."""
    dropped = ANSWER.keep(message)
    error, result = message.get("error"), message.get("result")
    if isinstance(error, dict):
        dropped |= ERROR.keep(error)
    if isinstance(result, dict):
        dropped |= check_result(result)
    return dropped


def check_result(result: dict[str, Any]) -> bool:
    """Keep of a result what is the protocol's; whether something was dropped. Raises ``Refused``."""
    dropped = RESULT.keep(result)
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


def check_sent(message: dict[str, Any]) -> bool:
    """The same of a notification, or a request, of a server. Raises ``Refused``."""
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
            BLOCK.check(block)
            for inner in (block.get("resource"), block.get("content")):
                if isinstance(inner, dict):
                    BLOCK.check(inner)


def kept_item(key: str, item: dict[str, Any]) -> dict[str, Any]:
    """An item of a list of prompts, resources or templates with the protocol's members only."""
    kept = (PROMPT if key == "prompts" else RESOURCE).of(item)
    if isinstance(kept.get("arguments"), list):
        kept["arguments"] = [PROMPT_ARGUMENT.of(each) for each in kept["arguments"]]
    return kept


def keep_introduction(result: dict[str, Any]) -> None:
    """Keep what introduces a server, and of who it says that it is its name and version."""
    _keep_only(result, INTRODUCTION)
    if "serverInfo" in result:
        result["serverInfo"] = _implementation(result["serverInfo"])


def keep_list(result: dict[str, Any], key: str) -> None:
    """Keep what makes a page of a list."""
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
    return {name: text for name, text in IMPLEMENTATION.of(info).items() if isinstance(text, str)}


REDACTED = b"[redacted]"
MAX_DEPTH = 256
"""How deep an answer may nest."""
MINIMUM_SECRET = 8
"""A shorter credential would be found by chance in honest answers."""
Rewrite = Callable[[dict[str, Any]], bool]
"""Changes a ``result`` in place (a list filtered, capabilities stripped) and says whether it did."""
_NO_INPUT = "The server asked for input from the user, which this gateway does not carry."


@dataclass(slots=True)
class Answer:
    """How the one answer to a request must look and what is done to it."""

    id: str | int | None
    secrets: tuple[bytes, ...]
    rewrite: Rewrite | None = None
    check_error: Callable[[Any], None] | None = None
    """Checks what an error leads the user to."""
    headers: HeaderList = ()

    def read(self, raw: bytes) -> tuple[bytes, str]:
        """The same as ``finish``, of JSON that is not parsed yet."""
        message = parse(raw)
        if not isinstance(message, dict) or "method" in message:
            raise bad_upstream("The server behind the gateway sent something that is not one answer.")
        return self.finish(raw, message)

    def finish(self, raw: bytes, message: dict[str, Any]) -> tuple[bytes, str]:
        """The bytes for the client and the outcome. Raises ``Refused`` when this is no answer to the request."""
        changed = check_answer(message) | take_ours(raw, message)
        result, error = message.get("result"), message.get("error")
        id = message.get("id")
        ours = type(id) is type(self.id) and id == self.id and message.get("jsonrpc") == "2.0"
        if not ours or (result is None) == (error is None):
            raise bad_upstream("The server behind the gateway gave an answer that belongs to no request.")
        if error is not None:
            if _leads(error) and self.check_error is not None:
                self.check_error(error.get("data"))
            if changed:
                raw = dump(message)
            return self.redact(raw, message), "error"
        if not isinstance(result, dict):
            raise bad_upstream("The server behind the gateway gave a result that is not an object.")
        if (self.rewrite is not None and self.rewrite(result)) or changed:
            raw = dump(message)
        outcome = "error" if result.get("isError") is True else "success"
        return self.redact(raw, message), outcome

    async def finished(self, raw: bytes, message: dict[str, Any]) -> tuple[bytes, str]:
        """The same as ``finish``; what is large does not hold the event loop meanwhile."""
        return await off_loop(self.finish, raw, message) if is_large(raw) else self.finish(raw, message)

    def sent(self, raw: bytes, message: dict[str, Any]) -> bytes:
        """The bytes for the client of a notification or request of the server. Raises ``Refused``."""
        if check_sent(message) | take_ours(raw, message):
            raw = dump(message)
        return self.redact(raw, message)

    def scrub(self, raw: bytes) -> bytes:
        """Take the upstream credential out of bytes, as it is."""
        for secret in self.secrets:
            if secret in raw:
                raw = raw.replace(secret, REDACTED)
        return raw

    def redact(self, raw: bytes, message: Any) -> bytes:
        """Take the upstream credential out, should the upstream repeat it, also in escaped form."""
        raw = self.scrub(raw)
        if self.secrets and (b"\\u" in raw or b"\\/" in raw):
            plain = dump(message)
            if any(secret in plain for secret in self.secrets):
                for secret in self.secrets:
                    plain = plain.replace(secret, REDACTED)
                return plain
        return raw


def take_ours(raw: bytes, message: Any) -> bool:
    """Take out what the gateway alone says (events, approvals and where they are decided); whether there was any.

    It is looked for wherever ``_meta`` may be, and in the data of an error, in any case.
    """
    if not (b"\\u00" in raw or b"copegate" in raw.lower()):
        return False
    taken = False
    holders: list[tuple[bool, Any]] = [(False, message)]
    while holders:
        said, holder = holders.pop()
        if isinstance(holder, list):
            holders += [(False, each) for each in holder if isinstance(each, (dict, list))]
        elif isinstance(holder, dict):
            for name in [name for name in holder if said and fold_name(name).startswith(OURS)]:
                del holder[name]
                taken = True
            in_error = holder is not message and holder is _error_of(message)
            holders += [
                (fold_name(name) == "_meta" or (in_error and name == "data"), value)
                for name, value in holder.items()
                if isinstance(value, (dict, list))
            ]
    return taken


def _leads(error: Any) -> bool:
    return isinstance(error, dict) and error.get("code") == URL_ELICITATION_REQUIRED


def _error_of(message: Any) -> Any:
    return message.get("error") if isinstance(message, dict) else None


def refuse_input(result: dict[str, Any]) -> bool:
    """Turn a modern server's request for input, which is not carried yet, into a failed call."""
    if result.get("resultType") != "input_required":
        return False
    result.clear()
    result["resultType"] = "complete"
    result["content"] = [{"type": "text", "text": _NO_INPUT}]
    result["isError"] = True
    return True


def secrets_of(target: UpstreamTarget) -> tuple[bytes, ...]:
    """The values to look for in answers: each credential without its scheme, as JSON would write it."""
    return _secrets_in(target.headers) if target.secrets is None else _with_escaped(target.secrets)


@lru_cache(maxsize=256)
def _secrets_in(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[bytes, ...]:
    found: list[bytes] = []
    for _, value in headers:
        scheme, space, rest = value.partition(b" ")
        if not space or not scheme.isalpha():
            found.append(value)
        if space:
            found.append(rest)
    return _with_escaped(tuple(found))


@lru_cache(maxsize=256)
def _with_escaped(secrets: tuple[bytes, ...]) -> tuple[bytes, ...]:
    found: list[bytes] = []
    for secret in secrets:
        if len(secret) >= MINIMUM_SECRET:
            found.append(secret)
            escaped = strict_json.dumps(secret.decode(errors="replace"))[1:-1]
            if escaped != secret:
                found.append(escaped)
    return tuple(found)


def parse(raw: bytes) -> Any:
    """JSON from an upstream that has one meaning for every client. Raises ``Refused``."""
    try:
        return strict_json.loads(raw, max_depth=MAX_DEPTH, any_text=True)
    except strict_json.StrictJsonError as error:
        if error.code == "size":
            raise bad_upstream(
                "The server behind the gateway sent more values than are taken in one message."
            ) from None
        raise bad_upstream("The server behind the gateway sent something that is not JSON.") from None


async def parsed(raw: bytes) -> Any:
    """The same as ``parse``; what is large does not hold the event loop meanwhile."""
    return await off_loop(parse, raw) if is_large(raw) else parse(raw)


def dump(message: Any) -> bytes:
    """JSON to a client. Raises ``Refused`` for what only a lax parser takes (NaN, lone surrogates)."""
    try:
        return strict_json.dumps(message) if is_on_loop() else strict_json.dumps_in_pieces(message)
    except ValueError:
        raise bad_upstream("The server behind the gateway sent something that is not JSON.") from None


async def answer_json(exchange: Exchange, response: OutboundResponse, answer: Answer) -> str:
    """Pass a JSON answer on; returns the outcome. Raises ``Refused``, ``UpstreamError``."""
    raw = await response.read()
    body, outcome = await off_loop(answer.read, raw) if is_large(raw) else answer.read(raw)
    await exchange.answer(200, body, answer.headers)
    return outcome


def _refused_by(status: int, ours: bool) -> Refused | None:
    """The answer where the status says it all. ``ours``: the supervisor of commands says it."""
    if status == 401:
        return CredentialRefused()
    if status == LOOP_DETECTED:
        return is_loop()
    if status in {403, 407}:
        return bad_upstream("The server behind the gateway does not accept the gateway's credential.")
    if not 400 <= status < 500 and not ours:
        return bad_upstream(f"The server behind the gateway answered with HTTP status {status}.")
    return None


async def refuse_status(response: OutboundResponse, secrets: Sequence[bytes]) -> Refused:
    """What to answer when the upstream's status is no success. 4xx keeps its status, as what the supervisor of
    commands says does; the rest is 502."""
    status = response.status
    refused = _refused_by(status, response.header(REFUSAL) is not None)
    if refused is not None:
        return refused
    raw = await response.read()
    for secret in secrets:
        raw = raw.replace(secret, REDACTED)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    retry_after = response.header(b"retry-after")
    if retry_after is not None and retry_after.isdigit():
        headers = ((b"retry-after", retry_after),)
    try:
        message = strict_json.loads(raw)
    except strict_json.StrictJsonError:
        message = None
    take_ours(raw, message)
    error = _error_of(message)
    if isinstance(error, dict) and not _leads(error):
        code, text = error.get("code"), error.get("message")
        if isinstance(code, int) and isinstance(text, str):
            plain = strict_json.dumps(error)
            if not any(secret in plain for secret in secrets):
                return Refused(status, code, text, data=error.get("data"), headers=headers)
    return Refused(
        status, INVALID_REQUEST, f"The server refused the request with HTTP status {status}.", headers=headers
    )


_URL = re.compile(r"[\x21-\x5b\x5d-\x7e]{1,2048}")
"""Printable ASCII without blanks and backslashes, which browsers drop or turn."""
_MODES = {"form": Asks.FORM, "url": Asks.URL}


@dataclass(frozen=True, slots=True)
class QuestionRules:
    """The rules for all servers."""

    own: OwnAddresses

    def allow(self, method: object, params: Any, asks: Asks) -> bool:
        """Whether a client of these abilities may be asked this. Raises ``Refused`` for members in another case."""
        if isinstance(params, dict):
            PARAMS.check(params)
        if method == "ping":
            return True
        if method == "roots/list":
            return Asks.ROOTS in asks
        if method == "sampling/createMessage":
            return Asks.SAMPLING in asks
        if method != "elicitation/create" or not isinstance(params, dict):
            return False
        mode = params.get("mode", "form")
        needed = _MODES.get(mode) if isinstance(mode, str) else None
        if needed is None or needed not in asks:
            return False
        return needed is Asks.FORM or self._leads_well(params.get("url"))

    def check(self, questions: Any, asks: Asks) -> bool:
        """Check the questions in a result; whether something was dropped of them. Raises ``Refused``."""
        if not isinstance(questions, dict):
            raise bad_upstream("The server behind the gateway asked for input where it may not.")
        dropped = False
        for question in questions.values():
            if not isinstance(question, dict) or question.get("method") not in INPUT_REQUESTS:
                raise bad_upstream("The server behind the gateway asked for input that no client gives.")
            dropped |= INPUT.keep(question)
            if not self.allow(question["method"], question.get("params"), asks):
                raise bad_upstream(
                    "The server behind the gateway asked for input that this client does not give, or at an address "
                    "to which no user is led."
                )
        return dropped

    def check_error(self, data: Any, asks: Asks) -> None:
        """Check what an error leads the user to (-32042 of MCP 2025-11-25). Raises ``Refused``."""
        elicitations = None
        if isinstance(data, dict):
            ELICITATIONS.check(data)
            elicitations = data.get("elicitations")
        if not isinstance(elicitations, list) or not all(
            isinstance(each, dict)
            and each.get("mode", "url") == "url"
            and self.allow("elicitation/create", {**each, "mode": "url"}, asks)
            for each in elicitations
        ):
            raise bad_upstream("The server behind the gateway leads the user where no user is led.")

    def _leads_well(self, url: Any) -> bool:
        if not isinstance(url, str) or _URL.fullmatch(url) is None:
            return False
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").rstrip(".")
            _ = parts.port
        except ValueError:
            return False
        if not host or "@" in parts.netloc or "%" in parts.netloc or _is_odd_number(host):
            return False
        safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
        return safe and not self.own.holds(url)


def _is_odd_number(host: str) -> bool:
    """Whether browsers take a name for an IPv4 address that is written in none of the usual forms."""
    last = host.rpartition(".")[2]
    if not (last.isdigit() or last.startswith("0x")):
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False
