"""A loaded organization, its gateway, and a client that sends one request at a time."""

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
from bench.processes import CannotMeasure, Cores, Running
from bench.scale.loading import Loaded, seeding, until_sealed
from bench.scale.sizes import Size
from bench.testbed import Testbed, start_testbed

_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class World:
    """One of the two compared organizations."""

    testbed: Testbed
    gateway: Running
    connection: http.client.HTTPConnection
    bearer: str

    @property
    def loaded(self) -> Loaded:
        """The loaded data."""
        return cast("Loaded", self.testbed.seeded)

    @property
    def peppers(self) -> Peppers:
        """The peppers of the gateway."""
        return Peppers([self.testbed.keys["SCOPEGATE_TOKEN_PEPPER"].encode()])

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, expected: int = 200
    ) -> dict[str, Any]:
        """Send an API request and return the answer. Raises ``CannotMeasure`` for another status."""
        headers = {"Authorization": f"Bearer {self.bearer}"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body)
        return self._answer(method, f"/api/v1{path}", content, headers, expected)

    def search(self, path: str, **search: str) -> dict[str, Any]:
        """Read one page of a list."""
        return self.ask("GET", f"{path}?{urlencode(search)}")

    def send(self, path: str, token: str, message: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """Send an MCP message with a token and return the answer."""
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
        answer_body: dict[str, Any] = json.loads(body) if body else {}
        return answer_body

    def identity(self, number: int) -> str:
        """Return the id of an identity as in the API."""
        return format_id("idn", self.loaded.identities[number])

    def token(self, number: int) -> str:
        """Return the id of a token of the load."""
        return format_id("tok", self.loaded.tokens[number])


@contextlib.contextmanager
def serve(cores: Cores, size: Size) -> Iterator[World]:
    """Load an organization and serve it."""

    def report_step(step: str, seconds: float) -> None:
        if seconds >= 1:
            print(f"  {step}: {seconds:,.0f} s", flush=True)

    began = perf_counter()
    with start_testbed(cores, 0, fill=seeding(size, report_step)) as testbed:
        print(
            f"  {size.tokens:,} tokens, {size.events:,} events loaded in {perf_counter() - began:,.0f} s",
            flush=True,
        )
        with testbed.gateway("scale", {cores.system}, SCOPEGATE_LIMIT_REQUESTS="0") as gateway:
            began = perf_counter()
            asyncio.run(until_sealed(testbed.owner_url, cast("Loaded", testbed.seeded).events))
            report_step("sealed", perf_counter() - began)
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=_TIMEOUT_S)
            yield World(testbed, gateway, connection, testbed.bearer(gateway))
            connection.close()
