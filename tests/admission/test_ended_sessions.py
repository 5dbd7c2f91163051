"""The end of a session is kept as long as its token could let a call in, and then deleted."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from app.admission.shared_state import forget_ended_sessions
from app.admission.usage import CallUses
from app.db.clock import DatabaseClock
from app.lib.ids import new_id
from tests.admission.world import Connection, call_row, decision, make_world, writer_on
from tests.features.principals import Sessions

SESSIONS = "SELECT session_id FROM ended_sessions"
VERSIONS = "SELECT id FROM access_versions WHERE id = ANY($1)"
ISSUE = """
INSERT INTO tokens (id, identity_id, name, scope, expires_at, revoked_at)
SELECT $1, $2, 'laptop', '{"kind": "grants"}', now() + $3::text::interval, now() + $4::text::interval
"""


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def end_session(connection: Connection, token: UUID) -> UUID:
    """End a session as its client does. Returns its id."""
    id = new_id()
    await connection.execute("INSERT INTO ended_sessions (session_id, token_id) VALUES ($1, $2)", id, token)
    await connection.execute("INSERT INTO access_versions (id, version) VALUES ($1, 1)", id)
    return id


@pytest.mark.parametrize(
    ("expires", "revoked", "is_forgotten"),
    [
        ("1 day", None, False),
        ("-30 days", None, False),
        ("1 day", "-30 days", False),
        ("-32 days", None, True),
        ("1 day", "-32 days", True),
        ("-1 day", "-32 days", True),
    ],
)
async def test_the_end_of_a_session_is_forgotten_when_its_token_is_long_over(
    database_url: str, connection: Connection, expires: str, revoked: str | None, is_forgotten: bool
) -> None:
    world, token = await make_world(connection), new_id()
    await connection.execute(ISSUE, token, world.person, expires, revoked)
    await connection.execute("INSERT INTO access_versions (id, version) VALUES ($1, 2)", token)
    ended = [await end_session(connection, token) for _ in range(5)]
    living = await end_session(connection, world.token)
    gone = await forget_ended_sessions(database_url, at_once=2)
    assert gone == (5 if is_forgotten else 0)
    left = {living} if is_forgotten else {living, *ended}
    assert {row["session_id"] for row in await connection.fetch(SESSIONS)} == left
    versions = {row["id"] for row in await connection.fetch(VERSIONS, [*ended, living, token])}
    # The token's version stays.
    assert versions == {*left, token}


async def test_noting_uses_leaves_the_end_of_a_session_to_be_forgotten_with_its_version(
    sessions: Sessions, connection: Connection
) -> None:
    world, token = await make_world(connection), new_id()
    await connection.execute(ISSUE, token, world.person, "-1 hour", None)
    session = await end_session(connection, token)
    uses = CallUses(sessions, DatabaseClock())
    uses.note_token(world.token)
    await uses.flush()
    assert [row["session_id"] for row in await connection.fetch(SESSIONS)] == [session]


async def test_no_call_comes_in_by_a_session_whose_end_is_forgotten(
    database_url: str, connection: Connection
) -> None:
    """Decided by a replica that knows of neither end."""
    world = await make_world(connection)
    session = await end_session(connection, world.token)
    decided = await decision(connection, world, "get_time")
    decided = replace(decided, depends_on=(*decided.depends_on, (session, 0)))
    async with writer_on(database_url) as writer:
        assert not await writer.write(call_row(world, decided))
        await connection.execute(
            "UPDATE tokens SET revoked_at = now() - interval '32 days' WHERE id = $1", world.token
        )
        await connection.execute("UPDATE access_versions SET version = 2 WHERE id = $1", world.token)
        assert await forget_ended_sessions(database_url) == 1
        assert not await writer.write(call_row(world, decided))
