"""I4 without notifications: revocations end streams even if listening connections are killed or silent."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time

import pytest

from tests.faults.conftest import Pair
from tests.faults.database_proxy import DatabaseProxy, Fault
from tests.faults.endless import SILENT, Stream, closing_all, endless, every_kind
from tests.faults.harness import Gateway, administration, fetch, organize
from tests.faults.upstream import ECHO, SLOW

pytestmark = pytest.mark.slow
AT_MOST_S, BLIND_AT_MOST_S = 2.0, 10.0
WATCH, READING = b"\0scopegate-watch-", b"\0scopegate-gateway\0"
_KILL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name LIKE 'scopegate-watch-%'"
)


class SelectiveProxy(DatabaseProxy):
    """Swallows what goes by connections of some names, in both directions. Others go on."""

    def __init__(self, real_url: str, place: Path) -> None:
        super().__init__(real_url, place)
        self._open: dict[_Names, bytes] = {}
        self._swallowed: bytes | None = None

    def swallow(self, name: bytes, *, later: bool) -> None:
        """From now on: what is open under the name, and what will be, or not."""
        for link, startup in self._open.items():
            link.is_dead = link.is_dead or name in startup
        self._swallowed = name if later else None

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        their_reader: asyncio.StreamReader,
        their_writer: asyncio.StreamWriter,
    ) -> None:
        link = _Names()

        async def asks(data: bytes) -> bool:
            # The first that a client says has the name of its connection in it.
            self._open.setdefault(link, data)
            if self._swallowed is not None and self._swallowed in self._open[link]:
                link.is_dead = True
            return not link.is_dead

        async def tells(_data: bytes) -> bool:
            return not link.is_dead

        await asyncio.gather(self._pump(reader, their_writer, asks), self._pump(their_reader, writer, tells))
        self._open.pop(link, None)


class _Names:
    """One connection."""

    is_dead = False


@asynccontextmanager
async def behind_a_proxy(database_url: str) -> AsyncIterator[tuple[Gateway, SelectiveProxy]]:
    """A third gateway on the database, whose connections can be disturbed."""
    with tempfile.TemporaryDirectory(prefix="sg-cut-", dir="/tmp") as text:
        place = Path(text)
        proxy = SelectiveProxy(database_url, place)
        await proxy.listen()
        gateway = Gateway(proxy.url, place)
        try:
            await gateway.start()
            yield gateway, proxy
        finally:
            await asyncio.to_thread(gateway.stop)
            await proxy.close()


async def last_end(streams: list[Stream], legs: list[asyncio.Future[float]]) -> float:
    """When the last of all legs ended."""
    ends = [await leg for leg in legs] + [(await stream.ended())[0] for stream in streams]
    return max(ends)


async def test_streams_end_everywhere_when_the_connections_that_listen_were_just_killed(pair: Pair) -> None:
    async with (
        endless() as server,
        administration(pair.database_url, pair.gateways[0]) as api,
        behind_a_proxy(pair.database_url) as (third, _),
    ):
        organization = await organize(api, server.url, tools=(ECHO, SLOW, SILENT))
        ports = [*pair.ports, third.port]
        with closing_all(
            [one for port in ports for one in await every_kind(port, organization.way)]
        ) as streams:
            legs = await server.opened(len(streams))
            killed = await fetch(pair.database_url, _KILL)
            assert len(killed) == 3
            asked_at = time()
            answer = await api.post(f"/api/v1/tokens/{organization.token}/revoke", json={"reason": "lost"})
            assert answer.is_success, answer.text
            async with asyncio.timeout(AT_MOST_S):
                assert await last_end(streams, legs) - asked_at < AT_MOST_S


@pytest.mark.parametrize(
    ("name", "later"),
    [(WATCH, False), (READING, True)],
    ids=["the one that listens", "those that decisions are read on"],
)
async def test_streams_end_although_some_connections_of_their_worker_fell_silent(
    pair: Pair, name: bytes, later: bool
) -> None:
    async with (
        endless() as server,
        administration(pair.database_url, pair.gateways[0]) as api,
        behind_a_proxy(pair.database_url) as (third, proxy),
    ):
        organization = await organize(api, server.url, tools=(ECHO, SLOW, SILENT))
        with closing_all(await every_kind(third.port, organization.way)) as streams:
            legs = await server.opened(len(streams))
            proxy.swallow(name, later=later)
            asked_at = time()
            answer = await api.post(f"/api/v1/tokens/{organization.token}/revoke", json={"reason": "lost"})
            assert answer.is_success, answer.text
            async with asyncio.timeout(AT_MOST_S):
                assert await last_end(streams, legs) - asked_at < AT_MOST_S


async def test_a_worker_that_is_cut_off_ends_its_streams_though_nothing_was_revoked(pair: Pair) -> None:
    async with (
        endless() as server,
        administration(pair.database_url, pair.gateways[0]) as api,
        behind_a_proxy(pair.database_url) as (third, proxy),
    ):
        organization = await organize(api, server.url, tools=(ECHO, SLOW, SILENT))
        with closing_all(await every_kind(third.port, organization.way)) as streams:
            legs = await server.opened(len(streams))
            await proxy.begin(Fault.BLACKHOLE)
            cut_off_at = time()
            async with asyncio.timeout(BLIND_AT_MOST_S + 1):
                last = await last_end(streams, legs)
            # A brief outage of the database ends no stream.
            assert BLIND_AT_MOST_S / 2 < last - cut_off_at < BLIND_AT_MOST_S + 0.2
            await proxy.end()
