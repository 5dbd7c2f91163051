"""The engine, its sessions, and how they end. A database that cannot serve becomes ``Unavailable``, never a 500."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from asyncpg.exceptions import InternalClientError, PostgresError
from sqlalchemy import event
from sqlalchemy.exc import InterfaceError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import AsyncAdaptedQueuePool

from app.db import change
from app.db.connection import GuardedConnection, Primary, split_hosts
from app.db.versions import discard_narrowed, notify_narrowed
from app.domain.errors import Unavailable

ATTEMPTS = 4
"""How often a transaction that collides with others is tried."""
MOST_WAITING = 1_000
"""Requests that may wait for a connection of the pool at once; more could not be served within their two seconds."""
_NOT_NULL = "23502"
_CHECK = "23514"
_CANNOT_CONNECT_NOW = "57P03"
_TRUSTED_S = 1.0
_USED = "used_at"
UNAVAILABLE_CLASSES = ("08", "25", "53", "55", "57", "58", "XX")
SESSION_SETTINGS = {
    "timezone": "UTC",
    "statement_timeout": "10000",
    # What is asked is short: to have workers started for it costs more than they take over.
    "max_parallel_workers_per_gather": "0",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "10000",
    "synchronous_commit": "on",
}
"""What each session asks for when it opens, so that the role needs no settings of its own."""
# So much of the driver comes as it is where a connection is opened; in statements, ``_translate`` sees it first.
OUT_OF_REACH = (PoolTimeout, InterfaceError, InternalClientError, OSError)
"""What is raised, beside ``Unavailable``, where there is no connection to be had."""


def async_url(url: str) -> str:
    """A libpq-style URL with the driver named; ``postgres://`` and ``postgresql://`` both work."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        raise ValueError("a database URL starts with postgresql://")
    return f"postgresql+asyncpg://{rest}"


def plain_url(url: str) -> str:
    """The same URL for asyncpg itself; of several hosts, the primary. Raises ``ValueError`` where it is none."""
    plain = "postgresql://" + async_url(url).partition("://")[2]
    if len(split_hosts(plain)) == 1 or "target_session_attrs=" in plain:
        return plain
    return f"{plain}{'&' if '?' in plain else '?'}target_session_attrs=primary"


class _Pool(AsyncAdaptedQueuePool):
    """Its queue is bounded in time and in length: whoever comes when it is full is told so at once."""

    _asking = 0

    def _do_get(self) -> Any:
        if self._asking >= self.size() + MOST_WAITING:
            raise PoolTimeout("too many wait for a connection")
        self._asking += 1
        try:
            return super()._do_get()
        finally:
            self._asking -= 1


def make_engine(
    url: str,
    *,
    pool_size: int = 10,
    name: str = "scopegate",
    check: Callable[[Any], Awaitable[None]] | None = None,
) -> AsyncEngine:
    """An engine on the primary with bounded sessions: statements 10 s, waits for locks 5 s, idle transactions 10 s.

    Whoever finds all connections in use waits 2 s for one. ``check`` is that of ``Primary``.
    """
    primary = Primary(plain_url(url), check)

    async def connect() -> GuardedConnection:
        # The server's own limits do not reach a client whose network went silent; a little above them.
        return await primary.connect(2, SESSION_SETTINGS | {"application_name": name}, command_timeout=12)

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        poolclass=_Pool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=2,
        # The text of an error ends up in logs, and parameters are what people sent.
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "handle_error", _translate)
    event.listen(engine.sync_engine, "checkin", _mark_used)
    event.listen(engine.sync_engine, "checkout", _check_alive)
    return engine


class _Session(Session):
    """A session that commits no change without its audit events."""


event.listen(_Session, "before_commit", change.refuse_unwritten)


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


def out_of_reach() -> Unavailable:
    """What a request is told then."""
    return Unavailable("The database cannot serve right now; repeat the request shortly.")


def _translate(context: Any) -> None:
    if not isinstance(context.original_exception, Exception):
        # A statement that was cancelled costs its connection, but its task must end, and not take this for a fault.
        return
    fault = context.original_exception
    code = sqlstate(fault)
    if _cannot_record(code, fault.__cause__):
        code = _CANNOT_CONNECT_NOW
    # The driver says of a server that died in the midst of an answer that its own state is amiss.
    lost = isinstance(fault, OSError) or isinstance(fault.__cause__, InternalClientError)
    if lost or context.is_disconnect or (code is not None and code.startswith(UNAVAILABLE_CLASSES)):
        raise out_of_reach() from fault


def _mark_used(_connection: Any, record: Any) -> None:
    record.info[_USED] = monotonic()


def _check_alive(connection: Any, record: Any, _proxy: Any) -> None:
    """Before a connection is used, ask it whether it still works, unless that was seen a moment ago.

    Asking takes three round trips, as many as all that some requests need.
    """
    used = record.info.get(_USED)
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError
    if used is None or monotonic() - used < _TRUSTED_S:
        return
    try:
        connection.ping()
    except (connection.dbapi.Error, OSError) as error:
        raise InvalidatePoolError from error


def _cannot_record(code: str | None, cause: BaseException | None) -> bool:
    """Whether the log cannot take the row: no epoch is open yet for this timeline, or no partition for this month.

    Both come in the class of a caller's mistakes, and are none.
    """
    if code == _NOT_NULL:
        return getattr(cause, "column_name", None) == "epoch"
    return code == _CHECK and getattr(cause, "constraint_name", None) is None


async def commit(session: AsyncSession) -> None:
    """Write what the changes of this transaction collected, notify what was narrowed, then commit."""
    await change.write(session)
    await notify_narrowed(session)
    # failpoint: before_commit
    # mutation: request_committed
    await session.commit()
    # failpoint: after_commit


async def undo(session: AsyncSession) -> None:
    """Leave nothing of a transaction that was carried out to see what it would do."""
    change.forget(session)
    discard_narrowed(session)
    await session.rollback()
