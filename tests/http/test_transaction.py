"""Engines, and what stands around a request: what an error of the database says, what stays of what failed."""

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from types import SimpleNamespace
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.db import engine as database
from app.db.connection import GuardedConnection
from app.db.engine import make_engine, make_sessions
from app.domain.errors import Conflict, DomainError, Unavailable
from app.http.transaction import Session, TransactionalRoute


async def test_the_text_of_an_error_holds_no_parameter(database_url: str) -> None:
    engine = make_engine(database_url, pool_size=1, name="test")
    with pytest.raises(DBAPIError) as raised:
        async with engine.connect() as connection:
            await connection.execute(
                text("SELECT 1 / (length(CAST(:sent AS text)) - 18)"), {"sent": "what-a-client-sent"}
            )
    assert "division by zero" in str(raised.value)
    assert "what-a-client-sent" not in str(raised.value)
    await engine.dispose()


@pytest.mark.parametrize("idle_s", [0, 60])
async def test_a_connection_that_the_database_closed_is_not_used_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch, idle_s: float
) -> None:
    engine = make_engine(database_url, pool_size=1, name="test")
    own = text("SELECT pg_backend_pid()")
    async with engine.connect() as connection:
        before = (await connection.execute(own)).scalar_one()
        raw = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    closed = asyncio.Event()
    raw.add_termination_listener(lambda _connection: closed.set())
    other = make_engine(database_url, pool_size=1, name="other")
    async with other.connect() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:id)"), {"id": before})
    await other.dispose()
    await closed.wait()
    monkeypatch.setattr(database, "monotonic", lambda: monotonic() + idle_s)
    async with engine.connect() as connection:
        assert (await connection.execute(own)).scalar_one() != before
    await engine.dispose()


async def test_a_connection_that_stood_idle_is_asked_before_it_is_used(
    fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network may have gone silent: the one that does not answer is replaced, not handed to a request."""
    engine = make_engine(fresh_database_url, pool_size=1, name="test")
    own = text("SELECT pg_backend_pid()")
    async with engine.connect() as connection:
        before = (await connection.execute(own)).scalar_one()
        raw = (await connection.get_raw_connection()).dbapi_connection

    def silent(*_arguments: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(type(raw), "ping", silent)
    async with engine.connect() as connection:
        assert (await connection.execute(own)).scalar_one() == before
    monkeypatch.setattr(database, "monotonic", lambda: monotonic() + 60)
    async with engine.connect() as connection:
        assert (await connection.execute(own)).scalar_one() != before
    await engine.dispose()


async def test_a_statement_that_is_cancelled_ends_its_task(database_url: str) -> None:
    """Taken for a database that is away, it would be swallowed by every loop that waits for one to come back."""
    engine = make_engine(database_url, pool_size=2, name="test")
    running = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND query = 'SELECT pg_sleep(600)' AND state = 'active'"
    )

    async def sleep() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(600)"))

    task = asyncio.create_task(sleep())
    async with engine.connect() as connection:
        while not (await connection.execute(running)).scalar_one():
            await connection.rollback()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.dispose()


class _Telling(TransactionalRoute):
    """Answers an error in a form of its own, as the routes of foreign protocols and of pages do."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except DomainError as error:
                return Response(error.detail, 409)

        return answer


async def test_nothing_stays_of_a_request_that_failed_in_whichever_form_it_is_answered(
    database_url: str,
) -> None:
    engine = make_engine(database_url, pool_size=1, name="test")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE written (id integer)"))
    app, router = FastAPI(), APIRouter(route_class=_Telling)
    app.state.runtime = SimpleNamespace(sessions=make_sessions(engine))

    @router.post("/{fails}")
    async def write(fails: bool, session: Session) -> Response:
        await session.execute(text("INSERT INTO written VALUES (1)"))
        if fails:
            raise Conflict("too late")
        return Response()

    app.include_router(router)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/true")).status_code == 409
        assert (await client.post("/false")).status_code == 200
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM written"))).scalar_one() == 1
    await engine.dispose()


async def test_a_driver_that_lost_its_way_is_a_database_that_is_away(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so of a database that was killed in the midst of an answer; loops that go on must know it for that."""

    async def lost(*_arguments: object, **_options: object) -> None:
        raise asyncpg.InternalClientError("got result for unknown protocol state 3")

    engine = make_engine(database_url, pool_size=1, name="test")
    async with engine.connect() as connection:
        monkeypatch.setattr(GuardedConnection, "prepare", lost)
        with pytest.raises(Unavailable):
            await connection.execute(text("SELECT 1"))
        monkeypatch.undo()
    await engine.dispose()


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (asyncpg.AdminShutdownError("terminating connection"), 503),
        (asyncpg.InterfaceError("connection is closed"), 503),
        (asyncpg.UndefinedTableError("relation does not exist"), 500),
    ],
)
async def test_an_outage_on_the_driver_s_own_connection_answers_503(fault: Exception, status: int) -> None:
    """Proofs read with the driver itself, whose errors SQLAlchemy does not translate."""
    app, router = FastAPI(), APIRouter(route_class=TransactionalRoute)

    @router.get("/")
    async def read() -> None:
        raise fault

    @app.exception_handler(Unavailable)
    async def unavailable(_request: Request, _error: Exception) -> Response:
        return Response(status_code=503)

    app.include_router(router)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/")).status_code == status
