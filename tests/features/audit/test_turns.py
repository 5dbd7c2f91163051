"""Reading much of the log yields to other work on the worker."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar, cast

import pytest
from sqlalchemy.event import listen, remove
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.features.audit import reading
from app.features.audit import reading as export
from app.features.audit import reading as following
from app.features.audit.schemas import AuditExportQuery
from app.http.pagination import Cursors
from app.lib import event_loop as slices
from app.lib.ids import new_id
from app.models.audit import AuditEvent
from tests.settling import settled

_MANY, _FEW = 300, 10
Result = TypeVar("Result")


class Row(NamedTuple):
    """A row of a query."""

    event: AuditEvent
    client: None = None
    outcome: str | None = None
    duration_ms: int | None = None


class NoNames:
    """A session without names."""

    async def execute(self, *_arguments: object) -> list[Any]:
        return []


SESSION = cast("AsyncSession", NoNames())


def rows() -> list[Row]:
    columns: dict[str, Any] = {"time": datetime.now(UTC), "event_count": 1, "action": "tool.call"}
    return [Row(AuditEvent(id=new_id(), actor_type="system", **columns)) for _ in range(_MANY)]


async def turns_during(work: Awaitable[Result]) -> tuple[int, Result]:
    """Count how often other tasks ran in between."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    try:
        result = await work
    finally:
        counting.cancel()
    return turns, result


async def test_making_many_events_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    turns, views = await turns_during(reading._show(SESSION, rows()))
    assert len(views) == _MANY
    assert turns >= _MANY


@pytest.mark.parametrize("form", ["ndjson", "csv", "ocsf"])
async def test_writing_a_page_of_an_export_lets_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    views = await reading._show(SESSION, rows())

    async def found(*_arguments: object) -> reading.EventBatch:
        return reading.EventBatch([(view, (1, 1, 1)) for view in views], (1, 1, 1))

    monkeypatch.setattr(export, "read_on", found)
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    look = export.export(AuditExportQuery.model_validate({"format": form}), (1, 1, 1))
    turns, news = await turns_during(look(SESSION, cast("Any", None)))
    assert b"".join(news.events).count(b"\n") == _MANY + (form == "csv")
    assert turns >= _MANY / 10


async def test_telling_of_many_events_at_once_lets_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    views = await reading._show(SESSION, rows())

    async def found(*_arguments: object) -> reading.EventBatch:
        return reading.EventBatch([(view, (1, 1, 1)) for view in views], (1, 1, 1))

    monkeypatch.setattr(following, "read_on", found)
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    cursors = Cursors(b"k" * 32, "stream", {})
    look = following.follow(AuditExportQuery(), cursors, (0, 0, 0))
    turns, news = await turns_during(look(SESSION, cast("Any", None)))
    assert len(news.events) == _MANY
    assert turns >= _MANY


async def test_events_that_are_read_are_made_a_few_at_a_time(
    sessions: async_sessionmaker[AsyncSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [row.event for row in rows()]
    async with sessions() as session:
        session.add_all(made)
        await session.commit()
    await settled(sessions)
    monkeypatch.setattr(reading, "_MADE_AT_ONCE", _FEW)
    turn, at_turn = 0, list[int]()

    async def others() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def loaded(*_arguments: object) -> None:
        at_turn.append(turn)

    listen(AuditEvent, "load", loaded)
    counting = asyncio.create_task(others())
    try:
        async with sessions() as session:
            stretch = await reading.read_on(session, AuditExportQuery(), reading.BEGINNING, _MANY)
    finally:
        counting.cancel()
        remove(AuditEvent, "load", loaded)
    assert [view.id for view, _ in stretch.items] == [event.id for event in made]
    assert max(Counter(at_turn).values()) <= _FEW
