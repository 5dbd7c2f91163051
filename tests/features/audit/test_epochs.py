"""An epoch of the log is current only while it is the newest, on the system and timeline that opened it."""

import asyncpg
import pytest

from app.features.audit.epochs import ensure_epoch
from app.features.audit.sealing.sealer import rename_log
from app.lib.ids import new_id
from app.worker.database import Connector
from tests.features.audit.sealing.sealed import check, insert, seal, size, write

ELSEWHERE = "INSERT INTO log_epochs (epoch, system_identifier, timeline) VALUES (2, 1, 1)"


async def test_an_epoch_that_others_followed_is_not_used_again(database_url: str) -> None:
    """As after a dump that was restored elsewhere, used there, and brought back."""
    connection = await asyncpg.connect(database_url)
    try:
        await write(connection, 3)
        await seal(connection, 3)
        await connection.execute(ELSEWHERE)
        await insert(connection, epoch=2, xact=5)
        assert await connection.fetchval("SELECT scopegate_epoch()") is None
        assert await ensure_epoch(connection) == 3
        assert await ensure_epoch(connection) == 3
        await write(connection, 3)
        newest = "SELECT epoch, count(*) FROM audit_events GROUP BY 1 ORDER BY 1"
        assert [tuple(row) for row in await connection.fetch(newest)] == [(1, 3), (2, 1), (3, 3)]
        await seal(connection, 7)
        await check(connection)
    finally:
        await connection.close()


async def test_nothing_is_recorded_before_the_next_epoch_is_open(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(ELSEWHERE)
        with pytest.raises(asyncpg.NotNullViolationError, match='"epoch"'):
            await write(connection)
        assert await size(connection) == 0
        opened = await Connector(database_url, new_id()).named("test")()
        await write(connection)
        await opened.close()
        assert await connection.fetchval("SELECT max(epoch) FROM audit_events") == 3
    finally:
        await connection.close()


async def test_the_log_of_a_database_that_was_just_moved_can_be_renamed(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(ELSEWHERE)
        assert await rename_log(connection, "new.example.com/audit") == ""
        epoch = "SELECT epoch FROM audit_events WHERE action = 'audit.rename_log'"
        assert await connection.fetchval(epoch) == 3
    finally:
        await connection.close()


async def test_events_of_a_copy_that_went_further_are_of_an_epoch_that_is_over(database_url: str) -> None:
    """A copied data directory has the same system and timeline, but its own transaction ids from then on."""
    connection = await asyncpg.connect(database_url)
    try:
        await write(connection, 2)
        await insert(connection, xact=2**40)
        assert await ensure_epoch(connection) == 2
        await write(connection, 2)
        await seal(connection, 5)
        await check(connection)
        assert await ensure_epoch(connection) == 2
    finally:
        await connection.close()
