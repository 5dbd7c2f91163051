"""The database protects the audit log from changes: any by the service's role, accidental ones by others."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest

from app.db.engine import plain_url
from app.db.migrations import upgrade
from app.db.partitions import MONTHS_AHEAD, maintain_partitions

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
WRITES = {
    "audit_events": "INSERT INTO audit_events (id, action, actor_type) VALUES (gen_random_uuid(), 'x', 'system')",
    "audit_checkpoints": (
        "INSERT INTO audit_checkpoints (tree_size, epoch, last_xact, last_seq, root_hash, note) "
        "VALUES (1, 1, 1, 1, '', '')"
    ),
    "accepted_restores": "INSERT INTO accepted_restores (id, epoch) VALUES (gen_random_uuid(), 1)",
    "audit_clients": "INSERT INTO audit_clients (id, ip) VALUES (gen_random_uuid(), '192.0.2.7')",
    "log_names": "INSERT INTO log_names (id, name) VALUES (gen_random_uuid(), 'a')",
    "audit_tiles": "INSERT INTO audit_tiles VALUES (0, 0, decode(repeat('00', 8192), 'hex'))",
}
MONTHS = (
    "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
    "WHERE inhparent = 'audit_events'::regclass ORDER BY 1"
)
RIGHTS = ["INSERT", "SELECT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
COLUMN = {
    "accepted_restores": "epoch",
    "audit_checkpoints": "note",
    "audit_clients": "ip",
    "audit_tiles": "hashes",
    "log_names": "name",
}
ERASABLE = "audit_clients"
"""The owner deletes rows after the retention, or to erase a person."""


async def tables(connection: "Connection") -> list[str]:
    return [*WRITES, *(row["name"] for row in await connection.fetch(MONTHS))]


def changes(table: str) -> list[str]:
    column = COLUMN.get(table, "action")
    return [f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}", f"TRUNCATE {table}"]


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator["Connection"]:
    connection = await asyncpg.connect(plain_url(database_url))
    yield connection
    await connection.close()


@pytest.fixture
async def serving(owner: "Connection", database_url: str) -> AsyncIterator["Connection"]:
    """A connection with the serving role, where it differs from the owner."""
    role = f"serving_{uuid4().hex}"
    await owner.execute(f'CREATE ROLE "{role}" LOGIN')
    await upgrade(database_url, serving_role=role)
    connection = await asyncpg.connect(plain_url(database_url))
    await connection.execute(f'SET ROLE "{role}"')
    yield connection
    await connection.close()
    await owner.execute(f'DROP OWNED BY "{role}"')
    await owner.execute(f'DROP ROLE "{role}"')


async def refused(connection: "Connection", statement: str) -> None:
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return
    pytest.fail(f"not refused: {statement}")


async def test_the_serving_role_may_append_to_the_trail_and_read_it_and_has_no_other_right(
    serving: "Connection",
) -> None:
    for table, write in WRITES.items():
        await serving.execute(write)
        assert await serving.fetchval(f"SELECT count(*) FROM {table}") == 1
    rights = "SELECT r FROM unnest($2::text[]) AS r WHERE has_table_privilege($1, r)"
    for table in await tables(serving):
        # Triggers would reject some of these too, as long as they exist.
        has = [row["r"] for row in await serving.fetch(rights, table, RIGHTS)]
        # The role can set every column of an event except its position.
        whole = ["SELECT"] if table == "audit_events" else ["INSERT", "SELECT"]
        assert has == (whole if table in WRITES else [])


async def test_the_serving_role_does_not_say_where_an_event_stands(serving: "Connection") -> None:
    for column in ("xact", "seq"):
        forged = f"INSERT INTO audit_events (id, action, actor_type, {column})"
        await refused(serving, f"{forged} VALUES (gen_random_uuid(), 'x', 'system', 1)")


async def test_the_serving_role_may_in_no_way_change_the_trail(serving: "Connection") -> None:
    for write in WRITES.values():
        await serving.execute(write)
    for table in await tables(serving):
        for change in changes(table):
            await refused(serving, change)
        for statement in (
            f"DROP TABLE {table}",
            f"ALTER TABLE {table} DISABLE TRIGGER ALL",
            f"ALTER TABLE {table} DISABLE TRIGGER USER",
            f"ALTER TABLE {table} OWNER TO CURRENT_USER",
            f"CREATE TRIGGER mine BEFORE INSERT ON {table} EXECUTE FUNCTION scopegate_refuse_change()",
            f"CREATE RULE mine AS ON INSERT TO {table} DO INSTEAD NOTHING",
        ):
            await refused(serving, statement)


async def test_the_serving_role_may_not_take_away_what_keeps_the_trail(serving: "Connection") -> None:
    months = (await tables(serving))[len(WRITES) :]
    for statement in (
        "SET session_replication_role = replica",
        "DROP TRIGGER audit_events_append_only ON audit_events",
        "DROP FUNCTION scopegate_refuse_change() CASCADE",
        "CREATE OR REPLACE FUNCTION scopegate_refuse_change() RETURNS trigger LANGUAGE sql AS 'SELECT NULL'",
        "CREATE OR REPLACE FUNCTION scopegate_epoch() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "SELECT setval('audit_events_seq', 1)",
        "UPDATE log_epochs SET epoch = 7",
        f"ALTER TABLE audit_events DETACH PARTITION {months[0]}",
        "CREATE TABLE mine (id int)",
        *(f"INSERT INTO {month} SELECT * FROM audit_events" for month in months),
    ):
        await refused(serving, statement)


async def test_not_even_the_owner_changes_the_trail_unawares(owner: "Connection", database_url: str) -> None:
    later = datetime.now(UTC) + timedelta(days=200)
    made = await maintain_partitions(database_url, keep=timedelta(days=400), now=later)
    assert len(made.made) == 2 * (MONTHS_AHEAD + 1)
    for write in WRITES.values():
        await owner.execute(write)
    for table in await tables(owner):
        if table in WRITES or await owner.fetchval(f"SELECT count(*) FROM {table}"):
            for change in changes(table):
                if (table, change.split()[0]) != (ERASABLE, "DELETE"):
                    await refused(owner, change)
        await refused(owner, f"TRUNCATE {table}")
