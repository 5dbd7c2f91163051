"""Database reads of a call other than its admission time out while the database is silent."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.access.reading import Fleet, consistent, read_fleet
from app.access.snapshot import AccessSnapshot
from app.admission.shared_state import SharedState
from app.admission.store import StoreUnavailable
from app.crypto.keys import Peppers
from app.db.clock import DatabaseClock
from app.db.engine import make_engine, make_sessions
from app.lib.ids import new_id
from tests.admission.world import KEY, World, make_world
from tests.faults.database_proxy import Fault, database_proxy

ANSWER_WITHIN_S = 2.0
Sessions = async_sessionmaker[AsyncSession]
UNUSED: Any = None


@asynccontextmanager
async def silent(database_url: str, fault: Fault) -> AsyncIterator[Sessions]:
    """Sessions that a database does not answer any more, which it did a moment ago."""
    async with database_proxy(database_url) as proxy:
        engine = make_engine(proxy.url, pool_size=1)
        sessions = make_sessions(engine)
        async with sessions() as session:
            await session.execute(text("SELECT 1"))
        await proxy.begin(fault)
        yield sessions
        await proxy.end()
        await engine.dispose()


async def world_of(database_url: str) -> tuple[World, Fleet]:
    connection = await asyncpg.connect(database_url)
    try:
        world = await make_world(connection)
        async with consistent(connection):
            return world, (await read_fleet(connection, None)).build()
    finally:
        await connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault.HOLD, Fault.BLACKHOLE])
@pytest.mark.parametrize("idle_s", [0.0, 60.0], ids=["used just now", "idle before"])
async def test_target_reads_time_out_with_a_silent_database(
    database_url: str, monkeypatch: pytest.MonkeyPatch, fault: Fault, idle_s: float
) -> None:
    world, fleet = await world_of(database_url)
    async with silent(database_url, fault) as sessions:
        monkeypatch.setattr("app.db.engine.monotonic", lambda: monotonic() + idle_s)
        snapshot = AccessSnapshot(UNUSED, sessions, Peppers([KEY]), UNUSED, UNUSED, DatabaseClock())
        asked_at = monotonic()
        with pytest.raises(StoreUnavailable):
            await snapshot.target(fleet.servers[world.server], world.person)
        assert monotonic() - asked_at < ANSWER_WITHIN_S


ASKED: dict[str, Callable[[Sessions], Awaitable[object]]] = {
    "whether a session has ended": lambda sessions: SharedState(sessions).has_session_ended(new_id()),
    "to end a session": lambda sessions: SharedState(sessions).end_session(new_id(), new_id()),
    "what a session asked for": lambda sessions: SharedState(sessions).read_session_settings(new_id()),
    "to note what it asks for": lambda sessions: SharedState(sessions).change_session_settings(
        new_id(), new_id(), lambda notes: notes
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_session_reads_time_out_with_a_silent_database(
    database_url: str, asked: Callable[[Sessions], Awaitable[object]]
) -> None:
    async with silent(database_url, Fault.BLACKHOLE) as sessions:
        asked_at = monotonic()
        with pytest.raises(StoreUnavailable):
            await asked(sessions)
        assert monotonic() - asked_at < ANSWER_WITHIN_S
