"""The connection on which a worker compares versions and receives notifications (LISTEN/NOTIFY).

A network can drop packets silently. So after a moment without an answer, a query is repeated on a second connection,
and the connection that answers first is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, TypeAlias

import asyncpg

from app.db.connection import DRIVER_FAULTS
from app.lib.clock import boot_time

SILENT_AFTER_S = 0.4
TIMEOUT_S = 1.5
_CLOSE_S = 0.2
_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
_Query: TypeAlias = "asyncio.Task[tuple[_Connection, Answer]]"


class Answer(NamedTuple):
    """A row, with the ``boot_time`` of its query and of its arrival."""

    row: asyncpg.Record
    sent: float
    received: float


class ChangeListener:
    """A listening database connection that is opened on demand and replaced when it fails or stays silent."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[_Connection]],
        listeners: Mapping[str, Callable[[str | None], None]],
        lost: Callable[[], None],
    ) -> None:
        """``listeners`` get the payloads by channel; ``None`` means that notifications may have been lost. A
        notification can arrive twice while connections change. ``lost`` is called when the connection ends."""
        self._connect = connect
        self._listeners = listeners
        self._lost = lost
        self._connection: _Connection | None = None

    async def query(self, statement: str, *values: object) -> Answer:
        """Query one row, also on a second connection if the first does not answer within ``SILENT_AFTER_S``.

        Raises ``DRIVER_FAULTS`` when neither does in time.
        """
        queries = [asyncio.create_task(self._answer(self._current(), statement, values))]
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await asyncio.wait(queries, timeout=SILENT_AFTER_S)
                if not _succeeded(queries[0]):
                    queries.append(asyncio.create_task(self._answer(None, statement, values)))
                return await self._first(queries)
        finally:
            for task in queries:
                if not task.cancel() and _succeeded(task) and task.result()[0] is not self._connection:
                    # Both answered at the same time.
                    task.result()[0].terminate()

    async def execute(self, statement: str, *values: object) -> None:
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
        """Terminate the connection."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None

    async def close(self) -> None:
        """Close the connection in order; terminate it if the server does not answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*DRIVER_FAULTS):
                await connection.close(timeout=_CLOSE_S)

    def _current(self) -> "_Connection | None":
        closed = self._connection is None or self._connection.is_closed()
        return None if closed else self._connection

    async def _first(self, queries: list[_Query]) -> Answer:
        """The first answer, whose connection is kept. Raises the last error if there is none."""
        pending = set(queries)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if _succeeded(task):
                    connection, answer = task.result()
                    self._keep(connection)
                    return answer
        # Raises the error of the last query.
        return queries[-1].result()[1]

    async def _answer(
        self, connection: "_Connection | None", statement: str, values: tuple[object, ...]
    ) -> tuple[_Connection, Answer]:
        try:
            if connection is None:
                connection = await self._open()
            sent = boot_time()
            [row] = await connection.fetch(statement, *values)
            return connection, Answer(row, sent, boot_time())
        except BaseException:
            if connection is not None:
                connection.terminate()
            raise

    async def _open(self) -> _Connection:
        connection = await self._connect()
        try:
            for channel, listener in self._listeners.items():
                await connection.add_listener(channel, _notification_handler(listener))
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(self._on_termination)
        return connection

    def _keep(self, connection: _Connection) -> None:
        if connection is self._connection:
            return
        self.drop()
        self._connection = connection
        # Notifications between the two connections were lost.
        for listener in self._listeners.values():
            listener(None)

    def _on_termination(self, connection: object) -> None:
        if connection is self._connection:
            self._lost()


def _succeeded(task: _Query) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _notification_handler(listener: Callable[[str | None], None]) -> Callable[..., None]:
    """A callback for asyncpg that passes only the payload on."""

    def handle(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        if isinstance(payload, str):
            listener(payload)

    return handle
