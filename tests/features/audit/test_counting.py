"""Each event is counted in its hour exactly once, by any worker at any time, and the counts are current."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.features.audit import stats
from app.features.audit import stats as rollup
from app.features.audit.stats import HourCounts, forget_hours
from app.lib.ids import new_id
from app.models.audit import AuditEvent
from tests.api import ApiAs

PATH = "/api/v1/audit-events/stats"
Sessions = async_sessionmaker[AsyncSession]
NOW = datetime.now(UTC)
HOUR = NOW.replace(minute=0, second=0, microsecond=0)


def event(**columns: Any) -> AuditEvent:
    return AuditEvent(**{"id": new_id(), "action": "tool.call", "actor_type": "identity", **columns})


async def commit(sessions: Sessions, *events: AuditEvent) -> None:
    async with sessions() as session:
        session.add_all(events)
        await session.commit()


async def counted(api: httpx2.AsyncClient, **params: Any) -> dict[str, Any]:
    answer = await api.get(PATH, params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def count_all(sessions: Sessions) -> None:
    """Count until nothing is left; open transactions of other tests' databases delay it."""
    counts = HourCounts(sessions)
    async with asyncio.timeout(50):
        while await left(sessions):
            if not await counts.count():
                await asyncio.sleep(0.02)


async def left(sessions: Sessions) -> int:
    """The number of events that are not counted yet."""
    async with sessions() as session:
        query = (
            "SELECT (SELECT count(*) FROM audit_events) - (SELECT coalesce(sum(events), 0) FROM audit_hours)"
        )
        return int((await session.execute(text(query))).scalar_one())


