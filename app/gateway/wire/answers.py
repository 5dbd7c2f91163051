"""Answers of an upstream on their way to the client: checked, redacted, otherwise untouched."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.gateway.ports import UpstreamTarget
from app.gateway.wire.http import Exchange, HeaderList
from app.gateway.wire.refusals import INVALID_REQUEST, CredentialRefused, Refused, bad_upstream
from app.kit import strict_json
from app.kit.outbound import OutboundResponse
from app.kit.stdio import REFUSAL

REDACTED = b"[redacted]"
OURS = "io.scopegate/"
"""How the names begin of what the gateway says in ``_meta``."""
MINIMUM_SECRET = 8
"""A shorter credential would be found by chance in honest answers."""

Rewrite = Callable[[dict[str, Any]], bool]
"""Changes a ``result`` in place (a list filtered, capabilities stripped) and says whether it did."""

_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_NO_INPUT = "The server asked for input from the user, which this gateway does not carry."


@dataclass(slots=True)
class Answer:
    """How the one answer to a request must look and what is done to it."""

    id: str | int | None
    secrets: tuple[bytes, ...]
    rewrite: Rewrite | None = None
    headers: HeaderList = ()

    def finish(self, raw: bytes, message: dict[str, Any]) -> tuple[bytes, str]:
        """The bytes for the client and the outcome. Raises ``Refused`` when this is no answer to the request."""
        result, error = message.get("result"), message.get("error")
        id = message.get("id")
        if type(id) is not type(self.id) or id != self.id or (result is None) == (error is None):
            raise bad_upstream("The server behind the gateway gave an answer that belongs to no request.")
        if error is not None:
            if take_ours(error, "data"):
                raw = dump(message)
            return self.redact(raw, message), "error"
        if not isinstance(result, dict):
            raise bad_upstream("The server behind the gateway gave a result that is not an object.")
        ours = "_meta" in result and take_ours(result, "_meta")
        if (self.rewrite is not None and self.rewrite(result)) or ours:
            raw = dump(message)
        outcome = "error" if result.get("isError") is True else "success"
        return self.redact(raw, message), outcome

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
            # Of a key that comes twice the message has the last alone, and a client may take the first.
            if _has_key_twice(raw) or any(secret in plain for secret in self.secrets):
                for secret in self.secrets:
                    plain = plain.replace(secret, REDACTED)
                return plain
        return raw


def take_ours(holder: Any, key: str) -> bool:
    """Take out what the gateway alone says (events, approvals and where they are decided); whether there was any."""
    found = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(found, dict):
        return False
    ours = [name for name in found if name.startswith(OURS)]
    for name in ours:
        del found[name]
    return bool(ours)


class _KeyTwice(Exception):
    """An object has the same key twice."""


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _KeyTwice


_scan_once = json.JSONDecoder(object_pairs_hook=_once).scan_once  # type: ignore[attr-defined]


def _has_key_twice(raw: bytes) -> bool:
    """Of JSON that was read before."""
    try:
        _scan_once(raw.decode().strip(), 0)
    except (_KeyTwice, RecursionError):
        return True
    return False


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
    """JSON from an upstream. Raises ``Refused``."""
    if strict_json.has_too_many_values(raw):
        raise bad_upstream("The server behind the gateway sent more values than are taken in one message.")
    try:
        text = raw.decode("utf-8")
        if text.startswith("{"):
            # Without a look for blanks around it, of which there are none in nearly all.
            value, end = _scan(text, 0)
            if end == len(text):
                return value
        return json.loads(text)
    except StopIteration:
        raise bad_upstream("The server behind the gateway sent something that is not JSON.") from None
    except (ValueError, RecursionError):
        raise bad_upstream("The server behind the gateway sent something that is not JSON.") from None


def dump(message: Any) -> bytes:
    """JSON to a client. Raises ``Refused`` for what only a lax parser takes (NaN, lone surrogates)."""
    try:
        return strict_json.dumps(message)
    except (ValueError, RecursionError):
        raise bad_upstream("The server behind the gateway sent something that is not JSON.") from None


async def answer_json(exchange: Exchange, response: OutboundResponse, answer: Answer) -> str:
    """Pass a JSON answer on; returns the outcome. Raises ``Refused``, ``UpstreamError``."""
    raw = await response.read()
    message = parse(raw)
    if not isinstance(message, dict) or "method" in message:
        raise bad_upstream("The server behind the gateway sent something that is not one answer.")
    body, outcome = answer.finish(raw, message)
    await exchange.answer(200, body, answer.headers)
    return outcome


async def refuse_status(response: OutboundResponse, secrets: Sequence[bytes]) -> Refused:
    """What to answer when the upstream's status is no success. 4xx keeps its status, as what the supervisor of
    commands says does; the rest is 502."""
    status, ours = response.status, response.header(REFUSAL) is not None
    if status == 401:
        return CredentialRefused()
    if not (400 <= status < 500 or ours) or status in {403, 407}:
        if status in {403, 407}:
            return bad_upstream("The server behind the gateway does not accept the gateway's credential.")
        return bad_upstream(f"The server behind the gateway answered with HTTP status {status}.")
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
    error = message.get("error") if isinstance(message, dict) else None
    take_ours(error, "data")
    if isinstance(error, dict):
        code, text = error.get("code"), error.get("message")
        if isinstance(code, int) and isinstance(text, str):
            plain = strict_json.dumps(error)
            if not any(secret in plain for secret in secrets):
                return Refused(status, code, text, data=error.get("data"), headers=headers)
    return Refused(
        status, INVALID_REQUEST, f"The server refused the request with HTTP status {status}.", headers=headers
    )
