"""Every test has a migrated database to itself."""

import asyncpg
import pytest


@pytest.mark.parametrize("turn", [1, 2])
async def test_a_test_sees_nothing_of_another(database_url: str, turn: int) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("CREATE TABLE mine (turn int)")
        await connection.execute("INSERT INTO mine VALUES ($1)", turn)
        assert await connection.fetchval("SELECT count(*) FROM mine") == 1
        assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
    finally:
        await connection.close()


async def test_an_empty_database_holds_no_tables(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    finally:
        await connection.close()
