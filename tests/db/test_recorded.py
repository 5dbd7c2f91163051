"""The triggers of the test database detect changes without audit events."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.lib.ids import new_id
from tests.recorded import RECORDED, SERVICE

ACCOUNT = (
    "INSERT INTO service_accounts (id, name, owner_id, role) "
    "SELECT $1, 'a', id, 'auditor' FROM identities LIMIT 1"
)
OWNER = "INSERT INTO identities (id, kind, user_name, display_name) VALUES ($1, 'person', 'ada', 'Ada')"
EVENT = (
    "INSERT INTO audit_events (id, action, actor_type, object_type, object_id) "
    "VALUES (gen_random_uuid(), 'service_account.update', 'system', 'service_account', $1)"
)
VERSION = (
    "INSERT INTO object_versions (object_id, version, kind, content) VALUES ($1, $2, 'role_assignment', '{}')"
)
RENAME = "UPDATE service_accounts SET name = 'other', revision = revision + 1 WHERE id = $1"
PROMOTE = "UPDATE service_accounts SET role = 'owner', revision = revision + 1 WHERE id = $1"


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the service's application name, to a database that accepts events."""
    connection = await asyncpg.connect(database_url, server_settings={"application_name": SERVICE})
    await connection.execute(
        "INSERT INTO log_epochs (epoch, system_identifier, timeline) SELECT 1, system_identifier, "
        "(pg_control_checkpoint()).timeline_id FROM pg_control_system() ON CONFLICT DO NOTHING"
    )
    yield connection
    await connection.close()


@pytest.fixture
async def account_id(service: asyncpg.Connection, database_url: str) -> UUID:
    """The id of a correctly recorded service account."""
    id = new_id()
    other = await asyncpg.connect(database_url)
    await other.execute(OWNER, new_id())
    await other.close()
    await written(service, (ACCOUNT, id), (EVENT, id), (VERSION, id, 1))
    return id


async def written(service: asyncpg.Connection, *statements: tuple[Any, ...]) -> None:
    """Run statements in one transaction."""
    async with service.transaction():
        for statement, *arguments in statements:
            await service.execute(statement, *arguments)


async def test_a_change_without_an_event_is_refused(service: asyncpg.Connection, account_id: UUID) -> None:
    with pytest.raises(asyncpg.PostgresError, match=r"UPDATE of service_accounts .* without an audit event"):
        await written(service, (RENAME, account_id))
    with pytest.raises(asyncpg.PostgresError, match=r"UPDATE of service_accounts .* without an audit event"):
        await written(service, (RENAME, account_id), (EVENT, new_id()))
    with pytest.raises(asyncpg.PostgresError, match=r"INSERT of service_accounts .* without an audit event"):
        await written(service, (ACCOUNT, new_id()))
    await written(service, (RENAME, account_id), (EVENT, account_id))


async def test_a_change_of_what_versions_hold_needs_a_version(
    service: asyncpg.Connection, account_id: UUID
) -> None:
    with pytest.raises(asyncpg.PostgresError, match=r"UPDATE of service_accounts .* without a version"):
        await written(service, (PROMOTE, account_id), (EVENT, account_id))
    await written(service, (PROMOTE, account_id), (EVENT, account_id), (VERSION, account_id, 2))


async def test_bookkeeping_and_the_tests_themselves_are_free(
    service: asyncpg.Connection, account_id: UUID, database_url: str
) -> None:
    await written(service, ("UPDATE service_accounts SET status = 'disabled' WHERE id = $1", account_id))
    other = await asyncpg.connect(database_url)
    await other.execute(RENAME, account_id)
    await other.close()


async def test_each_table_and_column_is_there(service: asyncpg.Connection) -> None:
    columns: dict[str, set[str]] = {}
    for row in await service.fetch("SELECT table_name, column_name FROM information_schema.columns"):
        columns.setdefault(row["table_name"], set()).add(row["column_name"])
    for one in RECORDED:
        assert {"id", *one.kept} <= columns[one.table], one.table
