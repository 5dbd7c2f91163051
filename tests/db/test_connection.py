"""Connections to the primary: the choice of the host, and valid commits."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from app.db import engine as database
from app.db.connection import NotReplicated, Primary, PrimaryUnavailable, split_hosts
from app.db.engine import CONNECTION_ERRORS, make_engine, plain_url
from app.domain.errors import Unavailable
from app.lib.ids import new_id
from app.worker.database import Connector


def test_each_host_of_a_url_gets_a_url_of_its_own() -> None:
    assert split_hosts("postgresql://u:p@one:1,two/n?x=y") == [
        "postgresql://u:p@one:1/n?x=y",
        "postgresql://u:p@two/n?x=y",
    ]
    assert split_hosts("postgresql://u@/n?host=/a,/b&port=1,2") == [
        "postgresql://u@/n?host=/a&port=1",
        "postgresql://u@/n?host=/b&port=2",
    ]
    with pytest.raises(ValueError, match="one port"):
        split_hosts("postgresql://u@/n?host=/a,/b,/c&port=1,2")
    assert "target_session_attrs=primary" in plain_url("postgres://u@one,two/n")


async def test_a_silent_host_does_not_use_up_the_time_of_the_others(
    database_url: str, tmp_path: Path
) -> None:
    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(
        lambda _reader, writer: silent.append(writer), tmp_path / ".s.PGSQL.5432"
    )
    primary = Primary(database_url.replace("host=", f"host={tmp_path},"))
    for within in (1.0, 0.9):
        connection = await primary.connect(within, {})
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    server.close()
    for writer in silent:
        writer.transport.abort()


async def test_a_commit_that_warns_has_no_answer(database_url: str) -> None:
    """PostgreSQL's answer to a cancelled wait for a standby."""
    connection = await Primary(database_url).connect(5, {})
    with pytest.raises(NotReplicated):
        await connection.execute("DO $$ BEGIN RAISE WARNING 'not replicated'; END $$")
    assert await connection.execute("SELECT 1") == "SELECT 1"
    await connection.close()


async def test_a_database_without_a_connection_left_is_out_of_reach(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    role = f"limited_{new_id().hex}"
    await connection.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0")
    with pytest.raises(PrimaryUnavailable) as raised:
        await Primary(database_url.replace("postgres@", f"{role}@")).connect(5, {})
    assert isinstance(raised.value.__cause__, asyncpg.TooManyConnectionsError)
    await connection.execute(f"DROP ROLE {role}")
    await connection.close()


async def test_a_lane_ends_the_connection_that_it_gave_up(database_url: str) -> None:
    connect = Connector(database_url, new_id()).named("test")
    first = await connect()
    ended = asyncio.Event()
    first.add_termination_listener(lambda _connection: ended.set())
    second = await connect()
    async with asyncio.timeout(50):
        await ended.wait()
    await second.close()


async def test_a_worker_goes_back_to_no_older_epoch(database_url: str) -> None:
    connector = Connector(database_url, new_id())
    newer = await connector.named("newer")()
    await newer.execute("UPDATE log_epochs SET epoch = 2")
    await (await connector.named("test")()).close()
    await newer.execute("UPDATE log_epochs SET epoch = 1")
    with pytest.raises(PrimaryUnavailable):
        await connector.named("test")()
    await newer.close()


async def test_more_callers_than_connections_wait_in_a_queue_that_has_an_end(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"pool-{new_id().hex}"
    engine = make_engine(database_url, pool_size=3, name=name)
    monkeypatch.setattr(database, "MAX_WAITING", 40)
    seen: list[int] = []

    async def ask() -> bool:
        try:
            async with engine.connect() as connection:
                count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name"
                seen.append((await connection.execute(text(count), {"name": name})).scalar_one())
        except (Unavailable, *CONNECTION_ERRORS):
            return False
        return True

    answers = await asyncio.gather(*(ask() for _ in range(500)))
    assert 40 <= sum(answers) < 500
    assert max(seen) <= 3
    await engine.dispose()
