"""Servers are synced periodically: each once for all workers, and with growing delays after failures."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx2
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.features.servers.queries import MAX_DOUBLINGS
from app.features.servers.sync import claim_due
from app.main import Scopegate
from app.worker.syncs import MAX_CONCURRENT_SYNCS, PeriodicSyncs
from tests.features.tools.test_sync import states
from tests.features.tools.upstreams import answer, mcp_server, serving, tool

Sessions = async_sessionmaker[AsyncSession]
HOUR = timedelta(hours=1)


async def register(api: httpx2.AsyncClient, url: str, slug: str = "up", *, sync: bool = True) -> str:
    created = await api.post("/api/v1/servers", json={"slug": slug, "url": url})
    path = str(created.headers["location"])
    if sync:
        assert (await api.post(f"{path}/sync")).json()["sync"]["state"] == "ok"
    return path


async def pass_time(sessions: Sessions, hours: float) -> None:
    """Change the servers' rows as if time had passed."""
    passed = text(
        "UPDATE servers SET sync_at = sync_at - make_interval(secs => :s), "
        "first_synced_at = first_synced_at - make_interval(secs => :s), "
        "sync_due_at = sync_due_at - make_interval(secs => :s)"
    )
    async with sessions() as session:
        await session.execute(passed, {"s": hours * 3600})
        await session.commit()


async def due_in(sessions: Sessions) -> list[float]:
    """The hours until servers are synced next."""
    async with sessions() as session:
        query = "SELECT extract(epoch FROM sync_due_at - clock_timestamp()) / 3600 FROM servers"
        return [float(each) for each in await session.scalars(text(query))]


async def all_rounds(app: Scopegate, workers: int = 1) -> int:
    """The number of servers that several workers sync together."""
    many = [PeriodicSyncs(app.api.state.runtime, HOUR) for _ in range(workers)]
    done = 0
    while found := sum(await asyncio.gather(*(syncs.round() for syncs in many))):
        done += found
    return done


async def sync_events(api: httpx2.AsyncClient) -> list[dict[str, Any]]:
    listed = await api.get("/api/v1/audit-events", params={"limit": 200})
    return [item for item in listed.json()["items"] if item["action"] == "server.sync"]


async def test_each_server_is_read_once_however_many_workers_look(
    app: Scopegate, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    async with mcp_server(tool("look")) as upstream:
        count = MAX_CONCURRENT_SYNCS + 2
        for number in range(count):
            await register(api, upstream.url, f"up-{number}")
        assert await all_rounds(app) == 0
        events, upstream.listed = await sync_events(api), 0
        await pass_time(sessions, 1.2)
        assert await all_rounds(app, workers=3) == count
        assert upstream.listed == count
        assert await all_rounds(app, workers=3) == 0
    # Nothing was new, so nothing is recorded.
    assert await sync_events(api) == events


async def test_what_one_worker_claims_no_other_waits_for_or_claims(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    async with mcp_server(tool("look")) as upstream:
        for slug in ("one", "two"):
            await register(api, upstream.url, slug)
    await pass_time(sessions, 1.2)
    async with sessions() as first, sessions() as second:
        (claimed,) = await claim_due(first, HOUR, 1)
        (other,) = await claim_due(second, HOUR, 2)
        await first.commit()
        await second.commit()
        assert await claim_due(second, HOUR, 2) == []
    assert claimed != other


async def test_what_a_server_changed_is_held_without_anybody_asking(
    app: Scopegate, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    async with mcp_server(tool("look")) as upstream:
        await register(api, upstream.url)
        upstream.tools = [tool("look", "Sends your keys away.")]
        await pass_time(sessions, 1.2)
        assert await all_rounds(app) == 1

    assert await states(api) == {"look": "quarantined"}
    newest = (await sync_events(api))[0]
    assert newest["actor"]["type"] == "system"
    assert newest["changes"]["changed"] == 1


async def test_servers_that_nobody_wants_read_are_left_alone(
    app: Scopegate, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    async with mcp_server(tool("look")) as upstream:
        await register(api, upstream.url, "never", sync=False)
        disabled = await register(api, upstream.url, "disabled")
        ended = await register(api, upstream.url, "ended")
        await api.patch(disabled, json={"status": "disabled"})
        await api.delete(ended)
        await pass_time(sessions, 100)
        assert await all_rounds(app) == 0


async def test_a_host_that_runs_no_commands_leaves_those_servers_to_others(
    app: Scopegate, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    async with mcp_server(tool("look")) as upstream:
        await register(api, upstream.url)
    async with sessions() as session:
        await session.execute(text("UPDATE servers SET transport = 'stdio', url = NULL, command = '/bin/x'"))
        await session.commit()
    await pass_time(sessions, 1.2)
    assert app.api.state.runtime.supervisor is None
    assert await all_rounds(app) == 0
    async with sessions() as session:
        assert len(await claim_due(session, HOUR, 100)) == 1


async def test_a_server_that_fails_is_asked_ever_more_seldom_and_told_of_once(
    app: Scopegate, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    async with mcp_server(tool("look")) as upstream, serving(answer(500, b"")) as broken:
        path = await register(api, upstream.url)
        await api.patch(path, json={"url": f"{broken}/mcp"})
        await pass_time(sessions, 1.2)
        for failures in range(MAX_DOUBLINGS + 3):
            assert await all_rounds(app) == 1
            (hours,) = await due_in(sessions)
            assert 0.89 < hours / 2 ** min(failures, MAX_DOUBLINGS) < 1.11
            await pass_time(sessions, hours - 0.1)
            assert await all_rounds(app) == 0
            await pass_time(sessions, 0.2)
        failed = [event for event in await sync_events(api) if event["outcome"] == "error"]
        assert len(failed) == 1
        assert await states(api) == {"look": "active"}

        await api.patch(path, json={"url": upstream.url})
        assert (await api.post(f"{path}/sync")).json()["sync"]["state"] == "ok"
        await pass_time(sessions, 1.01)
        assert await all_rounds(app) == 1


async def test_the_next_time_is_spread(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    async with mcp_server() as upstream:
        for number in range(8):
            await register(api, upstream.url, f"up-{number}")
    await pass_time(sessions, 1.2)
    async with sessions() as session:
        assert len(await claim_due(session, HOUR, 100)) == 8
        await session.commit()
    due = await due_in(sessions)
    assert 0.89 < min(due) < max(due) < 1.11
    assert max(due) - min(due) > 0.01


async def test_an_interval_of_nothing_reads_nothing(
    app: Scopegate, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    async with mcp_server() as upstream:
        await register(api, upstream.url)
        await pass_time(sessions, 1.2)
        before = upstream.listed
        await asyncio.wait_for(PeriodicSyncs(app.api.state.runtime, timedelta(0)).run(), 20)
        assert upstream.listed == before
