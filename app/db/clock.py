"""The database's clock. Only it decides what has begun or ended, since the clocks of workers differ."""

import time
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.lib.clock import boot_time

_TRANSACTION_TIME = "transaction_time"


async def transaction_time(session: AsyncSession) -> datetime:
    """The start of the transaction: PostgreSQL's ``now()``, from which most columns have their default.

    It costs a statement at most once per transaction, and none after ``keep_transaction_time``.
    """
    transaction, now = session.info.get(_TRANSACTION_TIME, (None, None))
    if now is None or transaction is not session.sync_session.get_transaction():
        now = (await session.execute(select(func.now()))).scalar_one()
        keep_transaction_time(session, now)
    found: datetime = now
    return found


def keep_transaction_time(session: AsyncSession, now: datetime) -> None:
    """Keep ``now()``, which a statement of this transaction returned with other values."""
    session.info[_TRANSACTION_TIME] = session.sync_session.get_transaction(), now


async def current_time(session: AsyncSession) -> datetime:
    """PostgreSQL's ``clock_timestamp()``. It is later than ``transaction_time``, for one that waited for locks."""
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return now


class DatabaseClock:
    """Estimates the database's time without a statement, by the worker's clock plus a learned offset."""

    def __init__(self) -> None:
        self._offset = time.time() - boot_time()  # noqa: TID251 - until it learns
        self.known = False

    def now(self) -> float:
        """The estimated database time in Unix seconds."""
        return boot_time() + self._offset

    def learn(self, database_time: float, sent: float, received: float) -> None:
        """Update the offset from a query result. ``sent`` and ``received`` are on the ``boot_time`` clock."""
        self._offset = database_time - (sent + received) / 2
        self.known = True
