"""A change is written completely with its commit, or not at all."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.db import rows
from app.db.change import Change, Subject, savepoint
from app.db.engine import commit, make_engine, make_sessions, undo
from app.db.webhook_events import WebhookEvent
from app.domain.caller import Caller, Role
from app.lib.ids import GROUP, format_id, new_id
from app.models.access import Grant
from app.models.identities import Group

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
CALLER = Caller("administrator", new_id(), frozenset({Role.OWNER}), new_id())
GRANT = Subject(
    "grant",
    audited=("tools", "expires_at"),
    personal=("reason",),
    history="grant",
    kept=("group_id", "expires_at", "reason"),
    webhook=("group_id",),
    shown={"tools": lambda tools: tools["kind"]},
)
PLAIN = Subject("group", audited=("name",))


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(database_url, pool_size=2, name="test")
    yield engine
    await engine.dispose()


@pytest.fixture
async def session(engine: AsyncEngine, database_url: str) -> AsyncIterator[AsyncSession]:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO log_epochs (epoch, system_identifier, timeline) SELECT 1, system_identifier, "
        "(pg_control_checkpoint()).timeline_id FROM pg_control_system() ON CONFLICT DO NOTHING"
    )
    await connection.close()
    async with make_sessions(engine)() as session:
        yield session


async def made(session: AsyncSession, **fields: Any) -> Grant:
    """Create a grant to a new group in the session's transaction."""
    group = Group(name=str(new_id()))
    session.add(group)
    await session.flush()
    grant = Grant(
        group_id=group.id,
        servers={"kind": "all"},
        tools={"kind": "all"},
        resources=True,
        prompts=True,
        **fields,
    )
    session.add(grant)
    await session.flush()
    return grant


def begin(session: AsyncSession) -> Change:
    return Change(session, CALLER, "request-1", NOW)


async def found(session: AsyncSession, query: str) -> list[dict[str, Any]]:
    result = await session.execute(text(query))
    return [dict(row) for row in result.mappings()]


EVENTS = "SELECT id, action, object_id, changes, request_id, actor_id, token_id FROM audit_events ORDER BY xact, seq"
VERSIONS = (
    "SELECT object_id, version, content, valid_to IS NULL AS current FROM object_versions ORDER BY version"
)
# Without the versions that the migrations created.
MOVED = (
    "SELECT id, version FROM access_versions WHERE id > '00000000-ffff-0000-0000-000000000000' ORDER BY id"
)


async def test_a_new_row_has_an_event_a_version_and_a_moved_access_version(session: AsyncSession) -> None:
    grant = await made(session, expires_at=NOW, reason="Ada is on call")
    token_id = new_id()
    id = begin(session).record(
        "grant.create", GRANT, None, grant, details={"why": NOW}, widens=[grant.id], token_id=token_id
    )
    assert await found(session, EVENTS) == [], "it is only collected"
    await commit(session)
    [said] = await found(session, EVENTS)
    assert said == {
        "id": id, "action": "grant.create", "object_id": grant.id, "request_id": "request-1",
        "actor_id": CALLER.id, "token_id": token_id,
        "changes": {
            "tools": {"from": None, "to": "all"},
            "expires_at": {"from": None, "to": "2026-01-05T09:00:00+00:00"},
            "reason": {"personal": True},
            "why": "2026-01-05T09:00:00+00:00",
        },
    }  # fmt: skip
    content = {
        "group_id": str(grant.group_id),
        "expires_at": "2026-01-05T09:00:00+00:00",
        "reason": "Ada is on call",
    }
    assert await found(session, VERSIONS) == [
        {"object_id": grant.id, "version": 1, "content": content, "current": True}
    ]
    assert await found(session, MOVED) == [{"id": grant.id, "version": 1}]


async def test_a_change_says_what_differs_and_an_end_closes_the_history(session: AsyncSession) -> None:
    grant = await made(session, reason="as before")
    begin(session).record("grant.create", GRANT, None, grant)
    await commit(session)
    before = GRANT.values(grant)
    grant.expires_at = NOW
    begin(session).record("grant.update", GRANT, before, grant)
    await commit(session)
    begin(session).record("grant.touch", GRANT, grant, grant)
    await commit(session)
    begin(session).record("grant.end", GRANT, grant, None)
    await commit(session)
    said = {row["action"]: row["changes"] for row in await found(session, EVENTS)}
    assert said["grant.update"] == {"expires_at": {"from": None, "to": NOW.isoformat()}}
    assert (said["grant.touch"], said["grant.end"]) == (None, None)
    kept = [(row["version"], row["current"]) for row in await found(session, VERSIONS)]
    assert kept == [(1, False), (2, False)], "what keeps its content keeps its version"


