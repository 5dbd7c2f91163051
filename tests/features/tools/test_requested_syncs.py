"""A requested sync continues after the response, and always ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.domain.errors import NotFound, Unavailable
from app.features.servers import sync as requested_syncs
from app.features.servers.sync import INTERRUPTED, MAX_RUNNING, RequestedSyncs, begin_sync
from app.http.authorization import Caller
from app.lib.ids import SERVER, new_id, parse_id
from app.main import Scopegate
from app.worker.syncs import LostSyncs
from tests.features.tools.test_sync import register
from tests.features.tools.upstreams import answer, mcp_server, serving, tool
from tests.open_transactions import none_open

Sessions = async_sessionmaker[AsyncSession]


@asynccontextmanager
async def held_server() -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Event]]:
    """The URL of a server that answers when released; an event for its request, and one to release it."""
    asked, let = asyncio.Event(), asyncio.Event()
    refuse = answer(401, b"{}")

    async def hold(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await let.wait()
        await refuse(scope, receive, send)

    async with serving(hold) as origin:
        yield f"{origin}/mcp", asked, let
        let.set()


@pytest.fixture
def answered_at_once(app: Scopegate) -> RequestedSyncs:
    """As after two seconds, without the wait."""
    syncs: RequestedSyncs = RequestedSyncs(answer_s=0)
    app.api.state.requested_syncs = syncs
    return syncs


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a state of the database."""
    async with asyncio.timeout(30):
        while not await look():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("answered_at_once")
async def test_a_slow_sync_answers_202_and_shows_its_state_until_it_ends(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    async with held_server() as (url, asked, let):
        path = await register(api, url)
        begun = await api.post(f"{path}/sync")
        assert (begun.status_code, begun.json()["sync"]["state"]) == (202, "running")
        assert begun.headers["retry-after"] == "1"
        assert begun.headers["etag"] == (await api.get(path)).headers["etag"]
        await asked.wait()
        listed = (await api.get("/api/v1/servers", params={"sync_state": "running"})).json()["items"]
        assert [item["sync"]["state"] for item in listed] == ["running"]
        assert (await api.get("/api/v1/servers", params={"sync_state": "never"})).json()["items"] == []
        await none_open(sessions)
        let.set()

        async def ended() -> bool:
            return bool((await api.get(path)).json()["sync"]["state"] == "error")

        await until(ended)
    assert "401" in (await api.get(path)).json()["sync"]["error"]
    query = {"action": "server.sync", "server_id": path.rpartition("/")[2]}
    events = (await api.get("/api/v1/audit-events", params=query)).json()
    assert [event["actor"]["type"] for event in events["items"]] == ["service_account"]


async def test_a_quick_sync_answers_200(api: httpx2.AsyncClient) -> None:
    async with mcp_server(tool("look")) as upstream:
        synced = await api.post(f"{await register(api, upstream.url)}/sync")
    assert (synced.status_code, synced.json()["sync"]["state"]) == (200, "ok")


async def test_a_sync_whose_worker_stops_is_an_error_at_once_and_can_be_asked_for_again(
    api: httpx2.AsyncClient, app: Scopegate, answered_at_once: RequestedSyncs
) -> None:
    async with held_server() as (url, asked, let):
        path = await register(api, url)
        assert (await api.post(f"{path}/sync")).status_code == 202
        await asked.wait()
        await answered_at_once.aclose()
        shown = (await api.get(path)).json()["sync"]
        assert (shown["state"], shown["error"]) == ("error", INTERRUPTED)
        let.set()
        app.api.state.requested_syncs = RequestedSyncs(answer_s=60)
        assert "401" in (await api.post(f"{path}/sync")).json()["sync"]["error"]


async def test_a_sync_whose_worker_was_killed_is_an_error_after_a_while(
    api: httpx2.AsyncClient, app: Scopegate, sessions: Sessions
) -> None:
    path, runtime = await register(api, "https://mcp.example.com/mcp"), app.api.state.runtime
    await begin_sync(runtime, parse_id(SERVER, path.rpartition("/")[2]))
    lost = LostSyncs(runtime.sessions)
    await lost.round()
    assert (await api.get(path)).json()["sync"]["state"] == "running", "it may still end"
    async with sessions() as session:
        passed = "UPDATE servers SET sync_started_at = sync_started_at - interval '4 minutes'"
        await session.execute(text(passed))
        await session.commit()
    await lost.round()
    shown = (await api.get(path)).json()["sync"]
    assert (shown["state"], shown["error"]) == ("error", INTERRUPTED)


async def test_syncs_that_begin_count_among_those_that_run(
    app: Scopegate, monkeypatch: pytest.MonkeyPatch
) -> None:
    let = asyncio.Event()

    async def begin_later(*_: object) -> None:
        await let.wait()
        raise NotFound("It was deleted.")

    monkeypatch.setattr(requested_syncs, "begin_sync", begin_later)
    syncs, caller = RequestedSyncs(), Caller("system", new_id(), frozenset())

    async def ask() -> bool:
        return await syncs.sync(app.api.state.runtime, new_id(), caller, None)

    begun = [asyncio.create_task(ask()) for _ in range(MAX_RUNNING)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await ask()
    let.set()
    ended = await asyncio.gather(*begun, return_exceptions=True)
    assert {type(error) for error in ended} == {NotFound}
    with pytest.raises(NotFound):
        await ask()


@pytest.mark.usefixtures("answered_at_once")
async def test_a_server_that_is_moved_during_a_sync_is_not_shown_as_running(api: httpx2.AsyncClient) -> None:
    async with held_server() as (url, asked, _):
        path = await register(api, url)
        assert (await api.post(f"{path}/sync")).status_code == 202
        await asked.wait()
        moved = await api.patch(path, json={"url": "https://mcp.example.com/elsewhere"})
        assert moved.json()["sync"]["state"] == "never"


@pytest.mark.usefixtures("answered_at_once")
async def test_a_server_is_asked_in_all_versions_at_the_same_time(
    api: httpx2.AsyncClient,
) -> None:
    waiting, all_asked, many = [0], asyncio.Event(), 1 + len(HANDSHAKE_PROTOCOL_VERSIONS)
    refuse = answer(401, b"{}")

    async def gather_first(scope: Any, receive: Any, send: Any) -> None:
        waiting[0] += 1
        if waiting[0] == many:
            all_asked.set()
        await all_asked.wait()
        await refuse(scope, receive, send)

    async with serving(gather_first) as origin, asyncio.timeout(20):
        await api.post(f"{await register(api, f'{origin}/mcp')}/sync")
        await all_asked.wait()
    assert waiting[0] >= many
