"""A lost answer to a COMMIT of the API: 503, nothing half done, and a retry that finds the result."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from tests.faults.database_proxy import DatabaseProxy
from tests.faults.harness import Gateway, Organization, administration, fetch, organize
from tests.faults.upstream import ECHO, upstream
from tests.faults.wire import Connection

pytestmark = pytest.mark.slow
_API, _COMMIT = b"\0scopegate-api\0", b"COMMIT"
_WAYS = pytest.mark.parametrize("silent", [False, True], ids=["cut off", "silent"])
_STANDS = "SELECT revoked_at IS NOT NULL AS revoked, version FROM tokens JOIN access_versions USING (id)"
_RECORDED = "SELECT count(*) AS n FROM audit_events WHERE action = 'token.revoke'"


class LosingProxy(DatabaseProxy):
    """Loses the answers to the API's commits, which hold all the same: the connection breaks off, or says nothing."""

    def __init__(self, real_url: str, place: Path, *, silent: bool) -> None:
        super().__init__(real_url, place)
        self._silent = silent
        self.losing = False
        self.lost = 0

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        their_reader: asyncio.StreamReader,
        their_writer: asyncio.StreamWriter,
    ) -> None:
        startup, waits = b"", False

        async def asks(data: bytes) -> bool:
            nonlocal startup, waits
            # The first that a client says has the name of its connection in it.
            startup = startup or data
            # A simple query: its type, four bytes of length, its text.
            if self.losing and _API in startup and data[:1] == b"Q" and data[5:].startswith(_COMMIT):
                waits = True
            return True

        async def tells(_data: bytes) -> bool:
            if waits:
                self.lost += 1
                if not self._silent:
                    writer.transport.abort()
            return not waits

        await asyncio.gather(self._pump(reader, their_writer, asks), self._pump(their_reader, writer, tells))


@asynccontextmanager
async def scene(
    database_url: str, *, silent: bool
) -> AsyncIterator[tuple[LosingProxy, httpx2.AsyncClient, Organization, Connection]]:
    """A gateway behind such a proxy, its API, an organization, and a connection to call on."""
    with tempfile.TemporaryDirectory(prefix="sg-faults-", dir="/tmp") as text:
        proxy = LosingProxy(database_url, Path(text), silent=silent)
        await proxy.listen()
        gateway = Gateway(proxy.url, Path(text))
        try:
            await gateway.start()
            async with upstream() as server, administration(database_url, gateway) as api:
                organization = await organize(api, server.url)
                connection = await Connection.open(gateway.port)
                yield proxy, api, organization, connection
                connection.close()
        finally:
            await asyncio.to_thread(gateway.stop)
            await proxy.close()


async def refused(proxy: LosingProxy, asking: "asyncio.Future[httpx2.Response]") -> None:
    """The answer is 503, since that to its commit is lost."""
    answer = await asking
    proxy.losing = False
    assert proxy.lost
    assert answer.status_code == 503, answer.text
    assert "retry-after" in answer.headers


@_WAYS
async def test_a_revocation_whose_commit_has_no_answer_is_503_and_can_be_repeated(
    database_url: str, silent: bool
) -> None:
    async with scene(database_url, silent=silent) as (proxy, api, here, connection):

        async def call() -> int:
            return (await connection.exchange(here.way.call(ECHO, uuid4().hex))).status

        async def revoke(**headers: str) -> httpx2.Response:
            path, body = f"/api/v1/tokens/{here.token}/revoke", {"reason": "lost"}
            return await api.post(path, json=body, headers=headers)

        key = {"Idempotency-Key": uuid4().hex}
        assert await call() == 200
        [before] = await fetch(database_url, _STANDS)
        proxy.losing = True
        await refused(proxy, asyncio.ensure_future(revoke(**key)))
        # It holds as a whole: the token, its record, and what workers decide by.
        [token] = await fetch(database_url, _STANDS)
        assert token["revoked"]
        assert token["version"] > before["version"]
        assert [row["n"] for row in await fetch(database_url, _RECORDED)] == [1]
        assert await call() == 401
        for headers in (key, {}):
            repeated = await revoke(**headers)
            assert repeated.status_code == 200, repeated.text
        assert [row["n"] for row in await fetch(database_url, _RECORDED)] == [1]
        assert await call() == 401


@_WAYS
async def test_what_was_made_by_a_commit_without_an_answer_is_found_by_its_key(
    database_url: str, silent: bool
) -> None:
    async with scene(database_url, silent=silent) as (proxy, api, _, _connection):

        async def make() -> httpx2.Response:
            return await api.post("/api/v1/groups", json={"name": "made once"}, headers=key)

        key = {"Idempotency-Key": uuid4().hex}
        proxy.losing = True
        await refused(proxy, asyncio.ensure_future(make()))
        repeated = await make()
        assert repeated.status_code == 201, repeated.text
        assert repeated.headers["idempotency-replayed"] == "true"
        made = await fetch(database_url, "SELECT id FROM groups WHERE name = 'made once'")
        assert len(made) == 1
