"""A transmitter of Shared Signals with keys of its own, on a real socket: it signs, pushes, keeps events for polls, and
manages streams as SSF 1.0 says. A test can make it wrong in every way."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from joserfc.jwk import ECKey

from app.domain.security_events import EventType
from tests.adapters.oidc.tokens import AnyKey, public, token
from tests.ports import free_port

Json = dict[str, Any]
ACCESS_TOKEN = "access-token-of-the-receiver"
AUDIENCE = "https://scopegate.example.com/ssf"
PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"


class Transmitter:
    """What it publishes, what it was asked, and the events that wait for a poll. ``path`` is that of its issuer."""

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.port = 0
        self.keys: list[AnyKey] = [ECKey.generate_key("P-256", {"kid": "first"})]
        self.asked: list[tuple[str, str, Any]] = []
        """Method, path, and body of each request."""
        self.streams: dict[str, Json] = {}
        self.waiting: dict[str, str] = {}
        self.acknowledged: list[str] = []
        self.refused: dict[str, Json] = {}
        self.changed: Json = {}
        """Members of the configuration that are otherwise than they should be."""
        self.status = "enabled"
        self.answers: dict[tuple[str, str], tuple[int, object]] = {}
        """What it answers in place of what it should, by method and path."""
        self.hold: asyncio.Event | None = None
        """Polls wait for it."""
        self.polls = asyncio.Condition()
        self._server: asyncio.Server | None = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def issuer(self) -> str:
        return self.origin + self.path

    @property
    def settings(self) -> Json:
        """What a provider's settings say of it."""
        return {"issuer": self.issuer, "audiences": [AUDIENCE], "algorithms": ["ES256"]}

    def claims(self, type: str, subject: Json, **changed: Any) -> Json:
        """The claims of an event token, with some changed; ``...`` leaves one out. ``payload`` is of the event."""
        now = int(time.time())
        payload = changed.pop("payload", {"event_timestamp": now})
        good = {
            "iss": self.issuer,
            "aud": [AUDIENCE],
            "iat": now,
            "jti": uuid4().hex,
            "sub_id": subject,
            "events": {str(type): payload},
        }
        return {name: value for name, value in {**good, **changed}.items() if value is not ...}

    def sign(self, claims: object, key: AnyKey | None = None, **header: Any) -> str:
        """An event token of these claims."""
        key = self.keys[0] if key is None else key
        said = {"alg": "ES256", "typ": "secevent+jwt", "kid": key.kid, **header}
        return token({name: value for name, value in said.items() if value is not ...}, claims, key)

    def event(self, type: str, subject: Json, **changed: Any) -> str:
        """A good event token, but for what was changed."""
        return self.sign(self.claims(type, subject, **changed))

    def wait(self, type: str, subject: Json, **changed: Any) -> str:
        """Let an event wait for a poll; its jti."""
        claims = self.claims(type, subject, **changed)
        self.waiting[claims["jti"]] = self.sign(claims)
        return str(claims["jti"])

    async def start(self) -> None:
        """Serve; again on the same port after a stop, which nobody gets by chance meanwhile."""
        self.port = self.port or free_port()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Go away."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def paths(self) -> list[str]:
        """The paths that were asked for."""
        return [path for _, path, _ in self.asked]

    def configuration(self) -> Json:
        """What it says of itself."""
        return {
            "spec_version": "1_0",
            "issuer": self.issuer,
            "jwks_uri": f"{self.origin}/keys",
            "delivery_methods_supported": [PUSH, POLL],
            "configuration_endpoint": f"{self.origin}/stream",
            "status_endpoint": f"{self.origin}/status",
            "verification_endpoint": f"{self.origin}/verify",
            "critical_subject_members": ["tenant"],
            **self.changed,
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.decode("latin-1").split(" ", 2)
            headers = dict(
                line.lower().split(": ", 1)
                for line in head.decode("latin-1").split("\r\n")[1:]
                if ": " in line
            )
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            parts = urlsplit(target)
            said = json.loads(body) if body else None
            self.asked.append((method, parts.path, said))
            allowed = headers.get("authorization") == f"bearer {ACCESS_TOKEN}".lower()
            status, answer = await self._answer(method, parts.path, parse_qs(parts.query), said, allowed)
            sent = (
                answer
                if isinstance(answer, bytes)
                else b""
                if answer is None
                else json.dumps(answer).encode()
            )
            writer.write(
                b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(sent))
            )
            writer.write(sent)
            await writer.drain()
        writer.close()

    async def _answer(
        self, method: str, path: str, query: dict[str, list[str]], said: Any, allowed: bool
    ) -> tuple[int, object]:
        if (method, path) in self.answers:
            return self.answers[method, path]
        if path == "/.well-known/ssf-configuration" + self.path.rstrip("/"):
            return 200, self.configuration()
        if path == "/keys":
            return 200, {"keys": public(*self.keys)}
        return await self._manage(method, path, query, said) if allowed else (401, None)

    async def _manage(
        self, method: str, path: str, query: dict[str, list[str]], said: Any
    ) -> tuple[int, object]:
        if path == "/stream":
            return self._stream(method, query, said)
        if path == "/status":
            return 200, {"stream_id": query["stream_id"][0], "status": self.status}
        if path == "/verify":
            subject = {"format": "opaque", "id": said["stream_id"]}
            self.wait(EventType.VERIFICATION, subject, payload={"state": said["state"]})
            return 204, None
        if path == "/poll":
            return await self._poll(said)
        return 404, None

    def _stream(self, method: str, query: dict[str, list[str]], said: Any) -> tuple[int, object]:
        if method == "GET":
            return 200, list(self.streams.values())
        if method == "DELETE":
            return (204 if self.streams.pop(query["stream_id"][0], None) else 404), None
        id = said.get("stream_id", uuid4().hex)
        if method == "PATCH" and id not in self.streams:
            return 404, None
        delivery = dict(said["delivery"])
        delivery.pop("authorization_header", None)
        if delivery["method"] == POLL:
            delivery["endpoint_url"] = f"{self.origin}/poll"
        self.streams[id] = {
            "stream_id": id,
            "iss": self.issuer,
            "aud": [AUDIENCE],
            "delivery": delivery,
            "events_requested": said["events_requested"],
        }
        return (201 if method == "POST" else 200), self.streams[id]

    async def _poll(self, said: Json) -> tuple[int, object]:
        for jti in said.get("ack", []):
            self.waiting.pop(jti, None)
            self.acknowledged.append(jti)
        for jti, error in said.get("setErrs", {}).items():
            self.waiting.pop(jti, None)
            self.refused[jti] = error
        async with self.polls:
            self.polls.notify_all()
        if self.hold is not None:
            await self.hold.wait()
        most = said["maxEvents"]
        first = dict(list(self.waiting.items())[:most])
        return 200, {"sets": first, "moreAvailable": len(self.waiting) > most > 0}


@asynccontextmanager
async def transmitter(path: str = "") -> AsyncIterator[Transmitter]:
    """A transmitter that serves."""
    it = Transmitter(path)
    await it.start()
    try:
        yield it
    finally:
        await it.stop()
