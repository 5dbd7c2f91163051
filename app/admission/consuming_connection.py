"""A connection of one's own for short transactions: opened when it is needed, dropped when it is in doubt."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from app.admission.consuming import Collided, Connection, Moved

ATTEMPTS = 3
_PAUSE_S = 0.1
_BEGIN = "BEGIN; SET LOCAL lock_timeout = '1s'"
_REPEATABLE = ("40001", "40P01")
_DATA_CLASSES = ("22", "23", "54")
_LOCKED = "55P03"
# Faults of the log in the class of a caller's mistakes: no partition, no open epoch.
_NOT_DATA = ("23514", "23502")

Result = TypeVar("Result")


class OwnConnection:
    """Runs one transaction at a time. The deadlines are the caller's: one that passes costs the connection."""

    def __init__(self, connect: Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._opened_in_vain = False

    async def open(self) -> None:
        """Be connected. Raises asyncpg's errors and ``OSError``."""
        if self._connection is None or self._connection.is_closed():
            if self._opened_in_vain:
                # It takes connections and no rows, as on a full disk: each call would open another one.
                await asyncio.sleep(_PAUSE_S)
            self._connection = await self._connect()
            self._opened_in_vain = True

    async def transaction(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run ``work`` in a transaction, a few times where it lost against others, and commit.

        Whatever it raises, and whatever the database does, rolls it back; but when the commit has no answer, nobody
        knows whether it holds.
        """
        await self.open()
        connection = self._connection
        if connection is None:
            raise asyncpg.InterfaceError("there is no connection")
        attempt = 1
        while True:
            try:
                await connection.execute(_BEGIN)
                result = await work(connection)
                # failpoint: before_settlement
                await connection.execute("COMMIT")
                # failpoint: after_settlement
            except (asyncpg.PostgresError, Collided, Moved, ValueError) as error:
                if not _keeps_the_connection(error):
                    self.drop()
                    raise
                await self._rolled_back(connection)
                if attempt == ATTEMPTS or not _may_be_repeated(error):
                    raise
                attempt += 1
            except BaseException:
                self.drop()
                raise
            else:
                self._opened_in_vain = False
                return result

    async def _rolled_back(self, connection: Connection) -> None:
        try:
            await connection.execute("ROLLBACK")
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """End the connection at once, without a word."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None

    async def close(self) -> None:
        """End the connection in peace."""
        if self._connection is not None:
            await self._connection.close(timeout=1)


def is_bad_value(error: BaseException) -> bool:
    """Whether somebody brought a value that the database does not take: the fault of one call alone."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate)
        return state.startswith(_DATA_CLASSES) and state not in _NOT_DATA
    return isinstance(error, ValueError)


def lost_to_others(error: BaseException) -> bool:
    """Whether other transactions were in the way, which says nothing of whether the database takes rows."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate) in (*_REPEATABLE, _LOCKED)
    return isinstance(error, Collided)


def _may_be_repeated(error: BaseException) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate) in _REPEATABLE
    return isinstance(error, Collided)


def _keeps_the_connection(error: BaseException) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return is_bad_value(error) or lost_to_others(error)
    return True
