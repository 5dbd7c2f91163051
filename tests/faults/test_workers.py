"""Several worker processes on one port: which of them serves a request makes no difference."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.http.server_protocol import MAX_HEADERS
from tests import database
from tests.faults.harness import Gateway, administration, gateways
from tests.faults.wire import BROKEN, Answer, Connection
from tests.gateway.messages import LEGACY, call, initialize, request
from tests.gateway.upstreams import reference
from tests.story.service import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc"),
]
AT_MOST_S = 2.0


@dataclass(frozen=True, slots=True)
class Served:
    """One service with two workers, and its database."""

    database_url: str
    gateway: Gateway


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """For the tests that leave it as it was."""
    with (
        database.temporary_database() as url,
        gateways(url, 1, SCOPEGATE_WORKERS="2", SCOPEGATE_LIMIT_STREAMS="2") as [gateway],
    ):
        yield Served(url, gateway)


def workers(gateway: Gateway) -> set[int]:
    """The process ids of the workers, without that of Python's tracker of resources."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    found = set()
    for pid in map(int, children):
        # One that was killed may be gone by now.
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def listens(gateway: Gateway, pid: int) -> bool:
    """Whether a process waits for connections: one of its polls has the listening socket in it."""
    port = f":{gateway.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(port) and row[3] == "0A"}
    files = Path(f"/proc/{pid}/fd")
    with suppress(OSError):
        for file in files.iterdir():
            if str(file.readlink()) == "anon_inode:[eventpoll]":
                polled = Path(f"/proc/{pid}/fdinfo/{file.name}").read_text().splitlines()
                found = [line.split()[1] for line in polled if line.startswith("tfd:")]
                if any(str((files / number).readlink()) in sockets for number in found):
                    return True
    return False


async def reached(gateway: Gateway, worker: int) -> Connection:
    """A connection to this worker: the others are stopped until it has taken it."""
    while not listens(gateway, worker):  # noqa: ASYNC110  nothing tells of it
        await asyncio.sleep(0.05)
    others = workers(gateway) - {worker}
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        connection = await Connection.open(gateway.port)
        answer = await connection.exchange(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert answer.status == 200
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)
    return connection


