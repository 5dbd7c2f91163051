"""Answers of an upstream on their way to the client: checked, redacted, otherwise untouched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mcp_types import URL_ELICITATION_REQUIRED

from app.admission.store import UpstreamTarget
from app.gateway.wire.envelope import OURS
from app.gateway.wire.http import Exchange, HeaderList
from app.gateway.wire.members import check_answer, check_sent
from app.gateway.wire.refusals import INVALID_REQUEST, CredentialRefused, Refused, bad_upstream, leads_back
from app.lib import strict_json
from app.lib.event_loop import is_large, is_on_loop, off_loop
from app.lib.strict_json import folded
from app.outbound.http import OutboundResponse
from app.outbound.mcp.exchange import LOOP_DETECTED
from app.outbound.stdio import REFUSAL

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
            for name in [name for name in holder if said and folded(name).startswith(OURS)]:
                del holder[name]
                taken = True
            in_error = holder is not message and holder is _error_of(message)
            holders += [
                (folded(name) == "_meta" or (in_error and name == "data"), value)
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
        return leads_back()
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
