"""Session notes and notifications that workers share, with a real database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.admission.in_flight import InFlightTable
from app.admission.shared_state import SESSIONS_CHANNEL, SharedState
from app.admission.store import SessionSettings, StoreUnavailable
from app.admission.usage import CallUses
from app.db.clock import DatabaseClock
from app.db.engine import make_engine, make_sessions
from app.gateway.wire.refusals import Refused, invalid_params
from app.lib.ids import new_id
from tests.admission.world import make_world
from tests.gateway.aggregate.test_cancel import TOOLS, Slow, cancelled, outcome_of
from tests.gateway.aggregate.test_streams import StreamReader, Subscribing, updated
from tests.gateway.messages import LEGACY, call, initialize, post, request
from tests.gateway.upstreams import scripted
from tests.gateway.world import Store, World, running


@dataclass
class Hearing:
    """The end of a worker's line, in place of a gateway."""

    cancelled: asyncio.Queue[Any]
    changed: asyncio.Queue[Any]

    def cancel_call(self, *call: Any) -> None:
        self.cancelled.put_nowait(call)

    def forget_session_settings(self, session_id: Any) -> None:
        self.changed.put_nowait(session_id)


@asynccontextmanager
async def line(url: str) -> AsyncIterator[SharedState]:
    """A worker's shared state, once it receives messages."""
    engine = make_engine(url, pool_size=2, name="test")
    sessions = make_sessions(engine)
    shared, there = SharedState(sessions), asyncio.Event()

    def hear(payload: str | None) -> None:
        there.set()
        shared.receive_session(payload)

    async def connect() -> Any:
        return await asyncpg.connect(url)

    table = InFlightTable(connect, DatabaseClock(), new_id(), lambda ids: None, {SESSIONS_CHANNEL: hear})
    tasks = [asyncio.create_task(table.run()), asyncio.create_task(shared.run())]
    try:
        await there.wait()
        yield shared
    finally:
        table.close()
        await tasks[0]
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await engine.dispose()


async def test_session_notes_are_shared_and_workers_are_notified_of_changes(database_url: str) -> None:
    session_id, token_id = uuid4(), uuid4()
    async with (
        asyncio.timeout(50),
        line(database_url) as mine,
        line(database_url) as theirs,
    ):
        hearing = Hearing(asyncio.Queue(), asyncio.Queue())
        theirs.worker = hearing  # type: ignore[assignment]
        assert await mine.read_session_settings(session_id) == SessionSettings()
        for uris in (frozenset({"r://1"}), frozenset({"r://1", "r://2"})):

            def subscribe(notes: SessionSettings, uris: frozenset[str] = uris) -> SessionSettings:
                return replace(notes, subscriptions=uris)

            await mine.change_session_settings(session_id, token_id, subscribe)
            assert await hearing.changed.get() == session_id
        await mine.change_session_settings(
            session_id, token_id, lambda notes: replace(notes, log_level="info")
        )
        assert await theirs.read_session_settings(session_id) == SessionSettings(
            "info", frozenset({"r://1", "r://2"})
        )

        def refuse(notes: SessionSettings) -> SessionSettings:
            raise invalid_params("no", modern=False)

        with pytest.raises(Refused):
            await mine.change_session_settings(session_id, token_id, refuse)
        assert await theirs.read_session_settings(session_id) == SessionSettings(
            "info", frozenset({"r://1", "r://2"})
        )


async def test_the_notes_of_a_session_end_with_it(database_url: str) -> None:
    engine = make_engine(database_url, pool_size=2, name="test")
    sessions, session_id, token_id = make_sessions(engine), uuid4(), uuid4()
    shared = SharedState(sessions)
    await shared.change_session_settings(session_id, token_id, lambda notes: SessionSettings("info"))
    await shared.end_session(session_id, token_id)
    assert await shared.read_session_settings(session_id) == SessionSettings()
    await engine.dispose()


@pytest.mark.parametrize("end", ["revoked_at = now()", "expires_at = now() - interval '1 minute'"])
async def test_the_notes_of_a_session_end_with_its_token(database_url: str, end: str) -> None:
    engine = make_engine(database_url, pool_size=2, name="test")
    sessions, connection = make_sessions(engine), await asyncpg.connect(database_url)
    ended, alive = [await make_world(connection) for _ in range(2)]
    shared, uses = SharedState(sessions), CallUses(sessions, DatabaseClock())
    kept = {await noted(shared, world.token): world for world in (ended, alive)}
    await connection.execute(f"UPDATE tokens SET {end} WHERE id = $1", ended.token)
    uses.note_token(alive.token)
    await uses.flush()
    for session_id, world in kept.items():
        assert await shared.read_session_settings(session_id) == (
            SessionSettings() if world is ended else SessionSettings("info")
        )
    await connection.close()
    await engine.dispose()


