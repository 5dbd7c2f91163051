"""A pulse beats when there may be something new and only then; streams look at each beat and never for others."""

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.domain.errors import TooManyRequests, Unauthenticated, Unavailable
from app.http import live
from app.http.authorization import Caller, Permission, Role
from app.http.live import Live, Look, News, Pulse, Watch, live_event
from app.http.rate_limits import Slots
from app.lib.ids import new_id
from app.models.audit import AuditEvent
from tests.streams import Answer, listening

Sessions = async_sessionmaker[AsyncSession]
CALLER = Caller("service_account", uuid4(), frozenset({Role.AUDITOR}))


def event() -> AuditEvent:
    return AuditEvent(id=new_id(), action="tool.call", actor_type="identity")


async def commit(sessions: Sessions) -> None:
    async with sessions() as session:
        session.add(event())
        await session.commit()


async def beats_at(pulse: Pulse) -> int:
    """Beats after all recorded events were reported; open transactions of other tests come and go."""
    before = -1
    async with asyncio.timeout(50):
        while pulse.beats != before or pulse._log_state.waiting:
            before = pulse.beats
            await pulse.look()
    return pulse.beats


async def test_it_beats_when_an_event_is_committed_and_not_while_none_is(sessions: Sessions) -> None:
    pulse = Pulse(sessions)
    quiet = await beats_at(pulse)
    await commit(sessions)
    await pulse.look()
    assert pulse.beats == quiet + 1
    settled = await beats_at(pulse)
    async with sessions() as session:
        # A transaction that records nothing.
        await session.execute(text("SELECT pg_current_xact_id()"))
        await session.commit()
    await pulse.look()
    assert pulse.beats == settled


async def test_it_beats_again_when_what_was_begun_before_is_committed(sessions: Sessions) -> None:
    pulse = Pulse(sessions)
    async with sessions() as slower, sessions() as slow:
        # Older, so that what the other one commits cannot be read in order yet.
        await slower.execute(text("SELECT pg_current_xact_id()"))
        slow.add(event())
        await slow.flush()
        before = await beats_at(pulse)
        await slow.commit()
        await pulse.look()
        assert pulse.beats == before + 1


async def test_it_beats_again_when_what_was_committed_can_be_read_in_order(sessions: Sessions) -> None:
    pulse = Pulse(sessions)
    async with sessions() as slow:
        await slow.execute(text("SELECT pg_current_xact_id()"))
        await commit(sessions)
        for _ in range(3):
            await pulse.look()
        before = pulse.beats
        await pulse.look()
        assert pulse.beats == before
        await slow.rollback()
    async with asyncio.timeout(50):
        while pulse._log_state.waiting:
            await pulse.look()
    assert pulse.beats == before + 1


