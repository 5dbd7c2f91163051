"""A stream or a download tells all that was found, each thing once, whenever its connection to the database ends."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from fastapi import Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.http import live
from app.http.authorization import Caller, Permission, Role
from app.http.live import Live, Look, News, Watch, live_event

Sessions = async_sessionmaker[AsyncSession]
CALLER = Caller("service_account", uuid4(), frozenset({Role.AUDITOR}))
TIMES = 3


def cut_off_after_each(sessions: Sessions) -> Look:
    """A look that goes on after what it found before, and whose connection ends right after it."""
    found = 0

    async def look(session: AsyncSession, _caller: Caller) -> News:
        nonlocal found
        found += 1
        backend = await session.scalar(text("SELECT pg_backend_pid()"))
        async with sessions() as other:
            await other.execute(text("SELECT pg_terminate_backend(:backend, 5000)"), {"backend": backend})
        return News([live_event(found)], more=True, is_last=found == TIMES)

    return look


async def let_in(request: Request, session: AsyncSession) -> Caller:
    return CALLER


@pytest.mark.parametrize("whole", [True, False], ids=["download", "stream"])
async def test_what_was_found_is_told_though_the_connection_ended_as_it_was_given_back(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setattr(live, "_RETRY_S", 0.01)
    request: Any = SimpleNamespace(state=SimpleNamespace())
    streams, look = Live(sessions), cut_off_after_each(sessions)
    watch = Watch(request, CALLER, Permission.AUDIT_READ, let_in, look)
    answer = streams.download(watch, {}) if whole else streams.stream(watch)
    sent = b"".join([part async for part in parts_of(answer.body_iterator)])
    assert sent.count(b"data: ") == TIMES
    assert b"".join(live_event(number) for number in range(1, TIMES + 1)) in sent


async def parts_of(body: Any) -> AsyncIterator[bytes]:
    async for part in body:
        yield part
