"""Probes: one rare interleaving each, forced on real processes.

A probe starts gateways of a mutant, or of the service as it is, and says which invariants did not hold.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
)
from typing import TypeVar

import asyncpg

from tests import database
from tests.api import KEY
from tests.faults.conftest import Pair
from tests.faults.harness import administration, fetch, gateways, organize
from tests.faults.rig.compiled_in import ROOT
from tests.faults.test_used_once import ATTEMPTS, ROUNDS, office
from tests.faults.upstream import ECHO, SLOW, upstream
from tests.faults.wire import Connection

Entered = TypeVar("Entered")
Probe = Callable[[str], Awaitable[frozenset[str]]]
BUILD = ("-m", "tests.faults.rig.serve", "serve")
_TIMEOUT_S = 30.0
_KEPT = frozenset[str]()
_ROW = """
INSERT INTO audit_events (id, time, epoch, action, actor_type)
VALUES (gen_random_uuid(), clock_timestamp(), scopegate_epoch(), 'probe', 'system')
"""
_BETWEEN = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"


@contextmanager
def _pair_of(mutant: str) -> Iterator[Pair]:
    with database.temporary_database() as url, gateways(url, 2, BUILD, RIG_MUTANT=mutant) as running:
        yield Pair(url, running)


@asynccontextmanager
async def in_thread(context: AbstractContextManager[Entered]) -> AsyncIterator[Entered]:
    """A context whose beginning and end block, and run loops of their own."""
    entered = await asyncio.to_thread(context.__enter__)
    try:
        yield entered
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


def pair_of(mutant: str) -> AbstractAsyncContextManager[Pair]:
    """Two gateways of a build on a database of their own."""
    return in_thread(_pair_of(mutant))


async def read_while_revoked(mutant: str) -> frozenset[str]:
    """A replica reads a token that it does not know yet, while another revokes it."""
    async with (
        pair_of(mutant) as pair,
        upstream() as server,
        administration(pair.database_url, pair.gateways[0]) as api,
    ):
        here = await organize(api, server.url)
        with closing(await Connection.open(pair.ports[1])) as connection:
            reading = asyncio.create_task(connection.exchange(here.way.call(ECHO, "a" * 32)))
            # The mutant waits between the contents and their versions; the service as it is has read long before.
            while not reading.done() and not await fetch(pair.database_url, _BETWEEN):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            answer = await api.post(f"/api/v1/tokens/{here.token}/revoke", json={"reason": "lost"})
            assert answer.is_success, answer.text
            await reading
            await connection.exchange(here.way.call(ECHO, "b" * 32))
        return frozenset({"I3"}) if "b" * 32 in server.received else _KEPT


async def approved_once(mutant: str) -> frozenset[str]:
    """Fifty attempts on two replicas for each of a few approvals."""
    async with pair_of(mutant) as pair, office(pair) as here:
        await here.publish("asking", '@require_approval("No one in particular")')
        await here.attempts(1)
        for _ in range(ROUNDS):
            await here.approve()
            here.seen.requests.clear()
            await here.attempts(ATTEMPTS)
            if len(here.seen.of("tools/call")) > 1:
                return frozenset({"I9"})
        return _KEPT


async def stream_unheard(mutant: str) -> frozenset[str]:
    """The upstream's leg of a stream that says nothing, when its token is revoked at the other replica."""
    async with (
        pair_of(mutant) as pair,
        upstream() as server,
        administration(pair.database_url, pair.gateways[0]) as api,
    ):
        here = await organize(api, server.url)
        with closing(await Connection.open(pair.ports[1])) as connection:
            connection.send(here.way.call(SLOW, "c" * 32))
            await connection.head()
            await connection.chunk()
            # Changed without a notification, as by a replica whose notification was lost.
            await fetch(pair.database_url, "UPDATE tokens SET revoked_at = now()")
            await fetch(pair.database_url, "UPDATE access_versions SET version = version + 1")
            ended, _ = await asyncio.wait({server.streams_ended["c" * 32]}, timeout=2)
        return _KEPT if ended else frozenset({"I4"})


async def sealed_late(mutant: str) -> frozenset[str]:
    """A transaction that began before others commits after their events were sealed."""
    async with pair_of(mutant) as pair:
        late = await asyncpg.connect(pair.database_url)
        transaction = late.transaction()
        await transaction.start()
        await late.execute(_ROW)
        for _ in range(3):
            await fetch(pair.database_url, _ROW)
        sealed, until = await _sealed(pair.database_url), time.monotonic() + _TIMEOUT_S / 2
        while time.monotonic() < until and await _sealed(pair.database_url) <= sealed:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        await transaction.commit()
        await late.close()
        for _ in range(3):
            await fetch(pair.database_url, _ROW)
        while await events_left(pair.database_url) and time.monotonic() < until + _TIMEOUT_S / 2:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        verified = await asyncio.to_thread(verify, pair.database_url)
        return _KEPT if verified.returncode == 0 else frozenset({"I8"})


async def _sealed(url: str) -> int:
    [row] = await fetch(url, "SELECT coalesce(max(tree_size), 0) AS size FROM audit_checkpoints")
    return int(row["size"])


async def events_left(url: str) -> int:
    [row] = await fetch(url, "SELECT count(*) AS events FROM audit_events")
    return int(row["events"]) - await _sealed(url)


def verify(url: str) -> subprocess.CompletedProcess[bytes]:
    """What the service as it is finds of the log."""
    return scopegate("audit", "verify", DATABASE_URL=url)


def scopegate(*words: str, mutant: str = "", **settings: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command of a build."""
    keys = dict.fromkeys(("TOKEN_PEPPER", "ENCRYPTION_KEY", "SIGNING_KEY"), KEY)
    return subprocess.run(
        [sys.executable, *BUILD[:-1], *words],
        env={
            **os.environ,
            **{f"SCOPEGATE_{name}": value for name, value in (keys | settings).items()},
            "RIG_MUTANT": mutant,
        },
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
