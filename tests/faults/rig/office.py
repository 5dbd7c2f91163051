"""The administrator of the rig: sends each request to any gateway until it is answered, and records it."""

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import uuid4

import httpx2

from app.lib.ids import SERVICE_ACCOUNT, format_id
from tests.api import Account
from tests.faults.rig.history import Request, Writer
from tests.faults.rig.processes import RigGateway

Json = dict[str, Any]
_REQUEST_S = 6.0
_INSISTS_S = 90.0
_AGAIN_S = 0.05
_SIGNS_IN_EVERY_S = 600.0
# What may be true after an attempt whose answer was lost had done what it should.
_IN_FLIGHT = "idempotency_in_flight"
DONE_BEFORE = frozenset({404, 409, 412})


class Stuck(AssertionError):
    """A required answer did not arrive, so the run cannot continue."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The final answer to a request."""

    answer: httpx2.Response
    port: int
    asked: float
    """The start of the answered attempt."""
    first: float
    """The start of the first attempt."""
    answered: float
    repeats: int

    @property
    def body(self) -> Json:
        """Its JSON object."""
        found: Json = self.answer.json()
        return found


class Office:
    """Requests through any gateway that serves."""

    def __init__(
        self, gateways: Sequence[RigGateway], writer: Writer, random: Random, account: Account
    ) -> None:
        self._gateways = gateways
        self._writer = writer
        self._random = random
        self._account = account
        self._headers = {"Authorization": f"Bearer {account.bearer}"}
        self._signed_in_at = time.monotonic()
        self.secrets = {account.secret, account.bearer}
        """Its credentials, and other secrets that must not leak."""
        limits = httpx2.Limits(max_connections=200, max_keepalive_connections=20)
        self._client = httpx2.AsyncClient(timeout=_REQUEST_S, limits=limits)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    def serving(self) -> list[RigGateway]:
        """Return the gateways that serve now."""
        return [gateway for gateway in self._gateways if gateway.serves]

    async def once(
        self, gateway: RigGateway, method: str, path: str, *, headers: Json | None = None, **options: Any
    ) -> httpx2.Response | None:
        """Make one attempt at one gateway; ``None`` without an answer."""
        started = time.monotonic()
        answer: httpx2.Response | None = None
        try:
            answer = await self._client.request(
                method, gateway.url + path, headers={**self._headers, **(headers or {})}, **options
            )
        except httpx2.TransportError:
            answer = None
        self._writer.write(
            Request(
                method, path, gateway.port, started, time.monotonic(),
                None if answer is None else answer.status_code,
                answer is not None and "retry-after" in answer.headers,
            )
        )  # fmt: skip
        return answer

    async def insist(
        self,
        method: str,
        path: str,
        *,
        also: Collection[int] = (),
        headers: Json | None = None,
        **options: Any,
    ) -> Answered:
        """Ask until the answer is a 2xx, or one of ``also`` once an attempt may have worked unheard.

        Raises ``Stuck`` when that takes too long, or when the answer is another one.
        """
        await self._sign_in()
        first, repeats, unheard = time.monotonic(), 0, False
        while time.monotonic() - first < _INSISTS_S:
            serving = self.serving()
            if serving:
                gateway = self._random.choice(serving)
                asked = time.monotonic()
                answer = await self.once(gateway, method, path, headers=headers, **options)
                if answer is not None and (answer.is_success or (unheard and answer.status_code in also)):
                    return Answered(answer, gateway.port, asked, first, time.monotonic(), repeats)
                # The attempt before may still be under way.
                if answer is not None and answer.status_code < 500 and _IN_FLIGHT not in answer.text:
                    raise Stuck(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
                unheard = True
                repeats += 1
            await asyncio.sleep(_AGAIN_S)
        raise Stuck(f"{method} {path} was not answered for {_INSISTS_S:.0f} s")

    async def _sign_in(self) -> None:
        """Again, long before the bearer is over; with the next request where that one is not answered."""
        serving = self.serving()
        if time.monotonic() - self._signed_in_at < _SIGNS_IN_EVERY_S or not serving:
            return
        form = {
            "grant_type": "client_credentials",
            "client_id": format_id(SERVICE_ACCOUNT, self._account.id),
            "client_secret": self._account.secret,
        }
        with suppress(httpx2.TransportError):
            answer = await self._client.post(self._random.choice(serving).url + "/oauth/token", data=form)
            if answer.is_success:
                bearer = answer.json()["access_token"]
                self._headers = {"Authorization": f"Bearer {bearer}"}
                self.secrets.add(bearer)
                self._signed_in_at = time.monotonic()

    async def made(self, plural: str, **body: Any) -> Json:
        """Create an object once, with retries."""
        key = {"Idempotency-Key": uuid4().hex}
        return (await self.insist("POST", f"/api/v1/{plural}", json=body, headers=key)).body