async def test_counts_are_of_the_moment_before_and_after_they_are_rolled_up(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    # The hour may change during the test: all recent events are in this one, and the query covers the day.
    now = datetime.now(UTC)
    day = {"since": (now - timedelta(hours=23)).isoformat(), "until": (now + timedelta(hours=1)).isoformat()}
    await commit(
        sessions,
        event(decision="allow", time=now),
        event(decision="deny", time=now),
        event(decision="deny", action="token.refused", event_count=40, time=now),
        event(decision="require_approval", time=now),
        event(action="token.issue", time=now),
        event(action="tool.result", outcome="success", time=now),
        event(decision="allow", time=now - timedelta(hours=3)),
        event(decision="allow", time=now - timedelta(days=3)),
    )
    before = await counted(api, **day)
    assert before["total"] == {"events": 6, "count": 45, "allow": 2, "deny": 41, "require_approval": 1}
    assert before["is_complete"]
    await count_all(sessions)
    assert await counted(api, **day) == before
    await commit(sessions, event(decision="deny"))
    assert (await counted(api, **day))["total"]["deny"] == 42
    assert [hour["events"] for hour in before["hours"] if hour["events"]] == [1, 5]


async def test_decisions_that_there_are_not_are_counted_as_events_alone(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    odd = [event(decision=decision) for decision in ("perhaps", "events", "count", "")]
    await commit(sessions, event(decision="deny"), *odd)
    expected = {"events": 5, "count": 5, "allow": 0, "deny": 1, "require_approval": 0}
    assert (await counted(api))["total"] == expected
    await count_all(sessions)
    assert (await counted(api))["total"] == expected


async def test_every_hour_between_is_told_and_filters_narrow_what_is_counted(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    await commit(sessions, event(decision="deny"), event(decision="allow"), event(action="token.issue"))
    await count_all(sessions)
    since, until = HOUR - timedelta(hours=2, minutes=-30), HOUR + timedelta(minutes=1)
    found = await counted(api, since=since.isoformat(), until=until.isoformat())
    hours = [datetime.fromisoformat(hour["hour"]) for hour in found["hours"]]
    assert hours == [HOUR - timedelta(hours=2), HOUR - timedelta(hours=1), HOUR]
    assert datetime.fromisoformat(found["until"]) == HOUR + timedelta(hours=1)
    assert (await counted(api, action="token.issue"))["total"]["events"] == 1
    assert (await counted(api, action=["token.issue", "tool.call"]))["total"]["events"] == 3
    assert (await counted(api, decision="deny"))["total"]["events"] == 1
    assert (await counted(api, decision="deny", action="token.issue"))["total"]["events"] == 0


async def test_workers_that_count_at_once_count_nothing_twice(sessions: Sessions) -> None:
    for _ in range(6):
        await commit(sessions, event(), event())
    workers = [HourCounts(sessions) for _ in range(4)]
    async with asyncio.timeout(50):
        while await left(sessions):
            await asyncio.gather(*(worker.count() for worker in workers))
    async with sessions() as session:
        rows = (await session.execute(text("SELECT events, things FROM audit_hours"))).all()
    assert [tuple(row) for row in rows] == [(12, 12)]


async def test_what_commits_late_is_counted_too(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    async with sessions() as slow:
        slow.add(event(decision="deny"))
        await slow.flush()
        await commit(sessions, event(decision="deny"))
        await HourCounts(sessions).round()
        assert (await counted(api))["total"]["deny"] == 1
        await slow.commit()
    await count_all(sessions)
    assert (await counted(api))["total"]["deny"] == 2


async def test_counting_goes_on_in_the_next_epoch(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    async with sessions() as session:
        await session.execute(text("UPDATE log_epochs SET epoch = 2"))
        await session.execute(
            text("INSERT INTO log_epochs (epoch, system_identifier, timeline) VALUES (1, 1, 1)")
        )
        await session.commit()
    await commit(sessions, event(epoch=1, xact=2**40), event())
    assert (await counted(api))["total"]["events"] == 2
    await count_all(sessions)
    await commit(sessions, event())
    assert (await counted(api))["total"]["events"] == 3
    await count_all(sessions)
    assert (await counted(api))["total"]["events"] == 3


async def test_a_lot_is_counted_in_parts_and_an_answer_says_when_it_is_not_all(
    api: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "AT_ONCE", 2)
    monkeypatch.setattr(stats, "TAIL", 3)
    await commit(sessions, *(event() for _ in range(7)))
    before = await counted(api)
    assert (before["is_complete"], before["total"]["events"]) == (False, 3)
    await count_all(sessions)
    after = await counted(api)
    assert (after["is_complete"], after["total"]["events"]) == (True, 7)


async def test_counts_of_months_that_are_dropped_are_forgotten(sessions: Sessions, database_url: str) -> None:
    await commit(sessions, event(), event())
    await count_all(sessions)
    keep, now = timedelta(days=400), datetime.now(UTC)
    assert await forget_hours(database_url, keep=keep, now=now + keep) == 0
    assert await forget_hours(database_url, keep=keep, now=now + keep + timedelta(days=31)) == 1


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"since": (NOW - timedelta(days=33)).isoformat()}, 400),
        ({"since": NOW.isoformat(), "until": (NOW - timedelta(hours=1)).isoformat()}, 422),
        ({"since": (NOW + timedelta(hours=2)).isoformat()}, 400),
        ({"decision": "maybe"}, 422),
        ({"actor_id": "x"}, 422),
        ({"since": "0001-01-01T00:00:01Z"}, 400),
        ({"until": "0001-01-01T00:00:01Z"}, 400),
        ({"since": "2001-01-01T00:00:00Z", "until": "9999-12-31T23:59:58Z"}, 400),
        ({"until": "9999-12-31T23:59:58Z"}, 200),
    ],
)
async def test_what_cannot_be_counted_is_refused(
    api: httpx2.AsyncClient, params: dict[str, Any], status: int
) -> None:
    answer = await api.get(PATH, params=params)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(("role", "status"), [("auditor", 200), ("issuer", 403)])
async def test_only_those_who_may_audit_see_counts(api_as: ApiAs, role: str, status: int) -> None:
    assert (await (await api_as(role)).get(PATH)).status_code == status
