"""``after=`` returns every event once, in commit order, despite late commits and restarted counters."""

import asyncio
import random
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.features.audit import reading
from app.features.audit.epochs import ensure_epoch
from app.lib.ids import EVENT, TOKEN, format_id, new_id
from app.models.audit import AuditEvent

PATH = "/api/v1/audit-events"
Sessions = async_sessionmaker[AsyncSession]


def event(**columns: Any) -> AuditEvent:
    return AuditEvent(**{"id": new_id(), "action": "tool.call", "actor_type": "identity", **columns})


async def commit(sessions: Sessions, **columns: Any) -> UUID:
    async with sessions() as session:
        row = event(**columns)
        session.add(row)
        await session.commit()
    return row.id


async def poll(api: httpx2.AsyncClient, after: str, **params: Any) -> tuple[list[dict[str, Any]], str]:
    answer = await api.get(PATH, params={"after": after, **params})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["items"], body["next_cursor"]


async def drain(
    api: httpx2.AsyncClient, after: str, expected: int, **params: Any
) -> tuple[list[dict[str, Any]], str]:
    """Poll until this many events are returned, and nothing new follows.

    Open transactions of the whole cluster delay a poll, including those of other tests, so this waits for them.
    """
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(50):
        while True:
            items, reached = await poll(api, after, **params)
            found += items
            if reached == after:
                if len(found) >= expected:
                    return found, reached
                await asyncio.sleep(0.05)
            after = reached


def shown(*ids: UUID) -> list[str]:
    return [format_id(EVENT, id) for id in ids]