async def test_uses_of_more_tokens_than_a_statement_has_parameters_are_written(database_url: str) -> None:
    engine = make_engine(database_url, pool_size=2, name="test")
    connection = await asyncpg.connect(database_url)
    world, uses = await make_world(connection), CallUses(make_sessions(engine), DatabaseClock())
    for id in (world.token, *(uuid4() for _ in range(33_000))):
        uses.note_token(id)
    await uses.flush()
    assert await connection.fetchval("SELECT array_agg(token_id) FROM token_uses") == [world.token]
    await connection.close()
    await engine.dispose()


async def noted(shared: SharedState, token_id: UUID) -> UUID:
    session_id = uuid4()
    await shared.change_session_settings(session_id, token_id, lambda _: SessionSettings("info"))
    return session_id


async def test_an_unavailable_database_is_reported_as_such() -> None:
    engine = make_engine("postgresql+asyncpg://none@127.0.0.1:9/none", pool_size=1, name="test")
    shared = SharedState(make_sessions(engine))
    with pytest.raises(StoreUnavailable):
        await shared.read_session_settings(uuid4())
    with pytest.raises(StoreUnavailable):
        await shared.change_session_settings(uuid4(), uuid4(), lambda notes: notes)
    await engine.dispose()


def with_shared_state(store: Store, shared: SharedState) -> Store:
    """The same store in memory, but with sessions in the database."""
    copy: Any = replace(store)
    copy.read_session_settings, copy.change_session_settings = (
        shared.read_session_settings,
        shared.change_session_settings,
    )
    copy.broadcast_cancel = shared.broadcast_cancel
    return cast("Store", copy)


@asynccontextmanager
async def two_workers(url: str) -> AsyncIterator[tuple[World, World]]:
    """Two gateways of one fleet that know of each other by the database alone."""
    store = Store()
    async with (
        line(url) as one_state,
        line(url) as two_state,
        running(with_shared_state(store, one_state)) as one,
        running(with_shared_state(store, two_state)) as two,
    ):
        one_state.worker, two_state.worker = one.gateway, two.gateway
        yield one, two


async def test_a_notification_at_another_worker_cancels_a_call(database_url: str) -> None:
    server = Slow()
    async with asyncio.timeout(50), two_workers(database_url) as (one, two), scripted(server) as (url, _):
        one.store.register("calc", url, (LEGACY,), TOOLS)
        token = one.store.issue(one.store.grant())
        async with one.client(token) as here, two.client(token) as there:
            session = (await post(here, "/mcp", initialize())).headers["mcp-session-id"]
            calling = asyncio.create_task(
                post(here, "/mcp", call("calc__add", id="c"), mcp_session_id=session)
            )
            await server.began.wait()
            assert (await post(there, "/mcp", cancelled("c"), mcp_session_id=session)).status_code == 202
            await calling
            assert await outcome_of(one) == "cancelled"


async def test_a_stream_reports_subscriptions_made_at_another_worker(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateway.aggregate.streams.GAP_SECONDS", 0.0)
    server = Subscribing()
    async with asyncio.timeout(50), two_workers(database_url) as (one, two), scripted(server) as (url, _):
        one.store.register("calc", url, (LEGACY,), TOOLS)
        token = one.store.issue(one.store.grant(resources=True))
        async with one.client(token) as here, two.client(token) as there:
            session = (await post(here, "/mcp", initialize())).headers["mcp-session-id"]
            headers = {"mcp-session-id": session, "mcp-protocol-version": LEGACY}
            async with here.stream("GET", "/mcp", headers=headers) as stream:
                subscription = request("resources/subscribe", {"uri": "mcp+calc+r://1"})
                assert (await there.post("/mcp", json=subscription, headers=headers)).json()["result"] == {}
                await server.listening.wait()
                server.more.put_nowait(updated("r://1"))
                assert (await StreamReader(stream).next())["params"] == {"uri": "mcp+calc+r://1"}
