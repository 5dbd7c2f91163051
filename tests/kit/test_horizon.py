"""Somebody who keeps a writing transaction open is noticed, and named."""

import asyncpg

from app.kit.database import make_engine, make_sessions, plain_url
from app.kit.horizon import HOLDER, LogHorizon


def test_only_what_stands_still_with_something_beyond_it_is_held_back() -> None:
    horizon = LogHorizon()
    assert horizon.observe("10", "10", at=0) == 0
    assert horizon.observe("10", "10", at=100) == 0, "an idle database holds nobody back"
    assert horizon.observe("10", "12", at=101) == 0
    assert horizon.observe("10", "15", at=113) == 12
    assert horizon.observe("14", "15", at=114) == 0, "another transaction, another count"


async def test_an_open_writing_transaction_is_seen_and_its_process_named(database_url: str) -> None:
    writer, watcher = [await asyncpg.connect(plain_url(database_url)) for _ in range(2)]
    engine = make_engine(database_url)
    horizon = LogHorizon()
    async with writer.transaction():
        await writer.fetchval("SELECT pg_current_xact_id()")
        async with make_sessions(engine)() as session:
            await horizon.held_back(session)
            assert await horizon.held_back(session) > 0
        holders = [row["pid"] for row in await watcher.fetch(HOLDER.replace("LIMIT 1", ""))]
        assert writer.get_server_pid() in holders
    await engine.dispose()
    await writer.close()
    await watcher.close()
