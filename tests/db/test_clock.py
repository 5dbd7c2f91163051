"""The time of a transaction is read once, and is that of its own transaction."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db.change import Change
from app.db.clock import current_time, keep_transaction_time, transaction_time
from app.domain.caller import Caller

Sessions = async_sessionmaker[AsyncSession]


@pytest.fixture
def sent(sessions: Sessions) -> list[str]:
    """The statements that are sent."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)

    event.listen(sessions.kw["bind"].sync_engine, "before_cursor_execute", note)
    return statements


async def test_a_transaction_has_one_time_that_costs_one_statement(
    sessions: Sessions, sent: list[str]
) -> None:
    async with sessions() as session:
        now = await transaction_time(session)
        assert (await Change.begin(session, Caller.system())).now == now
        assert len(sent) == 1
        assert await session.scalar(select(func.now())) == now
        assert await current_time(session) > now


async def test_a_time_that_came_with_another_statement_costs_none(
    sessions: Sessions, sent: list[str]
) -> None:
    known = datetime(2026, 1, 1, tzinfo=UTC)
    async with sessions() as session:
        await session.scalar(select(1))
        keep_transaction_time(session, known)
        assert await transaction_time(session) == known
        assert len(sent) == 1


async def test_the_next_transaction_of_a_session_has_its_own_time(sessions: Sessions) -> None:
    async with sessions() as session:
        first = await transaction_time(session)
        await session.commit()
        second = await transaction_time(session)
        async with session.begin_nested():
            assert await transaction_time(session) == second
        await session.rollback()
        assert first < second < await transaction_time(session)
