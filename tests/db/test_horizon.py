"""A long-running write transaction is detected and named."""

import asyncio
from contextlib import AsyncExitStack
from time import monotonic

import asyncpg

from app.db.engine import plain_url
from app.http.readiness import HOLDER, LogHorizon, Readiness


def test_only_what_stands_still_with_something_beyond_it_is_held_back() -> None:
    horizon = LogHorizon()
    assert horizon.observe("10", "10", at=0) == 0
    assert horizon.observe("10", "10", at=100) == 0, "an idle database holds nobody back"
    assert horizon.observe("10", "12", at=101) == 0
    assert horizon.observe("10", "15", at=113) == 12
    assert horizon.observe("14", "15", at=114) == 0, "another transaction, another count"


async def test_an_open_writing_transaction_is_seen_and_its_process_named(database_url: str) -> None:
    horizon = LogHorizon()
    async with AsyncExitStack() as stack:
        writer, watcher = [await asyncpg.connect(plain_url(database_url)) for _ in range(2)]
        stack.push_async_callback(writer.close)
        stack.push_async_callback(watcher.close)
        readiness = Readiness(database_url, ())
        stack.callback(readiness.close)
        async with writer.transaction():
            await writer.fetchval("SELECT pg_current_xact_id()")
            # Only what came after it, and has ended, is held back.
            await watcher.fetchval("SELECT pg_current_xact_id()")
            # Other tests write in the same cluster: their transactions can be older and end, ours stays.
            async with asyncio.timeout(50):
                found = await readiness.look()
                while horizon.observe(found["oldest"], found["next"], monotonic()) == 0:
                    found = await readiness.look()
            holders = [row["pid"] for row in await watcher.fetch(HOLDER.replace("LIMIT 1", ""))]
            assert writer.get_server_pid() in holders