def wire(path: str, secret: str, message: Any = None, session: str | None = None, method: str = "") -> bytes:
    """A legacy request."""
    body = b"" if message is None else json.dumps(message).encode()
    lines = [
        f"{method or 'POST'} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {secret}",
        "Accept: application/json, text/event-stream",
        "Content-Type: application/json",
        f"MCP-Protocol-Version: {LEGACY}",
        f"Content-Length: {len(body)}",
        *([] if session is None else [f"Mcp-Session-Id: {session}"]),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(frozen=True, slots=True)
class Caller:
    """A token of a person who may call everything of one server."""

    service: Service
    slug: str
    token_id: str
    secret: str

    @property
    def path(self) -> str:
        """Where the server is mirrored."""
        return f"/mcp/{self.slug}"

    async def session(self, connection: Connection, path: str) -> str:
        """A new session."""
        answer = await connection.exchange(wire(path, self.secret, initialize()))
        assert answer.status == 200, answer
        return answer.headers[b"mcp-session-id"].decode()

    async def post(self, connection: Connection, path: str, session: str, message: Any) -> Answer:
        """One message in a session."""
        return await connection.exchange(wire(path, self.secret, message, session))


@asynccontextmanager
async def calling(served: Served) -> AsyncIterator[Caller]:
    async with reference() as (url, _), administration(served.database_url, served.gateway) as api:
        service = Service(served.gateway.url, api)
        slug = f"s{os.urandom(4).hex()}"
        server = await service.register(slug, url)
        person = await service.post("/identities", {"kind": "person", "user_name": slug})
        grant: dict[str, Any] = {"principal": {"type": "identity", "id": person["id"]}}
        await service.post(
            "/grants", {**grant, "servers": {"kind": "ids", "ids": [server]}, "tools": {"kind": "all"}}
        )
        expires_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        token = {"identity_id": person["id"], "name": "laptop", "scope": {"kind": "grants"}}
        issued = await service.post("/tokens", {**token, "expires_at": expires_at})
        yield Caller(service, slug, issued["token"]["id"], issued["secret"])


@pytest.mark.parametrize("spans", [True, False], ids=["/mcp", "/mcp/{server}"])
async def test_a_session_is_served_by_any_worker_and_ends_for_all(served: Served, spans: bool) -> None:
    one, two = workers(served.gateway)
    async with calling(served) as caller, asyncio.timeout(60):
        path, prefix = ("/mcp", f"{caller.slug}__") if spans else (caller.path, "")
        with (
            closing(await reached(served.gateway, one)) as first,
            closing(await reached(served.gateway, two)) as second,
        ):
            session = await caller.session(first, path)
            for connection in (second, first, second):
                listed = await caller.post(connection, path, session, request("tools/list"))
                assert f'"{prefix}add"'.encode() in listed.body
                called = await caller.post(connection, path, session, call(f"{prefix}add", {"a": 2, "b": 40}))
                assert b"42" in called.body
            ended = await second.exchange(wire(path, caller.secret, None, session, "DELETE"))
            assert ended.status in {200, 204}
            for connection in (first, second):
                answer = await caller.post(connection, path, session, request("tools/list"))
                assert answer.status == 404, answer


async def test_a_revocation_cuts_the_streams_of_every_worker(served: Served) -> None:
    async with calling(served) as caller, asyncio.timeout(60):
        connections = [await reached(served.gateway, worker) for worker in workers(served.gateway)]
        for connection in connections:
            session = await caller.session(connection, caller.path)
            slow = call("slow")
            slow["params"]["_meta"] = {"progressToken": 1}
            connection.send(wire(caller.path, caller.secret, slow, session))
            assert (await connection.head())[0] == 200
            while b"begun" not in await connection.chunk():
                pass
        await caller.service.post(f"/tokens/{caller.token_id}/revoke", {"reason": "laptop lost"}, 200)
        async with asyncio.timeout(AT_MOST_S):
            for connection in connections:
                assert b"access was withdrawn" in await rest_of(connection)
        for connection in connections:
            connection.close()


async def rest_of(connection: Connection) -> bytes:
    """What still comes of a stream, and then its end."""
    rest = b""
    with suppress(*BROKEN):
        while piece := await connection.chunk():
            rest += piece
    return rest


async def test_each_worker_allows_its_share(served: Served) -> None:
    async with calling(served) as caller, asyncio.timeout(60):
        for worker in workers(served.gateway):
            with (
                closing(await reached(served.gateway, worker)) as first,
                closing(await reached(served.gateway, worker)) as second,
            ):
                session = await caller.session(first, caller.path)
                listen = wire(caller.path, caller.secret, None, session, "GET")
                first.send(listen)
                assert (await first.head())[0] == 200
                assert (await second.exchange(listen)).status == 429


async def test_the_socket_is_guarded_for_the_api_and_the_gateway_alike(served: Served) -> None:
    flood = b"A: b\r\n" * MAX_HEADERS
    for path in ("/mcp", "/api/v1/servers", "/livez"):
        with closing(await Connection.open(served.gateway.port)) as connection:
            head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
            answer = await connection.exchange(head + flood + b"\r\n")
            assert answer.status == 431
    big = b"Content-Length: 1048577\r\nContent-Type: application/json\r\n\r\n" + b" " * 1048577
    zipped = b"Content-Length: 2\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n{}"
    async with calling(served) as caller:
        bearer = served_bearer(caller)
        for path, token in (
            ("/mcp", caller.secret),
            (caller.path, caller.secret),
            ("/api/v1/groups", bearer),
        ):
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n".encode()
            with closing(await Connection.open(served.gateway.port)) as connection:
                assert (await connection.exchange(head + big)).status == 413
                assert (await connection.exchange(head + zipped)).status == 415


def served_bearer(caller: Caller) -> str:
    """The administrator's bearer."""
    return caller.service.api.headers["authorization"].removeprefix("Bearer ")


async def test_a_worker_that_dies_is_replaced_and_none_outlives_the_service(database_url: str) -> None:
    with gateways(database_url, 1, SCOPEGATE_WORKERS="2") as [gateway]:
        async with calling(Served(database_url, gateway)) as caller, asyncio.timeout(120):
            victim, other = workers(gateway)
            with closing(await reached(gateway, other)) as connection:
                session = await caller.session(connection, caller.path)
                os.kill(victim, signal.SIGKILL)
                called = await caller.post(connection, caller.path, session, call("add", {"a": 2, "b": 40}))
                assert b"42" in called.body
                while len(found := workers(gateway) - {victim, other}) != 1:  # noqa: ASYNC110  no event tells
                    await asyncio.sleep(0.05)
                [replacement] = found
                with closing(await reached(gateway, replacement)) as new:
                    called = await caller.post(new, caller.path, session, call("add", {"a": 1, "b": 2}))
                    assert b"3" in called.body
        orphans = workers(gateway)
        gateway.kill()
        async with asyncio.timeout(20):
            while any(alive(pid) for pid in orphans):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        with pytest.raises(ConnectionError):
            await Connection.open(gateway.port)


def alive(pid: int) -> bool:
    """Whether it runs still, and is no zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
