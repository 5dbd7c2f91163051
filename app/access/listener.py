"""The connection that a worker compares versions and hears notifications on, and a second one when it keeps silent.

A network that loses what is sent tells nobody. So a silent connection is not waited for: what was asked is asked
again on a new one after a moment, and whichever answers first is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeAlias

import asyncpg

from app.lib.clock import boot_time

SILENT_AFTER_S = 0.4
TIMEOUT_S = 1.5
_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
_Asked: TypeAlias = "asyncio.Task[tuple[_Connection, Answer]]"


class Answer(NamedTuple):
    """One row, and between which seconds of ``boot_time`` it was asked for and came."""

    row: asyncpg.Record
    sent: float
    received: float


class ChangeListener:
    """A connection to the database that is opened when it is needed, replaced when it is in doubt, and listens."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[_Connection]],
        listeners: Mapping[str, Callable[[str | None], None]],
        lost: Callable[[], None],
    ) -> None:
        """``listeners`` hear what is said, by channel; ``None`` says that something may be missed. What is said while
        connections change may be heard twice. ``lost`` is called when the connection ends."""
        self._connect = connect
        self._listeners = listeners
        self._lost = lost
        self._connection: _Connection | None = None

    async def ask(self, statement: str, *values: object) -> Answer:
        """Ask for one row, on a second connection as well when the first does not answer in a moment.

        Raises ``DRIVER_FAULTS`` when neither does in time.
        """
        asked = [asyncio.create_task(self._answer(self._current(), statement, values))]
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await asyncio.wait(asked, timeout=SILENT_AFTER_S)
                if not _has_answered(asked[0]):
                    asked.append(asyncio.create_task(self._answer(None, statement, values)))
                return await self._first(asked)
        finally:
            for task in asked:
                if not task.cancel() and _has_answered(task) and task.result()[0] is not self._connection:
                    # Both answered in the same moment.
                    task.result()[0].terminate()

    async def tell(self, statement: str, *values: object) -> None:
        """Run a statement on the connection that last answered.

        Raises ``DRIVER_FAULTS``, and the connection is dropped.
        """
        if self._connection is None:
            raise asyncpg.InterfaceError("there is no connection")
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._connection.execute(statement, *values)
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """End the connection at once, without a word."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None

    def _current(self) -> "_Connection | None":
        closed = self._connection is None or self._connection.is_closed()
        return None if closed else self._connection

    async def _first(self, asked: list[_Asked]) -> Answer:
        """The first answer; the connection that it came by is kept. Raises the last fault when there is none."""
        waiting = set(asked)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if _has_answered(task):
                    connection, answer = task.result()
                    self._keep(connection)
                    return answer
        # Raises what the last of them did.
        return asked[-1].result()[1]

    async def _answer(
        self, connection: "_Connection | None", statement: str, values: tuple[object, ...]
    ) -> tuple[_Connection, Answer]:
        try:
            if connection is None:
                connection = await self._opened()
            sent = boot_time()
            [row] = await connection.fetch(statement, *values)
            return connection, Answer(row, sent, boot_time())
        except BaseException:
            if connection is not None:
                connection.terminate()
            raise

    async def _opened(self) -> _Connection:
        connection = await self._connect()
        try:
            for channel, hear in self._listeners.items():
                await connection.add_listener(channel, _handing(hear))
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(self._ended)
        return connection

    def _keep(self, connection: _Connection) -> None:
        if connection is self._connection:
            return
        self.drop()
        self._connection = connection
        # Whatever was said while nobody listened is unknown.
        for hear in self._listeners.values():
            hear(None)

    def _ended(self, connection: object) -> None:
        if connection is self._connection:
            self._lost()


def _has_answered(task: _Asked) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _handing(hear: Callable[[str | None], None]) -> Callable[..., None]:
    """What asyncpg calls with a notification, of which the payload alone counts."""

    def heard(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        if isinstance(payload, str):
            hear(payload)

    return heard