async def test_more_than_can_be_counted_each_second_is_looked_for_at_each_look(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_MAX_SETTLING", 2)
    pulse = Pulse(sessions)
    async with sessions() as slow:
        await slow.execute(text("SELECT pg_current_xact_id()"))
        for _ in range(3):
            await commit(sessions)
        for _ in range(3):
            await pulse.look()
        before = pulse.beats
        await pulse.look()
        assert pulse.beats == before + 1
        await slow.rollback()
    settled = await beats_at(pulse)
    await pulse.look()
    assert pulse.beats == settled


@pytest.fixture
async def pulsing(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    """The streams of a worker whose pulse looks often."""
    monkeypatch.setattr(live, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(live, "_RETRY_S", 0.01)
    found = Live(sessions)
    task = asyncio.create_task(found.pulse.run())
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Door:
    """Authenticates the caller until it is closed, or fails on request."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def __call__(self, request: Any, session: AsyncSession) -> Caller:
        if self.error is not None:
            raise self.error
        return CALLER


def served(streams: Live, look: Look, door: Door | None = None) -> Any:
    """An application that answers everything with one stream."""
    request: Any = SimpleNamespace(state=SimpleNamespace())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answer = streams.stream(Watch(request, CALLER, Permission.AUDIT_READ, door or Door(), look))
        await answer(scope, receive, send)

    return app


def numbers() -> tuple[Look, list[int]]:
    """A look that tells how often it was called, and these numbers."""
    calls: list[int] = []

    async def look(session: AsyncSession, caller: Caller) -> News:
        calls.append(len(calls))
        return News([live_event(calls[-1])])

    return look, calls


async def data_of(stream: Answer) -> Any:
    return json.loads((await stream.event()).data or b"")


async def test_a_stream_looks_at_once_and_then_at_each_beat(pulsing: Live, sessions: Sessions) -> None:
    look, calls = numbers()
    async with listening(served(pulsing, look), "/", {}) as stream:
        assert await data_of(stream) == 0
        await commit(sessions)
        assert await data_of(stream) >= 1
    # A look that began before the stream ended comes to its end.
    while await pulsing.pulse.wait(pulsing.pulse.beats, 0.1):
        pass
    seen = len(calls)
    await commit(sessions)
    assert await pulsing.pulse.wait(pulsing.pulse.beats, 0.1) is False, (
        "no stream is open, so no look happens"
    )
    assert len(calls) == seen


async def test_what_is_last_ends_the_stream(pulsing: Live) -> None:
    async def look(session: AsyncSession, caller: Caller) -> News:
        return News([live_event("<b>green</b>\nnow", name="used")], is_last=True)

    async with listening(served(pulsing, look), "/", {}) as stream:
        used = await stream.event()
        assert (used.event, used.data) == ("used", b"<b>green</b>\nnow")
        await stream.body()
        assert stream.is_whole


async def test_more_is_looked_for_at_once(pulsing: Live) -> None:
    left = [3, 2, 1]

    async def look(session: AsyncSession, caller: Caller) -> News:
        return News([live_event(left.pop(0))], more=bool(left), is_last=not left)

    async with listening(served(pulsing, look), "/", {}) as stream:
        assert [await data_of(stream) for _ in range(3)] == [3, 2, 1]


@pytest.mark.parametrize(
    ("error", "code"), [(Unauthenticated("No."), "unauthenticated"), (KeyError("secret"), "internal_error")]
)
async def test_it_says_why_it_ends_and_no_more(
    pulsing: Live, sessions: Sessions, error: Exception, code: str
) -> None:
    door = Door()
    look, _ = numbers()
    async with listening(served(pulsing, look, door), "/", {}) as stream:
        await stream.event()
        door.error = error
        await commit(sessions)
        ended = await stream.event()
        assert (ended.event, json.loads(ended.data or b"")) == ("ended", {"code": code})
        await stream.body()


@pytest.mark.slow
async def test_a_database_that_is_away_is_waited_for_and_then_not(
    pulsing: Live, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door()
    look, _ = numbers()
    async with listening(served(pulsing, look, door), "/", {}) as stream:
        await stream.event()
        door.error = Unavailable("away")
        await commit(sessions)
        await pulsing.pulse.wait(pulsing.pulse.beats, 1)
        door.error = None
        assert await data_of(stream) >= 1
        monkeypatch.setattr(live, "AWAY_LIMIT_S", 0.05)
        door.error = OSError("away")
        await commit(sessions)
        while (ended := await stream.event()).event != "ended":
            continue
        assert json.loads(ended.data or b"") == {"code": "unavailable"}


async def test_a_look_cannot_write_and_sees_what_was_there_when_its_caller_was_let_in(
    pulsing: Live, sessions: Sessions
) -> None:
    class Late(Door):
        async def __call__(self, request: Any, session: AsyncSession) -> Caller:
            await commit(sessions)
            return CALLER

    async def look(session: AsyncSession, caller: Caller) -> News:
        found = (await session.execute(text("SELECT count(*) FROM audit_events"))).scalar_one()
        try:
            await session.execute(text("DELETE FROM audit_hours"))
        except Exception as error:  # noqa: BLE001
            return News([live_event([found, type(error).__name__])], is_last=True)
        return News([live_event([found, None])], is_last=True)

    async with listening(served(pulsing, look, Late()), "/", {}) as stream:
        found, error = await data_of(stream)
        assert found == 0
        assert error is not None


async def test_a_place_is_free_again_once_its_stream_has_ended(
    pulsing: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulsing, "_streams", Slots("streams", "x", most=1, most_of_caller=1))
    look, _ = numbers()
    for _ in range(2):
        async with listening(served(pulsing, look), "/", {}) as stream:
            await stream.event()
            with pytest.raises(TooManyRequests):
                pulsing._streams.check(CALLER)
    pulsing._streams.check(CALLER)


def test_places_are_counted_for_each_caller_and_for_all() -> None:
    slots = Slots("things", "too_many_things", most=3, most_of_caller=2)
    other = Caller("identity", uuid4(), frozenset())
    with slots.held(CALLER), slots.held(CALLER):
        with pytest.raises(TooManyRequests) as refused, slots.held(CALLER):
            pass
        assert (refused.value.code, "You have" in refused.value.detail) == ("too_many_things", True)
        with slots.held(other), pytest.raises(TooManyRequests) as refused, slots.held(other):
            pass
        assert "This service has" in refused.value.detail
    slots.check(CALLER)
    assert not slots._taken
