"""What is in flight is cut when its grounds go, and when the worker is blind."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from app.domain.access import Decision
from app.features.access import in_flight
from app.features.access.clockwork import DatabaseClock
from app.features.access.in_flight import InFlightTable
from app.kit.ids import new_id
from app.kit.versions import CHANNEL
from tests.features.access.world import Connection, decision, make_world


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def table_on(url: str) -> InFlightTable:
    async def connect() -> Connection:
        return await asyncpg.connect(url)

    return InFlightTable(connect, DatabaseClock(), new_id(), lambda ids: None)


async def test_a_call_is_cut_when_its_token_is_revoked_and_told(
    database_url: str, connection: Connection
) -> None:
    world = await make_world(connection)
    table, cut = table_on(database_url), asyncio.Event()

    async def again() -> Decision:
        return await decision(connection, world, "get_time")

    running = asyncio.create_task(table.run())
    table.enter(new_id(), await again(), again, cut.set)
    async with connection.transaction():
        await connection.execute("UPDATE tokens SET revoked_at = now() WHERE id = $1", world.token)
        await connection.execute(
            "UPDATE access_versions SET version = version + 1 WHERE id = $1", world.token
        )
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, f'["{world.token.hex}"]')
    async with asyncio.timeout(2):
        await cut.wait()
    assert len(table) == 0
    table.close()
    await running


async def test_a_call_is_cut_without_any_notification(database_url: str, connection: Connection) -> None:
    world = await make_world(connection)
    table, cut = table_on(database_url), []

    async def again() -> Decision:
        return await decision(connection, world, "get_time")

    table.enter(new_id(), await again(), again, lambda: cut.append(True))
    await table._check()
    assert not cut
    await connection.execute("UPDATE grants SET ended_at = now() WHERE id = $1", world.grant)
    await connection.execute("UPDATE access_versions SET version = version + 1 WHERE id = $1", world.grant)
    await table._check()
    assert cut == [True]
    assert len(table) == 0
    table._drop()


async def test_a_call_that_is_still_allowed_runs_on_under_its_new_grounds(
    database_url: str, connection: Connection
) -> None:
    world = await make_world(connection)
    table, cut = table_on(database_url), []
    asked = 0

    async def again() -> Decision:
        nonlocal asked
        asked += 1
        return await decision(connection, world, "get_time")

    table.enter(new_id(), await again(), again, lambda: cut.append(True))
    await connection.execute("UPDATE access_versions SET version = version + 1 WHERE id = $1", world.server)
    await table._check()
    await table._check()
    assert not cut
    assert asked == 2
    table._drop()


async def test_a_worker_that_cannot_look_for_too_long_ends_what_it_has(
    monkeypatch: pytest.MonkeyPatch, connection: Connection
) -> None:
    world = await make_world(connection)

    async def refused() -> Connection:
        raise ConnectionRefusedError

    monkeypatch.setattr(in_flight, "BLIND_AFTER_S", 0.0)
    table, cut = InFlightTable(refused, DatabaseClock(), new_id(), lambda ids: None), asyncio.Event()

    async def again() -> Decision:
        raise AssertionError("nothing can be read")

    table.enter(new_id(), await decision(connection, world, "get_time"), again, cut.set)
    table._last_good = time.monotonic() - 1
    running = asyncio.create_task(table.run())
    async with asyncio.timeout(2):
        await cut.wait()
    table.close()
    await running


async def test_a_call_is_cut_when_its_session_was_ended(database_url: str, connection: Connection) -> None:
    world = await make_world(connection)
    table, cut, session_id = table_on(database_url), asyncio.Event(), new_id()

    async def again() -> Decision:
        decided = await decision(connection, world, "get_time")
        return replace(decided, rests_on=(*decided.rests_on, (session_id, 0)))

    table.enter(new_id(), await again(), again, cut.set)
    await table._check()
    assert not cut.is_set()
    await connection.execute("INSERT INTO access_versions (id, version) VALUES ($1, 1)", session_id)
    await table._check()
    assert cut.is_set()
    table._drop()
