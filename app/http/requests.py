"""What happens to a request before its handler: the request id, limits, and the parsing of parameters and bodies.

A query parameter that is not a list may be given once, since further values would be dropped silently. JSON bodies are
parsed strictly, before FastAPI would use the standard library. They are JSON, or merge patches (RFC 7396) for changes.
"""

import email.message
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, get_origin

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.errors import FieldError, Invalid, Malformed
from app.http.problems import MAX_ERRORS, ErrorForm, problem
from app.http.service_address import ENCODED_SLASH, WRONG_HOST, ServiceAddress, has_encoded_slash
from app.lib.event_loop import is_large, off_loop
from app.lib.ids import accept_request_id, new_request_id
from app.lib.logs import log_fault
from app.lib.strict_json import JsonValue, StrictJsonError, loads

MAX_DEPTH = 128
"""Open objects and arrays. A tool's schema may have 64 levels within its body."""


class ReadRequest(Request):
    """A request with its parsed JSON body as ``value``."""

    def __init__(self, request: Request, body: bytes, value: JsonValue) -> None:
        super().__init__(request.scope, request.receive)
        self._body = body
        self.value = value

    async def json(self) -> Any:
        return self.value


async def read_json(request: Request) -> Request:
    """Parse the JSON body strictly; requests without one are returned unchanged. Raises ``Malformed``."""
    body = await request.body()
    if not body:
        return request
    try:
        large = is_large(body)
        value = (
            await off_loop(loads, body, max_depth=MAX_DEPTH) if large else loads(body, max_depth=MAX_DEPTH)
        )
    except StrictJsonError as error:
        raise Malformed(
            f"The body cannot be read: {error.message} Send JSON that has one meaning (RFC 7493), in UTF-8.",
            code="invalid_json",
            errors=[FieldError("", error.code, error.message)],
        ) from None
    return ReadRequest(request, body, value)


JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


def check_media_type(request: Request) -> None:
    """Raise a 415 for a body that is compressed, not JSON, or without a media type."""
    length = request.headers.get("content-length", "0")
    if length == "0" and "transfer-encoding" not in request.headers:
        return
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HTTPException(415, "Compressed bodies are not taken", {"Accept-Encoding": "identity"})
    taken = (JSON, MERGE_PATCH) if request.method == "PATCH" else (JSON,)
    message = email.message.Message()
    message["content-type"] = request.headers.get("content-type", "text/plain")
    if message.get_content_type() not in taken:
        names = ", ".join(taken)
        headers = {"Accept-Patch" if request.method == "PATCH" else "Accept": names}
        raise HTTPException(415, f"Send the body as {' or '.join(taken)}", headers)


def repeatable_names(parameters: Iterable[Any]) -> frozenset[str]:
    """The names of a route's query parameters that are lists and may be repeated."""
    types: dict[str, Any] = {}
    for parameter in parameters:
        annotation = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            types |= {name: field.annotation for name, field in annotation.model_fields.items()}
        else:
            types[parameter.name] = annotation
    return frozenset(name for name, annotation in types.items() if get_origin(annotation) is list)


def check_repeats(request: Request, repeatable: frozenset[str]) -> None:
    """Raise ``Invalid`` for repeated parameters that are not lists."""
    # Runs before authentication: thousands of parameters must not cost more than their parsing.
    counts = Counter(name for name, _ in request.query_params.multi_items())
    repeated = sorted({name for name, times in counts.items() if times > 1} - repeatable)[:MAX_ERRORS]
    if repeated:
        errors = [FieldError(f"?{name}", "repeated", "Give this once.") for name in repeated]
        raise Invalid("These parameters may be given once: " + ", ".join(repeated) + ".", errors=errors)


BODY_LIMIT = 1 << 20
PROBES = frozenset({"/livez", "/readyz"})
"""The paths that a container's health checks request by address, with any host name."""
_log = logging.getLogger(__name__)


def log_unexpected(request_id: str, error: Exception) -> None:
    """Log the type and the place of an unexpected error, but not its message, which could contain client data."""
    log_fault(_log, f"request {request_id}", error)


class RequestLimits:
    """ASGI middleware around the API. ``forms`` render errors of foreign protocols, by path."""

    def __init__(
        self, app: ASGIApp, address: ServiceAddress, forms: Mapping[str, ErrorForm] | None = None
    ) -> None:
        self._app = app
        self._address = address
        self._forms = dict(forms or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, receive, send)
        for path, form in self._forms.items():
            if scope["path"] == path or scope["path"].startswith(path + "/"):
                scope["state"]["error_form"] = form
        if has_encoded_slash(scope):
            await exchange.refuse(code="malformed_request", detail=ENCODED_SLASH)
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        is_ours = len(hosts) == 1 and self._address.has_host(hosts[0])
        if scope["path"] not in PROBES and not is_ours:
            await exchange.refuse(code="unknown_host", detail=WRONG_HOST)
            return
        if exchange.declared() > BODY_LIMIT:
            await exchange.too_large()
            return
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001
            # Starlette has answered with a problem document. If it could not, the server ends the response.
            if exchange.started or not exchange.over:
                log_unexpected(exchange.request_id, error)
        if exchange.over and not exchange.started:
            await exchange.too_large()


class _Exchange:
    """One request: counts received bytes, and adds headers to the response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._headers = dict(scope["headers"])
        self.request_id = accept_request_id(self._headers.get(b"x-request-id")) or new_request_id()
        scope.setdefault("state", {})["request_id"] = self.request_id
        self._received = 0
        self.started = False

    @property
    def over(self) -> bool:
        """Whether the body exceeds the limit."""
        return self._received > BODY_LIMIT

    def declared(self) -> int:
        """The length that the client announced, or 0."""
        value = self._headers.get(b"content-length", b"0")
        return int(value) if value.isdigit() and len(value) < 20 else 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        # The application sees an oversized body as a disconnect; the response is sent here.
        return {"type": "http.disconnect"} if self.over else message

    async def send(self, message: Message) -> None:
        if not self.over or self.started:
            await self._forward(message)

    async def _forward(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            answer = MutableHeaders(scope=message)
            answer["X-Request-ID"] = self.request_id
            answer["X-Content-Type-Options"] = "nosniff"
            answer.setdefault("Cache-Control", "no-store")
            standing = self._scope["state"].get("standing")
            if standing is not None:
                answer.update(standing.headers())
        await self._send(message)

    async def refuse(self, *, code: str, detail: str) -> None:
        await self._problem(400, "Bad request", code, detail)

    async def too_large(self) -> None:
        detail = f"A request body has at most {BODY_LIMIT} bytes."
        await self._problem(413, "Body too large", "body_too_large", detail)

    async def _problem(self, status: int, title: str, code: str, detail: str) -> None:
        answer = problem(Request(self._scope), status, title, code, detail)
        await answer(self._scope, self._receive, self._forward)
