"""Gateway processes on a real PostgreSQL, and an organization made with their REST API."""

import asyncio
import contextlib
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import asyncpg
import httpx2

import app
from app.crypto.keys import Peppers
from app.db.engine import make_engine, make_sessions
from tests.api import KEY, Account, make_account
from tests.faults.upstream import ECHO, SLOW
from tests.faults.wire import Way
from tests.ports import free_port

SERVE = ("-m", "app.cli", "serve")
_ROOT = Path(app.__file__).parent.parent
_START_S, _STOP_S = 120.0, 15.0
Json = dict[str, Any]


class Process(Protocol):
    """As much of ``subprocess.Popen`` as is used here."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Gateway:
    """One ``scopegate serve`` on a port of its own, which it keeps when it is started again."""

    def __init__(
        self, database_url: str, place: Path, arguments: tuple[str, ...] = SERVE, **settings: str
    ) -> None:
        """``settings`` come to those that it needs, by the names of their variables."""
        self.port = free_port()
        self._command = [sys.executable, *arguments]
        self._log = place / f"{self.port}.log"
        self._environment = {
            **os.environ,
            "SCOPEGATE_DATABASE_URL": database_url,
            "SCOPEGATE_DATA_DIR": str(place),
            "SCOPEGATE_PORT": str(self.port),
            # One for all, or they would not agree on the name of the log.
            "SCOPEGATE_PUBLIC_URL": "http://127.0.0.1",
            "SCOPEGATE_TOKEN_PEPPER": KEY,
            "SCOPEGATE_ENCRYPTION_KEY": KEY,
            "SCOPEGATE_SIGNING_KEY": KEY,
            "SCOPEGATE_UPSTREAM_ALLOWED_NETWORKS": "127.0.0.1/32",
            # One token makes all calls here, as fast as it can.
            "SCOPEGATE_LIMIT_CALLS": "0",
            "SCOPEGATE_LIMIT_CALLS_PER_IDENTITY": "0",
            **settings,
        }
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    def launch(self) -> None:
        """Start the process."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_ready(self) -> None:
        """Wait until ``/readyz`` says 200."""
        assert self._process is not None
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                try:
                    connection.request("GET", "/readyz")
                    if connection.getresponse().status == 200:
                        return
                finally:
                    connection.close()
            time.sleep(0.05)
        raise AssertionError(f"the gateway did not become ready:\n{self._log.read_text(errors='replace')}")

    async def start(self) -> None:
        """Start it and wait until it is ready, while the test's loop goes on."""
        self.launch()
        await asyncio.to_thread(self.wait_ready)

    def said(self) -> str:
        """What it has written on both outputs."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL: nothing of it runs any more when this returns."""
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text(errors="replace")
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextmanager
def gateways(
    database_url: str, count: int, arguments: tuple[str, ...] = SERVE, **settings: str
) -> Iterator[list[Gateway]]:
    """So many gateways on one database, ready, and stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="sg-faults-", dir="/tmp") as place:
        all_of_them = [Gateway(database_url, Path(place), arguments, **settings) for _ in range(count)]
        try:
            for gateway in all_of_them:
                gateway.launch()
            for gateway in all_of_them:
                gateway.wait_ready()
            yield all_of_them
        finally:
            for gateway in all_of_them:
                gateway.stop()


async def owners_account(database_url: str) -> Account:
    """A service account with the role of an owner, and a bearer for it that is good for an hour."""
    engine = make_engine(database_url, pool_size=1, name="test")
    account = await make_account(make_sessions(engine), Peppers([KEY.encode()]))
    await engine.dispose()
    return account


@asynccontextmanager
async def administration(database_url: str, gateway: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of one gateway's REST API, signed in as an owner."""
    account = await owners_account(database_url)
    headers = {"Authorization": f"Bearer {account.bearer}"}
    async with httpx2.AsyncClient(base_url=gateway.url, headers=headers, timeout=30) as client:
        yield client


@dataclass(frozen=True, slots=True)
class Organization:
    """Ids of one person with one right to two tools of one server, and a token."""

    person: str
    group: str
    """The person is a member; the grant is the group's when that was asked for."""
    server: str
    echo: str
    grant: str
    token: str
    way: Way


async def organize(
    api: httpx2.AsyncClient,
    upstream_url: str,
    *,
    through_group: bool = False,
    tools: Sequence[str] = (ECHO, SLOW),
) -> Organization:
    """Make the organization. The first of the tools is its ``echo``."""

    async def made(plural: str, **body: Any) -> Json:
        answer = await api.post(f"/api/v1/{plural}", json=body)
        assert answer.status_code == 201, answer.text
        found: Json = answer.json()
        return found

    name = f"s-{uuid4().hex[:12]}"
    server = await made("servers", slug=name, url=upstream_url)
    registered = [
        await made("tools", server_id=server["id"], name=tool, input_schema={"type": "object"})
        for tool in tools
    ]
    person = await made("identities", kind="person", user_name=name)
    group = await made("groups", name=name)
    joined = await api.put(f"/api/v1/groups/{group['id']}/members/{person['id']}")
    assert joined.status_code == 201, joined.text
    to = ("group", group) if through_group else ("identity", person)
    grant = await made(
        "grants",
        principal={"type": to[0], "id": to[1]["id"]},
        servers={"kind": "ids", "ids": [server["id"]]},
        tools={"kind": "all"},
    )
    expiry = datetime.now(UTC) + timedelta(days=1)
    issued = await made(
        "tokens",
        identity_id=person["id"],
        name="laptop",
        scope={"kind": "grants"},
        expires_at=expiry.isoformat(),
    )
    return Organization(
        person=person["id"],
        group=group["id"],
        server=server["id"],
        echo=registered[0]["id"],
        grant=grant["id"],
        token=issued["token"]["id"],
        way=Way(name, issued["secret"]),
    )


async def count_calls(api: httpx2.AsyncClient, here: Organization) -> None:
    """Count the person's calls with a quota that never denies, so that each needs a consuming admission."""
    text = f"""@quota("1000000 per day")
    forbid (principal == Identity::"{here.person}", action == Action::"call_tool", resource);"""
    draft = await api.post("/api/v1/policies", json={"name": f"counting {here.person}", "text": text})
    assert draft.status_code == 201, draft.text
    seen = {"If-Match": draft.headers["etag"]}
    answer = await api.post(f"/api/v1/policies/{draft.json()['id']}/publish", headers=seen)
    assert answer.is_success, answer.text


async def fetch(database_url: str, statement: str, *values: object) -> list[asyncpg.Record]:
    """Run one statement on a separate connection."""
    connection = await asyncpg.connect(database_url)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()
