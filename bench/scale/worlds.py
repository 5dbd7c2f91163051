"""An organisation that was loaded, the gateway before it, and somebody who asks it one thing after another."""

import asyncio
import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast
from urllib.parse import urlencode

from app.crypto.keys import Peppers
from app.lib.ids import format_id
from bench.ground import Ground, laid
from bench.processes import CannotMeasure, Cores, Running
from bench.scale.loading import Loaded, seeding, until_sealed
from bench.scale.sizes import Size

_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class World:
    """One of the two that are compared."""

    ground: Ground
    gateway: Running
    connection: http.client.HTTPConnection
    bearer: str

    @property
    def loaded(self) -> Loaded:
        """What is in it."""
        return cast("Loaded", self.ground.seeded)

    @property
    def peppers(self) -> Peppers:
        """Those that the gateway has."""
        return Peppers([self.ground.keys["SCOPEGATE_TOKEN_PEPPER"].encode()])

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, expected: int = 200
    ) -> dict[str, Any]:
        """What the API answers. Raises ``CannotMeasure`` for another status."""
        headers = {"Authorization": f"Bearer {self.bearer}"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body)
        return self._answer(method, f"/api/v1{path}", content, headers, expected)

    def search(self, path: str, **search: str) -> dict[str, Any]:
        """One page of a list."""
        return self.ask("GET", f"{path}?{urlencode(search)}")

    def send(self, path: str, token: str, message: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """What the gateway answers to a message of a token's."""
        sent = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **headers,
        }
        return self._answer("POST", path, message, sent, 200)

    def _answer(
        self, method: str, path: str, content: str | None, headers: Mapping[str, str], expected: int
    ) -> dict[str, Any]:
        self.connection.request(method, path, content, dict(headers))
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != expected:
            raise CannotMeasure(f"{method} {path} answered {answer.status}: {body.decode()[:1000]}")
        found: dict[str, Any] = json.loads(body) if body else {}
        return found

    def identity(self, number: int) -> str:
        """The id of an identity, as the API says it."""
        return format_id("idn", self.loaded.identities[number])

    def token(self, number: int) -> str:
        """The id of a token that the load may call with."""
        return format_id("tok", self.loaded.tokens[number])


@contextlib.contextmanager
def served(cores: Cores, size: Size) -> Iterator[World]:
    """Load an organisation and serve it."""

    def told(step: str, seconds: float) -> None:
        if seconds >= 1:
            print(f"  {step}: {seconds:,.0f} s", flush=True)

    began = perf_counter()
    with laid(cores, 0, fill=seeding(size, told)) as ground:
        print(
            f"  {size.tokens:,} tokens, {size.events:,} events loaded in {perf_counter() - began:,.0f} s",
            flush=True,
        )
        with ground.gateway("scale", {cores.system}, SCOPEGATE_LIMIT_REQUESTS="0") as gateway:
            began = perf_counter()
            asyncio.run(until_sealed(ground.owner_url, cast("Loaded", ground.seeded).events))
            told("sealed", perf_counter() - began)
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=_TIMEOUT_S)
            yield World(ground, gateway, connection, ground.bearer(gateway))
            connection.close()
