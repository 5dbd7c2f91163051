"""The SQLAlchemy engine, its sessions and commits. An unavailable database raises ``Unavailable``, never a 500."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import asyncpg
from asyncpg.exceptions import InternalClientError, PostgresError
from sqlalchemy import event
from sqlalchemy.exc import InterfaceError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import AsyncAdaptedQueuePool

from app.db import change
from app.db.connection import GuardedConnection, Primary, split_hosts
from app.db.versions import discard_narrowed, notify_narrowed
from app.domain.errors import Unavailable

ATTEMPTS = 4
"""Attempts of a transaction that conflicts with others."""
MAX_WAITING = 1_000
"""Requests that may wait for a pool connection; more could not be served within their two seconds."""
_NOT_NULL = "23502"
_CHECK = "23514"
_CANNOT_CONNECT_NOW = "57P03"
_ALIVE_FOR_S = 1.0
_USED_AT = "used_at"
UNAVAILABLE_CLASSES = ("08", "25", "53", "55", "57", "58", "XX")
SESSION_SETTINGS = {
    "timezone": "UTC",
    "statement_timeout": "10000",
    # Queries are short, so parallel workers cost more than they save.
    "max_parallel_workers_per_gather": "0",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "10000",
    "synchronous_commit": "on",
}
"""Settings that each session sends when it opens, so that the role needs none of its own."""
# Raised untranslated while a connection opens; errors of statements go through ``_translate``.
CONNECTION_ERRORS = (PoolTimeout, InterfaceError, InternalClientError, OSError)
"""What is raised, in addition to ``Unavailable``, when no connection is available."""
DATABASE_FAULTS = (Unavailable, SQLAlchemyError, *CONNECTION_ERRORS)
"""What a transaction raises when the database is unavailable. A ``TimeoutError`` is an ``OSError``."""


def plain_url(url: str) -> str:
    """The URL for asyncpg itself, which selects the primary of several hosts. Raises ``ValueError`` if malformed."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        raise ValueError("a database URL starts with postgresql://")
    plain = f"postgresql://{rest}"
    if len(split_hosts(plain)) == 1 or "target_session_attrs=" in plain:
        return plain
    return f"{plain}{'&' if '?' in plain else '?'}target_session_attrs=primary"


@asynccontextmanager
async def plain_connection(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection for the work of a command. Raises ``DRIVER_FAULTS``."""
    connection = await asyncpg.connect(plain_url(url), timeout=10)
    try:
        yield connection
    finally:
        await connection.close()


async def delete_rows(owner_url: str, statement: str, *values: object) -> int:
    """Run a ``DELETE`` as the owner of the tables; return the number of deleted rows. Raises ``DRIVER_FAULTS``."""
    async with plain_connection(owner_url) as connection:
        return int((await connection.execute(statement, *values)).rpartition(" ")[2])


class _Pool(AsyncAdaptedQueuePool):
    """A connection pool whose queue is bounded in time and length. A full queue fails at once."""

    _requested = 0

    def _do_get(self) -> Any:
        if self._requested >= self.size() + MAX_WAITING:
            raise PoolTimeout("too many requests wait for a connection")
        self._requested += 1
        try:
            return super()._do_get()
        finally:
            self._requested -= 1


def make_engine(
    url: str,
    *,
    pool_size: int = 10,
    name: str = "scopegate",
    check: Callable[[Any], Awaitable[None]] | None = None,
) -> AsyncEngine:
    """An engine on the primary. Limits: statements 10 s, lock waits 5 s, idle transactions 10 s, pool waits 2 s.

    ``check`` is passed to ``Primary``.
    """
    primary = Primary(plain_url(url), check)

    async def connect() -> GuardedConnection:
        # The server's limits do not help when the network is silent; this timeout is a little longer.
        return await primary.connect(2, SESSION_SETTINGS | {"application_name": name}, command_timeout=12)

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        poolclass=_Pool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=2,
        # Error texts reach the logs, and parameters can contain personal data or secrets.
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "handle_error", _translate)
    event.listen(engine.sync_engine, "checkin", _mark_used)
    event.listen(engine.sync_engine, "checkout", _check_alive)
    return engine


class _Session(Session):
    """A session that commits no change without its audit events."""


event.listen(_Session, "before_commit", change.reject_unwritten)


def make_sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Sessions that keep loaded rows usable after commit."""
    return async_sessionmaker(engine, expire_on_commit=False, autoflush=True, sync_session_class=_Session)


def sqlstate(error: BaseException) -> str | None:
    """The five-character SQLSTATE of a database error, if it has one."""
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, PostgresError):
            return str(current.sqlstate)
        code = getattr(current, "sqlstate", None)
        if isinstance(code, str):
            return code
        current = getattr(current, "orig", None) or current.__cause__
    return None


def database_unavailable() -> Unavailable:
    """The error of a request when no connection is available."""
    return Unavailable("The database cannot serve right now; repeat the request shortly.")


def _translate(context: Any) -> None:
    if not isinstance(context.original_exception, Exception):
        # A cancelled statement loses its connection, but its task must still end with the cancellation.
        return
    fault = context.original_exception
    code = sqlstate(fault)
    if _cannot_record(code, fault.__cause__):
        code = _CANNOT_CONNECT_NOW
    # The driver raises InternalClientError when the server died in the middle of an answer.
    lost = isinstance(fault, OSError) or isinstance(fault.__cause__, InternalClientError)
    if lost or context.is_disconnect or (code is not None and code.startswith(UNAVAILABLE_CLASSES)):
        raise database_unavailable() from fault


def _mark_used(_connection: Any, record: Any) -> None:
    record.info[_USED_AT] = monotonic()


def _check_alive(connection: Any, record: Any, _proxy: Any) -> None:
    """Ping a connection before its use, unless it was used a moment ago.

    A ping takes three round trips, as many as some whole requests.
    """
    used = record.info.get(_USED_AT)
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError
    if used is None or monotonic() - used < _ALIVE_FOR_S:
        return
    try:
        connection.ping()
    except (connection.dbapi.Error, OSError) as error:
        raise InvalidatePoolError from error


def _cannot_record(code: str | None, cause: BaseException | None) -> bool:
    """Whether the audit log cannot store the row: this timeline has no epoch yet, or this month has no partition.

    Both have the error class of invalid values, but the caller is not at fault.
    """
    if code == _NOT_NULL:
        return getattr(cause, "column_name", None) == "epoch"
    return code == _CHECK and getattr(cause, "constraint_name", None) is None


async def commit(session: AsyncSession) -> None:
    """Write the collected changes of this transaction, send its notification, then commit."""
    await change.write(session)
    await notify_narrowed(session)
    # failpoint: before_commit
    # mutation: request_committed
    await session.commit()
    # failpoint: after_commit


async def undo(session: AsyncSession) -> None:
    """Roll back a dry run and discard what it collected."""
    change.discard(session)
    discard_narrowed(session)
    await session.rollback()
