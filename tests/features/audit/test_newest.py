"""Pages from the newest event: bounded in time, complete, and without repeats."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.audit import queries
from app.features.audit import reading as newest
from app.features.audit.queries import NamedIds
from app.features.audit.schemas import AuditQuery
from tests.features.audit.test_counting import count_all
from tests.features.audit.test_polling import PATH, Sessions, commit, shown

NOW = datetime.now(UTC)


def times(since: timedelta, until: timedelta = -timedelta(days=1)) -> dict[str, str]:
    return {"since": (NOW - since).isoformat(), "until": (NOW - until).isoformat()}


async def pages(api: httpx2.AsyncClient, **params: Any) -> list[list[str]]:
    """The ids on each page, to the last."""
    found: list[list[str]] = []
    while True:
        answer = (await api.get(PATH, params=params)).json()
        found.append([item["id"] for item in answer["items"]])
        if answer["next_cursor"] is None:
            return found
        params["cursor"] = answer["next_cursor"]


async def two_epochs(sessions: Sessions) -> None:
    async with sessions() as session:
        await session.execute(text("UPDATE log_epochs SET epoch = 2"))
        older = "INSERT INTO log_epochs (epoch, system_identifier, timeline) VALUES (1, 1, 1)"
        await session.execute(text(older))
        await session.commit()


async def test_a_page_that_takes_too_long_is_given_as_it_is_and_the_next_goes_on(
    api: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "FIRST_WINDOW", 2)
    monkeypatch.setattr(newest, "_MAX_LIST_WINDOW", 2)
    await two_epochs(sessions)
    rare = []
    for number in range(12):
        older = {"epoch": 1, "xact": 2**40 + number} if number < 6 else {}
        event = await commit(sessions, **older, **({"trace_id": "rare"} if number % 5 == 0 else {}))
        if number % 5 == 0:
            rare.append(event)
    params = {"trace_id": "rare", **times(timedelta(days=1))}
    monkeypatch.setattr(newest, "SEARCH_TIME_S", 60.0)
    whole = await pages(api, **params)
    assert whole == [shown(*reversed(rare))]
    assert await pages(api, limit=1, **params) == [[id] for id in whole[0]]
    monkeypatch.setattr(newest, "SEARCH_TIME_S", -1)
    hurried = await pages(api, **params)
    assert [id for page in hurried for id in page] == whole[0]
    # Six windows of two events, and a check for more in either epoch.
    assert 6 <= len(hurried) <= 8
    assert [] in hurried


async def test_what_an_index_serves_is_one_page_however_rare_it_is(
    api: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "FIRST_WINDOW", 1)
    monkeypatch.setattr(newest, "SEARCH_TIME_S", -1)
    await two_epochs(sessions)
    first = await commit(sessions, epoch=1, xact=2**40, request_id="r", trace_id="t")
    for _ in range(3):
        await commit(sessions, trace_id="t")
    last = await commit(sessions, request_id="r", trace_id="t")
    assert await pages(api, request_id="r", trace_id="t") == [shown(last, first)]
    assert await pages(api, request_id="r", limit=1) == [shown(last), shown(first)]


async def test_a_list_of_a_span_of_time_walks_through_nothing_that_is_outside(
    api: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = timedelta(days=1)
    places: list[tuple[queries.Place, queries.Place]] = []
    original = queries.between

    def noting(epoch: int, first: queries.Place | None, before: queries.Place | None) -> Any:
        places.append((first or (0, 0), before or (2**62, 0)))
        return original(epoch, first, before)

    await commit(sessions, time=NOW - 9 * day, trace_id="t")
    inside = [await commit(sessions, time=NOW - 5 * day, trace_id="t") for _ in range(3)]
    await commit(sessions, time=NOW - 2 * day, trace_id="t")
    await count_all(sessions)
    monkeypatch.setattr(queries, "between", noting)
    for params in ({}, {"trace_id": "t"}, {"limit": 2}):
        found = await pages(api, **params, **times(6 * day, 4 * day))
        assert [id for page in found for id in page] == shown(*reversed(inside))
    async with sessions() as session:
        counted = await place_of_last(session)
    assert places
    for first, before in places:
        # Either inside, or not counted yet.
        assert first > counted or before <= counted
    late = await commit(sessions, time=NOW - 5 * day)
    assert (await pages(api, **times(6 * day, 4 * day)))[0] == shown(late, *reversed(inside))


async def place_of_last(session: AsyncSession) -> queries.Place:
    row = (
        await session.execute(text("SELECT xact, seq FROM audit_events ORDER BY xact DESC, seq DESC LIMIT 1"))
    ).one()
    return (row.xact, row.seq)


@pytest.mark.parametrize(
    ("filters", "bitmaps"),
    [
        ({"decision": ["deny"], "actor_id": ["idn_01h455vb4pex5vsknk084sn02q"]}, "off"),
        ({"decision": ["deny"], "actor_id": ["idn_01h455vb4pex5vsknk084sn02q"], "request_id": ["x"]}, "on"),
        ({"decision": ["allow"], "actor_id": ["idn_01h455vb4pex5vsknk084sn02q"]}, "on"),
        ({"decision": ["deny"]}, "on"),
    ],
)
async def test_what_was_refused_of_somebody_is_walked_in_one_index_and_not_read_whole_in_two(
    sessions: Sessions, filters: dict[str, Any], bitmaps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL assumes independence; for a person with many refusals it read 25,000 rows for a page."""
    await commit(sessions)
    setting = text("SHOW enable_bitmapscan")
    monkeypatch.setattr(queries, "select_newest", lambda *_: setting)
    async with sessions() as session:
        rows, _ = await newest.find(session, AuditQuery(**filters), NamedIds(), None)
        assert [row[0] for row in rows] == [bitmaps]
        # The rest of the transaction, and the next one on the connection, run other queries.
        assert await session.scalar(setting) == "on"
