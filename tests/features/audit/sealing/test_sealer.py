"""One worker seals at a time, another takes over when it is gone, and obstacles are reported."""

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.signed_notes import NoteSigner
from app.db.engine import make_engine, make_sessions
from app.features.audit.sealing import sealer
from app.features.audit.sealing.sealer import Sealing, rename_log
from app.features.audit.sealing.verifying import verify_log
from tests.database import needs_lock_timeouts
from tests.features.audit.sealing.sealed import KEY, SIGNER, check, size, write

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
Sessions = async_sessionmaker[AsyncSession]
BREAK = "UPDATE audit_events SET tool = 'another' WHERE tool = 'tool 1'"
REPAIR = "UPDATE audit_events SET tool = 'tool 1' WHERE tool = 'another'"


class Workers:
    """Creates the sealing tasks of workers, each with a named session."""

    def __init__(self, url: str, sessions: Sessions) -> None:
        self._url = url
        self._sessions = sessions
        self.made: list[Sealing] = []

    def __call__(self, name: str, signer: NoteSigner = SIGNER) -> Sealing:
        async def connect() -> "Connection":
            return await asyncpg.connect(self._url, server_settings={"application_name": name})

        self.made.append(Sealing(connect, self._sessions, signer))
        return self.made[-1]


@pytest.fixture
async def worker(database_url: str) -> AsyncIterator[Workers]:
    engine = make_engine(database_url)
    workers = Workers(database_url, make_sessions(engine))
    yield workers
    for each in workers.made:
        each._drop()
    await engine.dispose()


async def turns_until(connection: "Connection", events: int, *workers: Sealing) -> None:
    """Run a turn of each repeatedly, until this many events are sealed."""
    async with asyncio.timeout(50):
        while await size(connection) < events:
            for each in workers:
                await each.turn()


async def tamper(connection: "Connection", change: str) -> None:
    """Change data as an attacker with superuser rights would."""
    await connection.execute(
        f"SET session_replication_role = replica; {change}; SET session_replication_role = origin"
    )


async def sessions_called(connection: "Connection", name: str) -> list[int]:
    rows = await connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1", name
    )
    return [row["pid"] for row in rows]


async def gone(connection: "Connection", name: str) -> None:
    """Wait until a session has ended."""
    async with asyncio.timeout(50):
        while pids := await sessions_called(connection, name):
            for pid in pids:
                await connection.execute("SELECT pg_terminate_backend($1)", pid)


async def test_one_worker_seals_and_another_takes_over_when_its_session_ends(
    connection: "Connection", worker: Workers
) -> None:
    first, second = worker("first"), worker("second")
    await write(connection)
    await turns_until(connection, 1, first)
    await write(connection)
    await turns_until(connection, 2, second, first)
    assert await sessions_called(connection, "second") == []
    await gone(connection, "first")
    await write(connection)
    await turns_until(connection, 3, second)
    assert await sessions_called(connection, "second") != []
    # The first worker has lost only its lock.
    await gone(connection, "second")
    await write(connection)
    await turns_until(connection, 4, second, first)
    await check(connection)


@needs_lock_timeouts
async def test_a_worker_that_is_stopped_does_not_keep_the_others_from_sealing(
    connection: "Connection", worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealer, "_SESSION", sealer._SESSION.replace("'15s'", "'500ms'"))
    stopped, other = worker("stopped"), worker("other")
    await write(connection)
    await turns_until(connection, 1, stopped)
    await write(connection)
    await turns_until(connection, 2, other)
    await check(connection)


async def test_sealing_goes_on_by_itself_after_its_connection_was_cut(
    connection: "Connection", worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealer, "SEAL_EVERY_S", 0.01)
    running = asyncio.create_task(worker("loop").run())
    async with asyncio.timeout(50):
        for events in range(1, 4):
            await write(connection)
            while await size(connection) < events:
                pass
            await gone(connection, "loop")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await check(connection)


async def test_a_log_that_was_tampered_with_stops_the_sealing_aloud_until_it_is_as_it_was(
    connection: "Connection",
    worker: Workers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await write(connection, 2)
    await turns_until(connection, 2, worker("before"))
    await gone(connection, "before")
    await tamper(connection, BREAK)
    await write(connection)
    found = worker("found")
    assert found.warnings() == []
    with caplog.at_level(logging.CRITICAL):
        for _ in range(3):
            # Checked again after a while, and logged once.
            found._not_before = 0.0
            await found.turn()
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert "sealing of the audit log has stopped" in caplog.text
    assert "2 events" in caplog.text
    assert ["sealing of the audit log has stopped" in warning for warning in found.warnings()] == [True]
    assert await size(connection) == 2
    await tamper(connection, REPAIR)
    # The next check is not due yet.
    found._not_before = math.inf
    await found.turn()
    assert found.warnings() != []
    found._not_before = 0.0
    await turns_until(connection, 3, found)
    assert found.warnings() == []


async def test_a_worker_with_a_wrong_key_leaves_the_sealing_to_others(
    connection: "Connection", worker: Workers
) -> None:
    await write(connection)
    await turns_until(connection, 1, worker("right"))
    await gone(connection, "right")
    wrong = worker("wrong", NoteSigner([KEY[::-1]], SIGNER.name))
    await wrong.turn()
    assert "not ours" in wrong.warnings()[0]
    right = worker("right")
    await write(connection)
    await turns_until(connection, 2, wrong, right)
    await wrong.turn()
    assert wrong.warnings() == []
    await check(connection)


async def test_a_replica_that_would_give_the_log_another_name_says_so_and_does_not_seal(
    connection: "Connection", worker: Workers
) -> None:
    other = NoteSigner([KEY], "127.0.0.1:8081/audit")
    await write(connection)
    await turns_until(connection, 1, worker("one"))
    await gone(connection, "one")
    await write(connection)
    stranger = worker("other", other)
    for _ in range(2):
        await stranger.turn()
    assert await size(connection) == 1
    [said] = stranger.warnings()
    assert said.startswith(f"the audit log is called {SIGNER.name}, ")
    assert "127.0.0.1:8081/audit" in said
    assert "scopegate audit rename" in said
    agreeing = worker("two")
    await turns_until(connection, 2, stranger, agreeing)
    assert await rename_log(connection, other.name) == SIGNER.name
    assert await rename_log(connection, other.name) is None
    # The renaming itself is an event.
    await turns_until(connection, 3, agreeing, stranger)
    assert (stranger.warnings(), len(agreeing.warnings())) == ([], 1)
    notes = await connection.fetch("SELECT note FROM audit_checkpoints ORDER BY tree_size")
    origins = [row["note"].partition("\n")[0] for row in notes]
    assert origins[:2] == [SIGNER.name] * 2
    assert origins[-1] == other.name
    assert (await verify_log(connection, SIGNER.verifier_keys, ())).is_intact
    renamed = await connection.fetchval("SELECT changes FROM audit_events WHERE action = 'audit.rename_log'")
    assert json.loads(renamed) == {"name": {"from": SIGNER.name, "to": other.name}}


async def test_every_worker_says_when_the_sealing_is_behind(
    connection: "Connection", worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealer, "BEHIND_S", 0.0)
    waiting = worker("waiting")
    await connection.execute("SELECT pg_advisory_lock($1)", sealer._LOCK)
    await write(connection)
    async with asyncio.timeout(50):
        while not waiting.warnings():
            await waiting.turn()
    assert "behind" in waiting.warnings()[0]
    assert await size(connection) == 0
    await connection.execute("SELECT pg_advisory_unlock($1)", sealer._LOCK)
    await turns_until(connection, 1, waiting)
    assert waiting.warnings() == []
