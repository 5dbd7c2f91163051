"""A service that answers as it is told to, in place of the network."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import attrs
import httpx
from scopegate_client import AsyncClient, Client
from scopegate_client.models import Group

Answer = httpx.Response | Exception
Handler = Callable[[httpx.Request], Answer]


def problem(status: int, code: str, detail: str = "No.", **more: Any) -> httpx.Response:
    """A problem document as the service has them."""
    body = {"type": f"/docs/errors/{code}", "title": "No", "status": status, "detail": detail, "code": code}
    body |= {"instance": "/api/v1/x", "request_id": "req_1", "errors": more.pop("errors", [])}
    content = json.dumps(body).encode()
    return httpx.Response(
        status, content=content, headers={"Content-Type": "application/problem+json", **more}
    )


def group(name: str = "platform") -> httpx.Response:
    """A group as the service answers it."""
    body = dict.fromkeys(field.name for field in attrs.fields(Group))
    time = "2026-01-05T09:00:00Z"
    known = {
        "id": "grp_1",
        "name": name,
        "source": "manual",
        "created_at": time,
        "updated_at": time,
        "revision": 1,
    }
    return httpx.Response(200, json=body | known)


def bearer(text: str = "sgb_1", expires_in: int = 900) -> httpx.Response:
    """The answer to a sign-in."""
    return httpx.Response(200, json={"access_token": text, "token_type": "Bearer", "expires_in": expires_in})


@dataclass
class Service:
    """Answers in the order it was told to; what nobody told it about is a fault of the test."""

    answers: Sequence[Answer | Handler] = field(default_factory=list)
    sign_ins: Sequence[Answer | Handler] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    signed_in: int = 0
    pauses: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """The answer to a request."""
        with self._lock:
            if request.url.path == "/oauth/token":
                self.signed_in += 1
                given, *self.sign_ins = self.sign_ins or [bearer(f"sgb_{self.signed_in}")]
            else:
                self.requests.append(request)
                given, *self.answers = self.answers
        if callable(given):
            given = given(request)
        if isinstance(given, Exception):
            raise given
        return given

    async def answer_async(self, request: httpx.Request) -> httpx.Response:
        """The same, for asyncio; other tasks get on meanwhile."""
        await asyncio.sleep(0)
        return self.answer(request)

    @property
    def transport(self) -> httpx.MockTransport:
        """This service, in place of the network."""
        return httpx.MockTransport(self.answer)

    def client(self, **options: Any) -> Client:
        """A client of this service, for threads."""
        credentials = (
            {} if "access_token" in options else {"client_id": "sa_1", "client_secret": "sgc_s3cret"}
        )
        return Client("https://scopegate.test", transport=self.transport, **(credentials | options))

    def async_client(self, **options: Any) -> AsyncClient:
        """A client of this service, for asyncio."""
        credentials = (
            {} if "access_token" in options else {"client_id": "sa_1", "client_secret": "sgc_s3cret"}
        )
        transport = httpx.MockTransport(self.answer_async)
        return AsyncClient("https://scopegate.test", transport=transport, **(credentials | options))
