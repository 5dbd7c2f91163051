"""Sealing across the loss of the primary: one tree over both epochs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from app.db.engine import make_engine, make_sessions
from app.db.migrations import upgrade
from app.db.rewinds import DatabaseRewound, RewindGuard
from app.features.audit.epochs import accept_restore
from app.features.audit.sealing.leaves import latest_checkpoint
from app.features.audit.sealing.sealer import Sealing
from app.lib.ids import new_id
from app.worker.database import Connector
from tests.faults.replicas import Replicas, replicas
from tests.features.audit.sealing.sealed import SIGNER, check, leaves, size, write
from tests.merkle_proofs import root_of

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
pytestmark = pytest.mark.slow


@pytest.fixture
def both() -> Iterator[Replicas]:
    with replicas() as made:
        yield made


@asynccontextmanager
async def sealing(url: str, rewinds: RewindGuard | None = None) -> AsyncIterator[Sealing]:
    """A worker's share, which finds the primary by itself."""
    engine = make_engine(url)
    connector = Connector(url, new_id(), rewinds=rewinds)
    worker = Sealing(connector.named("sealing"), make_sessions(engine), SIGNER, rewinds=rewinds)
    yield worker
    worker._drop()
    await engine.dispose()


async def turns_until(connection: "Connection", events: int, worker: Sealing) -> None:
    async with asyncio.timeout(30):
        while await size(connection) < events:
            await worker.turn()


async def looked(url: str, rewinds: RewindGuard) -> None:
    """Wait until a new connection of the worker finds the restore confirmed."""
    connect = Connector(url, new_id(), rewinds=rewinds).named("watch")
    async with asyncio.timeout(30):
        while rewinds.reason is not None:
            with suppress(DatabaseRewound):
                (await connect()).terminate()
            await asyncio.sleep(0.05)


async def test_sealing_continues_on_a_promoted_standby_in_one_tree(both: Replicas) -> None:
    await upgrade(both.primary.url)
    await asyncio.to_thread(both.synchronous, on=True)
    async with sealing(both.url) as worker:
        old = await asyncpg.connect(both.primary.url)
        await write(old, 300)
        await turns_until(old, 300, worker)
        note = await old.fetchval("SELECT note FROM audit_checkpoints ORDER BY tree_size DESC LIMIT 1")
        # Committed, and not sealed when the primary is lost.
        await write(old, 5)
        await asyncio.to_thread(both.primary.kill)
        old.terminate()
        await asyncio.to_thread(both.fail_over)
        new = await asyncpg.connect(both.standby.url)
        await turns_until(new, 305, worker)
        # The sealing itself has opened the epoch: nothing else recorded here yet.
        assert await new.fetchval("SELECT last_checkpoint FROM log_epochs WHERE epoch = 2") == note
        await write(new, 400)
        await turns_until(new, 705, worker)
        assert await new.fetchval("SELECT count(DISTINCT epoch) FROM audit_events") == 2
        await check(new)
        await new.close()


async def test_a_confirmed_restore_continues_from_its_state_and_contradicts_later_checkpoints(
    both: Replicas,
) -> None:
    await upgrade(both.primary.url)
    rewinds = RewindGuard()
    async with sealing(both.url, rewinds) as worker:
        old = await asyncpg.connect(both.primary.url)
        await write(old, 300)
        await turns_until(old, 300, worker)
        await write(old)
        # What the standby has once it has this too is a backup of this moment.
        backup = await asyncpg.connect(both.standby.url)
        async with asyncio.timeout(30):
            while await backup.fetchval("SELECT count(*) FROM audit_events") < 301:
                pass
        await backup.close()
        await asyncio.to_thread(both.standby.set, "primary_conninfo", "")
        while await old.fetchval("SELECT count(*) FROM pg_stat_replication"):
            pass
        await write(old, 50)
        await turns_until(old, 351, worker)
        kept = await latest_checkpoint(old)
        assert kept is not None
        await asyncio.to_thread(both.primary.kill)
        old.terminate()
        await asyncio.to_thread(both.standby.promote)
        new = await asyncpg.connect(both.standby.url)
        async with asyncio.timeout(30):
            while rewinds.reason is None:
                await worker.turn()
        assert await size(new) == 300
        await accept_restore(new)
        await looked(both.url, rewinds)
        # With the event of the confirmation.
        await turns_until(new, 302, worker)
        await write(new, 100)
        await turns_until(new, 402, worker)
        await check(new)
        assert root_of((await leaves(new))[: kept.size]) != kept.root
        await new.close()
