"""A connection that tests share keeps no state between them."""

import asyncio

import asyncpg
import pytest
from pydantic import SecretStr

from app.db.connection import Primary
from app.main import create_app
from app.settings import Settings
from tests import kept_connections
from tests.api import KEY

_PURPOSE = {"application_name": "scopegate-kept", "statement_timeout": "7000"}


async def _connect(url: str, **settings: str) -> asyncpg.Connection:
    return await Primary(url).connect(10, _PURPOSE | settings)


async def test_the_next_connection_with_the_same_settings_takes_over_a_session_that_is_as_new(
    database_url: str,
) -> None:
    first = await _connect(database_url, application_name="scopegate-kept-0123456789ab")
    pid = first.get_server_pid()
    heard: list[object] = []
    await first.add_listener("kept", lambda *_: heard.append(_))
    await first.execute(
        "CREATE TEMPORARY TABLE mine (a int); SET statement_timeout = 60000; SET ROLE pg_monitor"
    )
    statement = await first.prepare("SELECT 1")
    await first.execute("RESET ROLE; SELECT pg_advisory_lock(1); BEGIN; DELETE FROM compatibility")
    await first.close()
    assert first.is_closed()
    with pytest.raises(asyncpg.InterfaceError):
        await first.fetch("SELECT 1")
    with pytest.raises(asyncpg.InterfaceError):
        await statement.fetch()
    assert kept_connections.idle_backends(database_url).count(pid) == 1

    second = await _connect(database_url, application_name="scopegate-kept-ba9876543210")
    assert second.get_server_pid() == pid
    assert pid not in kept_connections.idle_backends(database_url)
    assert (
        await second.fetchval("SELECT current_setting('application_name')") == "scopegate-kept-ba9876543210"
    )
    assert await second.fetchval("SELECT current_setting('statement_timeout')") == "7s"
    assert await second.fetchval("SELECT to_regclass('mine') IS NULL AND current_user = session_user")
    assert (
        await second.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = $1", pid)
        == 0
    )
    assert (
        await second.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT 1'") == 0
    )
    assert await second.fetchval("SELECT count(*) FROM compatibility") == 1
    await second.execute("NOTIFY kept")
    assert heard == []
    await second.close()


async def test_one_with_other_settings_or_that_was_terminated_or_lost_is_not_taken_over(
    database_url: str,
) -> None:
    first = await _connect(database_url)
    pid = first.get_server_pid()
    await first.close()
    other = await _connect(database_url, statement_timeout="8000")
    terminated = other.get_server_pid()
    assert terminated != pid
    other.terminate()
    assert terminated not in kept_connections.idle_backends(database_url)
    connection = await asyncpg.connect(database_url)
    await connection.execute("SELECT pg_terminate_backend($1, 60000)", pid)
    assert pid in kept_connections.idle_backends(database_url)
    second = await _connect(database_url)
    assert second.get_server_pid() != pid
    assert await second.fetchval("SELECT 1") == 1
    assert pid not in kept_connections.idle_backends(database_url)
    second.terminate()
    await connection.close()


async def _listener_of_an_application(url: str) -> int:
    """The server process of the connection that listens, of an application that is stopped again."""
    key = SecretStr(KEY)
    app = create_app(
        Settings(database_url=SecretStr(url), token_pepper=key, encryption_key=key, signing_key=key)
    )
    connection = await asyncpg.connect(url)
    async with asyncio.timeout(50), app.api.router.lifespan_context(app.api):
        while not (  # noqa: ASYNC110  nothing tells of it
            pid := await connection.fetchval(
                "SELECT pid FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name LIKE 'scopegate-watch-%'"
            )
        ):
            await asyncio.sleep(0.01)
    await connection.close()
    return int(pid)


async def test_an_application_that_stops_closes_its_listener_in_order(database_url: str) -> None:
    pid = await _listener_of_an_application(database_url)
    assert pid in kept_connections.idle_backends(database_url)
    assert await _listener_of_an_application(database_url) == pid