async def test_a_poll_begins_at_the_start_and_goes_on_where_it_stopped(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    items, start = await poll(api, "")
    assert items == []
    first = [await commit(sessions) for _ in range(5)]
    items, cursor = await drain(api, start, 5, limit=2)
    assert [item["id"] for item in items] == shown(*first)
    second = await commit(sessions)
    items, cursor = await drain(api, cursor, 1)
    assert [item["id"] for item in items] == shown(second)
    assert await poll(api, cursor) == ([], cursor)


async def test_a_transaction_that_commits_late_is_not_skipped(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    async with sessions() as slow:
        late = event()
        slow.add(late)
        await slow.flush()
        early = await commit(sessions)
        items, cursor = await poll(api, "")
        assert items == []
        assert [item["id"] for item in (await api.get(PATH)).json()["items"]] == shown(early)
        await slow.commit()
    items, _ = await drain(api, cursor, 2)
    assert [item["id"] for item in items] == shown(late.id, early)


async def test_a_restored_database_that_counts_from_anew_is_not_skipped(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    """The older epoch has transaction ids far above the current ones, as after a restore."""
    async with sessions() as session:
        await session.execute(text("UPDATE log_epochs SET epoch = 2"))
        await session.execute(
            text("INSERT INTO log_epochs (epoch, system_identifier, timeline) VALUES (1, 1, 1)")
        )
        await session.commit()
    old = await commit(sessions, epoch=1, xact=2**40)
    items, cursor = await drain(api, "", 1)
    assert [item["id"] for item in items] == shown(old)
    new = await commit(sessions)
    items, _ = await drain(api, cursor, 1)
    assert [item["id"] for item in items] == shown(new)
    page = (await api.get(PATH, params={"limit": 1})).json()
    assert [item["id"] for item in page["items"]] == shown(new)
    page = (await api.get(PATH, params={"limit": 1, "cursor": page["next_cursor"]})).json()
    assert [item["id"] for item in page["items"]] == shown(old)
    assert page["next_cursor"] is None


async def test_outcomes_are_items_of_their_own_and_follow_what_their_call_matches(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    token = new_id()
    call = await commit(sessions, decision="allow", worker_id=new_id(), token_id=token)
    other = await commit(sessions, decision="allow", worker_id=new_id(), token_id=new_id())
    denied = await commit(sessions, decision="deny", token_id=token)
    result = await commit(
        sessions, action="tool.result", actor_type="gateway", call_id=call, outcome="error", duration_ms=3
    )
    await commit(sessions, action="tool.result", actor_type="gateway", call_id=other, outcome="success")
    # The outcome of a call that was never written means nothing.
    await commit(
        sessions, action="tool.result", actor_type="gateway", call_id=new_id(), outcome="not_forwarded"
    )

    items, _ = await drain(api, "", 5)
    assert len(items) == 5
    items, _ = await drain(api, "", 3, token_id=format_id(TOKEN, token))
    assert [item["id"] for item in items] == shown(call, denied, result)
    assert [item["outcome"] for item in items] == [None, "denied", "error"]
    assert items[2]["call_id"] == format_id(EVENT, call)
    items, _ = await drain(api, "", 1, token_id=format_id(TOKEN, token), action="tool.result")
    assert [item["id"] for item in items] == shown(result)


async def test_a_rare_filter_still_moves_on_and_finds_what_comes(
    api: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "POLL_WINDOW", 3)
    monkeypatch.setattr(reading, "SEARCH_TIME_S", -1)
    for _ in range(7):
        await commit(sessions)
    rare = await commit(sessions, reason_code="rare")
    items, reached = await poll(api, "", reason_code="rare")
    assert items == []
    items, _ = await drain(api, reached, 1, reason_code="rare")
    assert [item["id"] for item in items] == shown(rare)


async def test_a_rare_filter_is_looked_for_through_several_windows_while_there_is_time(
    api: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "POLL_WINDOW", 1)
    monkeypatch.setattr(reading, "SEARCH_TIME_S", 60.0)
    rare = []
    for _ in range(2):
        for _ in range(4):
            await commit(sessions)
        rare.append(await commit(sessions, reason_code="rare"))
    # Other tests' transactions are over, so that one poll can reach the end.
    await drain(api, "", 10)
    items, _ = await poll(api, "", reason_code="rare")
    assert [item["id"] for item in items] == shown(*rare)
    items, reached = await poll(api, "", reason_code="rare", limit=1)
    assert [item["id"] for item in items] == shown(rare[0])
    assert [item["id"] for item in (await poll(api, reached, reason_code="rare", limit=1))[0]] == shown(
        rare[1]
    )


@pytest.mark.slow
async def test_eight_writers_that_commit_late_or_not_at_all_in_two_epochs_are_followed_without_a_gap(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    """Some hold their transaction open while others commit, and every fifth rolls back."""
    async with sessions() as session:
        await session.execute(text("UPDATE log_epochs SET epoch = 2"))
        older = "INSERT INTO log_epochs (epoch, system_identifier, timeline) VALUES (1, 1, 1)"
        await session.execute(text(older))
        await session.commit()
    written = [await commit(sessions, epoch=1, xact=2**40 + number) for number in range(20)]
    done = asyncio.Event()

    async def write(number: int) -> None:
        chance = random.Random(number)
        for turn in range(25):
            async with sessions() as session:
                rows = [event(reason_code=f"writer-{number}") for _ in range(chance.randint(1, 4))]
                for row in rows:
                    session.add(row)
                    await session.flush()
                    await asyncio.sleep(chance.choice((0, 0, 0.002, 0.02)))
                ids = [row.id for row in rows]
                if turn % 5 == number % 5:
                    await session.rollback()
                    continue
                await session.commit()
            written.extend(ids)

    async def follow(**params: Any) -> list[str]:
        found: list[str] = []
        after = ""
        async with asyncio.timeout(60):
            while True:
                is_over = done.is_set()
                items, reached = await poll(api, after, **params)
                found += [item["id"] for item in items]
                if is_over and reached == after and len(found) >= len(written):
                    return found
                after = reached

    followers = [
        asyncio.create_task(follow(**params)) for params in ({}, {"limit": 1}, {"limit": 7}, {"limit": 200})
    ]
    await asyncio.gather(*(write(number) for number in range(8)))
    done.set()
    async with sessions() as session:
        order = list(await session.scalars(text("SELECT id FROM audit_events ORDER BY epoch, xact, seq")))
    assert sorted(order) == sorted(written)
    for found in await asyncio.gather(*followers):
        assert found == shown(*order)


async def test_the_next_epoch_opens_once_and_keeps_the_last_checkpoint(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await ensure_epoch(connection)
        assert await connection.fetchval("SELECT count(*) FROM log_epochs") == 1
        await connection.execute("UPDATE log_epochs SET timeline = timeline + 1000")
        assert await connection.fetchval("SELECT scopegate_epoch()") is None
        await connection.execute(
            "INSERT INTO audit_checkpoints (tree_size, epoch, last_xact, last_seq, root_hash, note)"
            " VALUES (7, 1, 1, 1, '', 'signed')"
        )
        await ensure_epoch(connection)
        await ensure_epoch(connection)
        assert await connection.fetchval("SELECT scopegate_epoch()") == 2
        rows = await connection.fetch("SELECT epoch, last_checkpoint FROM log_epochs ORDER BY epoch")
        assert [tuple(row) for row in rows] == [(1, None), (2, "signed")]
    finally:
        await connection.close()
