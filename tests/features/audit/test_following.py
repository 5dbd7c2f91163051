"""The live stream has every event once, in commit order, for callers who may see it, and ends when they may not."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.event import listen
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.http import live
from app.lib.ids import EVENT, TOKEN, format_id, new_id
from app.models.audit import AuditEvent
from tests.api import Account, ApiAs
from tests.streams import Answer, listening

if TYPE_CHECKING:
    from app.main import Scopegate

PATH = "/api/v1/audit-events/stream"
Sessions = async_sessionmaker[AsyncSession]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the polling interval."""
    monkeypatch.setattr(live, "LOOK_EVERY_S", 0.02)


@pytest.fixture
def bearer(owner: Account) -> dict[str, str]:
    return {"Authorization": f"Bearer {owner.bearer}"}


def event(**columns: Any) -> AuditEvent:
    return AuditEvent(**{"id": new_id(), "action": "tool.call", "actor_type": "identity", **columns})


async def commit(sessions: Sessions, **columns: Any) -> str:
    async with sessions() as session:
        row = event(**columns)
        session.add(row)
        await session.commit()
    return format_id(EVENT, row.id)


async def ids_of(stream: Answer, number: int) -> list[str]:
    return [json.loads((await stream.event()).data or b"{}")["id"] for _ in range(number)]


async def test_a_stream_begins_now_and_tells_what_is_recorded_from_then_on(
    app: "Scopegate", bearer: dict[str, str], sessions: Sessions
) -> None:
    await commit(sessions)
    async with listening(app, PATH, bearer) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert (await stream.block()).data is None
        later = [await commit(sessions), await commit(sessions)]
        received = await ids_of(stream, 2)
        # Earlier events follow too if another transaction delayed them until now.
        while received[-2:] != later:
            received += await ids_of(stream, 1)
        assert len(received) <= 4


async def test_one_goes_on_after_the_last_event_that_was_received(
    app: "Scopegate", api: httpx2.AsyncClient, bearer: dict[str, str], sessions: Sessions
) -> None:
    written = [await commit(sessions) for _ in range(3)]
    async with listening(app, PATH, bearer, {"after": ""}) as stream:
        first = await stream.event()
    assert json.loads(first.data or b"")["id"] == written[0]
    assert first.id is not None
    async with listening(app, PATH, bearer | {"Last-Event-ID": first.id}) as stream:
        assert await ids_of(stream, 2) == written[1:]
    async with listening(app, PATH, bearer, {"after": first.id}) as stream:
        assert await ids_of(stream, 2) == written[1:]
    polled = await api.get("/api/v1/audit-events", params={"after": first.id})
    assert [item["id"] for item in polled.json()["items"]] == written[1:]


async def test_a_transaction_that_commits_late_is_told_in_its_place(
    app: "Scopegate", bearer: dict[str, str], sessions: Sessions
) -> None:
    async with listening(app, PATH, bearer) as stream, sessions() as slow:
        row = event()
        slow.add(row)
        await slow.flush()
        early = await commit(sessions)
        await slow.commit()
        assert await ids_of(stream, 2) == [format_id(EVENT, row.id), early]


async def test_only_what_matches_is_told_and_the_rest_is_not_gone_through_again(
    app: "Scopegate", bearer: dict[str, str], sessions: Sessions
) -> None:
    token = new_id()
    params = {"token_id": format_id(TOKEN, token), "after": ""}
    mine = await commit(sessions, token_id=token)
    await commit(sessions, token_id=new_id())
    async with listening(app, PATH, bearer, params) as stream:
        event = await stream.event()
        assert json.loads(event.data or b"")["id"] == mine
        passed = await stream.block()
        assert (passed.data, passed.id is None) == (None, False)
        assert passed.id != event.id


async def test_a_foreign_place_is_refused(
    app: "Scopegate", bearer: dict[str, str], sessions: Sessions
) -> None:
    await commit(sessions)
    async with listening(app, PATH, bearer, {"after": ""}) as stream:
        place = (await stream.event()).id
    async with listening(app, PATH, bearer, {"after": place, "tool": "x"}) as answer:
        assert (answer.status, json.loads(await answer.body())["code"]) == (400, "cursor_mismatch")


@pytest.mark.parametrize(("role", "status"), [("auditor", 200), ("issuer", 403), ("approver", 403)])
async def test_only_those_who_may_audit_listen(
    app: "Scopegate", api_as: ApiAs, role: str, status: int
) -> None:
    headers = dict((await api_as(role)).headers)
    async with listening(app, PATH, {"Authorization": headers["authorization"]}) as stream:
        assert stream.status == status


async def test_a_stream_ends_when_its_callers_right_does_and_tells_nothing_more(
    app: "Scopegate", owner: Account, bearer: dict[str, str], sessions: Sessions
) -> None:
    async with listening(app, PATH, bearer) as stream:
        assert (await stream.block()).data is None
        async with sessions() as session:
            await session.execute(
                text("UPDATE service_account_credentials SET revoked_at = now() WHERE id = :id"),
                {"id": owner.credential_id},
            )
            session.add(event())
            await session.commit()
        ended = await stream.event()
        assert (ended.event, json.loads(ended.data or b"")) == ("ended", {"code": "unauthenticated"})
        await stream.body()
        assert stream.is_whole


async def test_a_quiet_stream_asks_whether_its_caller_still_may_listen(
    app: "Scopegate",
    owner: Account,
    bearer: dict[str, str],
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "QUIET_S", 0.05)
    async with listening(app, PATH, bearer) as stream:
        assert b"open" in (await stream.block()).raw
        assert b"quiet" in (await stream.block()).raw
        async with sessions() as session:
            # No event is recorded for it.
            await session.execute(
                text("UPDATE service_accounts SET role = 'issuer' WHERE id = :id"), {"id": owner.id}
            )
            await session.commit()
        ended = await stream.event()
        assert (ended.event, json.loads(ended.data or b"")) == ("ended", {"code": "forbidden"})


async def test_one_caller_has_so_many_streams_and_others_have_theirs(
    app: "Scopegate", api_as: ApiAs, bearer: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = app.api.state.runtime.live._streams
    monkeypatch.setattr(slots, "_most_of_caller", 1)
    other = {"Authorization": (await api_as("auditor")).headers["authorization"]}
    async with listening(app, PATH, bearer) as stream:
        await stream.block()
        async with listening(app, PATH, bearer) as refused:
            assert (refused.status, json.loads(await refused.body())["code"]) == (429, "too_many_streams")
            assert refused.headers["retry-after"]
        async with listening(app, PATH, other) as another:
            assert another.status == 200
    async with listening(app, PATH, bearer) as stream:
        assert stream.status == 200


async def test_no_stream_holds_a_connection_while_it_waits(app: "Scopegate", bearer: dict[str, str]) -> None:
    pool = app.api.state.runtime.sessions.kw["bind"].pool
    freed = asyncio.Event()
    listen(pool, "checkin", lambda *_: freed.set())
    async with listening(app, PATH, bearer) as first, listening(app, PATH, bearer) as second:
        await first.block()
        await second.block()
        async with asyncio.timeout(50):
            while pool.checkedout():
                freed.clear()
                await freed.wait()