async def test_a_message_names_the_ids_that_the_subject_lists(session: AsyncSession) -> None:
    await session.execute(
        text("INSERT INTO webhooks (id, name, url, events) VALUES (:id, 'w', 'https://w', '{grant.ended}')"),
        {"id": new_id()},
    )
    first, second = await made(session), await made(session)
    change = begin(session)
    id = change.record("group.end", PLAIN, Group(id=new_id(), name="x"), None)
    for grant in (first, second):
        change.record_with(id, GRANT, grant, None, narrows=[grant.id], webhook=WebhookEvent.GRANT_ENDED)
    await commit(session)
    told = [row["data"] for row in await found(session, "SELECT data FROM webhook_deliveries ORDER BY id")]
    groups = [format_id(GROUP, grant.group_id) for grant in (first, second) if grant.group_id]
    assert sorted(one["group_id"] for one in told) == sorted(groups)
    assert [set(one) for one in told] == [{"grant_id", "group_id", "event_id"}] * 2
    assert {one["event_id"] for one in told} == {format_id("evt", id)}


async def test_four_statements_write_any_number_of_changes(
    session: AsyncSession, engine: AsyncEngine
) -> None:
    grants = [await made(session) for _ in range(3)]
    statements: list[str] = []
    event.listen(
        engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _k, statement, *_: statements.append(statement),
    )
    change = begin(session)
    for grant in grants:
        change.record(
            "grant.create", GRANT, None, grant, widens=[grant.id], webhook=WebhookEvent.GRANT_CREATED
        )
    await commit(session)
    written = [statement.partition("INSERT INTO ")[2].split()[0] for statement in statements]
    assert written == ["audit_events", "object_versions", "webhook_deliveries", "access_versions"]
    assert [row["id"] for row in await found(session, MOVED)] == sorted(grant.id for grant in grants)


async def test_events_keep_the_order_in_which_they_were_recorded(session: AsyncSession) -> None:
    grant = await made(session)
    change = begin(session)
    ids: list[UUID] = [
        change.record("grant.create", GRANT, None, grant),
        change.record("grant.update", GRANT, grant, grant, server_id=new_id()),
        change.record("grant.end", GRANT, grant, None),
    ]
    await commit(session)
    assert [row["id"] for row in await found(session, EVENTS)] == ids
    versions = [(row["version"], row["current"]) for row in await found(session, VERSIONS)]
    assert versions == [(1, False)], (
        "what ends in the transaction that made it has a version without duration"
    )


async def test_what_a_savepoint_undoes_is_not_recorded(session: AsyncSession) -> None:
    grant = await made(session)
    change = begin(session)
    change.record("grant.create", GRANT, None, grant)
    with suppress(ZeroDivisionError):
        async with savepoint(session):
            change.record("grant.end", GRANT, grant, None, narrows=[grant.id])
            raise ZeroDivisionError
    async with savepoint(session):
        change.record("grant.update", GRANT, grant, grant)
    await commit(session)
    assert [row["action"] for row in await found(session, EVENTS)] == ["grant.create", "grant.update"]
    assert await found(session, MOVED) == []


async def test_what_is_undone_is_not_recorded(session: AsyncSession) -> None:
    begin(session).record("grant.create", GRANT, None, await made(session))
    await undo(session)
    await commit(session)
    assert await found(session, EVENTS) == []


async def test_a_commit_that_would_lose_an_event_is_refused(session: AsyncSession) -> None:
    begin(session).record("grant.create", GRANT, None, await made(session))
    with pytest.raises(RuntimeError, match="audit events"):
        await session.commit()
    await undo(session)
    assert await found(session, "SELECT id FROM grants") == []


async def test_a_change_of_no_row_is_refused(session: AsyncSession) -> None:
    with pytest.raises(ValueError, match="row"):
        begin(session).record("grant.create", GRANT)


@pytest.mark.parametrize(
    ("mine", "theirs", "waits"),
    [
        (rows.Lock.SHARE, "FOR SHARE", False),
        (rows.Lock.SHARE, "FOR NO KEY UPDATE", True),
        (rows.Lock.NO_KEY_UPDATE, "FOR KEY SHARE", False),
        (rows.Lock.NO_KEY_UPDATE, "FOR SHARE", True),
        (rows.Lock.UPDATE, "FOR KEY SHARE", True),
    ],
)
async def test_a_lock_keeps_others_out_until_the_transaction_ends(
    session: AsyncSession, database_url: str, mine: rows.Lock, theirs: str, waits: bool
) -> None:
    grant = await made(session)
    await session.commit()
    assert await rows.lock(session, Grant, grant.id, mine) is grant
    assert await rows.lock(session, Grant, new_id(), mine) is None
    other = await asyncpg.connect(database_url)
    try:
        locked = await other.fetch(f"SELECT id FROM grants {theirs} SKIP LOCKED")
        assert bool(locked) is not waits
    finally:
        await other.close()
    await session.rollback()
