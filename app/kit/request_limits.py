"""Before any handler of the API: a request id, a body limit, and a problem document for what nobody expected."""

import logging
import re

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.ids import new_id
from app.kit.problems import problem

BODY_LIMIT = 1 << 20
_ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_log = logging.getLogger(__name__)


class _BodyTooLarge(Exception):
    pass


class RequestLimits:
    """ASGI middleware around the API."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        asked = headers.get(b"x-request-id", b"")
        request_id = asked.decode() if _ACCEPTABLE_ID.fullmatch(asked) else f"req_{new_id().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        received, started = 0, False

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > BODY_LIMIT:
                raise _BodyTooLarge
            return message

        async def marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                answer = MutableHeaders(scope=message)
                answer["X-Request-ID"] = request_id
                answer["X-Content-Type-Options"] = "nosniff"
                answer.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            if _declared(headers) > BODY_LIMIT:
                await self._too_large(scope, receive, marked)
            else:
                await self._app(scope, limited, marked)
        except _BodyTooLarge:
            await self._too_large(scope, receive, marked)
        except Exception as error:
            # The type alone: a message could hold what a client sent.
            _log.error("request %s failed: %s", request_id, type(error).__name__)
            if started:
                raise
            answer = problem(
                Request(scope), 500, "Internal error", "internal_error",
                "Something unexpected failed; report the request id.",
            )  # fmt: skip
            await answer(scope, receive, marked)

    async def _too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"A request body has at most {BODY_LIMIT} bytes."
        await problem(Request(scope), 413, "Body too large", "body_too_large", detail)(scope, receive, send)


def _declared(headers: dict[bytes, bytes]) -> int:
    value = headers.get(b"content-length", b"0")
    return int(value) if value.isdigit() and len(value) < 20 else 0
