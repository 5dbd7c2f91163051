"""Notifications of decided approvals, with a real database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.admission import shared_state
from app.admission.shared_state import SharedState
from app.models.access import Approval
from app.models.identities import Identity

Sessions = async_sessionmaker[AsyncSession]
TOKEN = uuid4()


@asynccontextmanager
async def working(sessions: Sessions) -> AsyncIterator[SharedState]:
    news = SharedState(sessions)
    running = asyncio.create_task(news.run())
    try:
        async with asyncio.timeout(50):
            yield news
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def made(
    sessions: Sessions, *states: str, left: timedelta = timedelta(hours=1), status: str = "active"
) -> list[UUID]:
    async with sessions() as session:
        person = Identity(kind="person", user_name=f"person-{uuid4().hex}", status=status)
        session.add(person)
        await session.flush()
        expires_at = datetime.now(UTC) + left
        rows = [
            Approval(kind="call", state=state, identity_id=person.id, token_id=TOKEN, expires_at=expires_at)
            for state in states
        ]
        session.add_all(rows)
        await session.commit()
        return [row.id for row in rows]


async def decide(sessions: Sessions, id: UUID) -> None:
    async with sessions() as session:
        await session.execute(text("UPDATE approvals SET state = 'approved' WHERE id = :id"), {"id": id})
        await session.commit()


async def test_a_wait_ends_when_all_are_decided_or_one_is_denied(sessions: Sessions) -> None:
    pending, approved, denied, cancelled, consumed = await made(
        sessions, "pending", "approved", "denied", "cancelled", "consumed"
    )
    (expired,) = await made(sessions, "pending", left=-timedelta(seconds=1))
    (stopped,) = await made(sessions, "pending", status="suspended")
    async with working(sessions) as news:
        waiting = [
            asyncio.create_task(news.wait_for_approvals(ids))
            for ids in ([pending], [approved, pending], [pending])
        ]
        waiting.pop().cancel()
        over: tuple[list[UUID], ...] = (
            [approved],
            [denied, pending],
            [cancelled],
            [consumed],
            [expired, pending],
            [stopped],
            [uuid4()],
            [],
        )
        await asyncio.gather(*(news.wait_for_approvals(ids) for ids in over))
        assert not any(task.done() for task in waiting)
        await decide(sessions, pending)
        news.receive_approval(pending.hex)
        await asyncio.gather(*waiting)


class Hearing:
    """Clients of a worker, in place of a gateway."""

    def __init__(self) -> None:
        self.has_approval_listeners = True
        self.announced: asyncio.Queue[tuple[UUID, UUID]] = asyncio.Queue()

    def announce_approval(self, *decided: UUID) -> None:
        self.announced.put_nowait(decided)  # type: ignore[arg-type]


async def test_listening_clients_are_notified_of_decisions_on_calls_with_their_token(
    sessions: Sessions,
) -> None:
    first, second = await made(sessions, "approved", "denied")
    hearing = Hearing()
    async with working(sessions) as news:
        news.worker = hearing  # type: ignore[assignment]
        news.receive_approval(uuid4().hex)
        hearing.has_approval_listeners = False
        news.receive_approval(first.hex)
        hearing.has_approval_listeners = True
        news.receive_approval(second.hex)
        assert await hearing.announced.get() == (second, TOKEN)
        assert hearing.announced.empty()


async def test_a_decision_without_a_notification_is_found(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_state, "LOOK_EVERY_S", 0.05)
    pending, approved = await made(sessions, "pending", "approved")
    async with working(sessions) as news:
        waiting = asyncio.create_task(news.wait_for_approvals([pending]))
        await news.wait_for_approvals([approved])
        assert not waiting.done()
        await decide(sessions, pending)
        await waiting
