"""A request waits for the database only within its budget, however many operations it needs."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.admission.store import DecidedCall
from app.gateway.wire import exchange as module
from app.gateway.wire.exchange import DATABASE_BUDGET_S, DatabaseBudgetExceeded, Exchange, with_db_budget
from tests.gateway.messages import LEGACY, MODERN, call, post
from tests.gateway.upstreams import scripted, send_json
from tests.gateway.world import running

SOON = 0.02


def exchange(waited_s: float, *, started: bool = False) -> Exchange:
    return cast("Exchange", SimpleNamespace(waited_s=waited_s, started=started, waits=0))


async def never() -> None:
    await asyncio.Event().wait()


async def soon() -> str:
    await asyncio.sleep(SOON)
    return "found"


async def test_a_request_with_an_exhausted_budget_waits_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_WAIT_S", SOON)
    for waited in (DATABASE_BUDGET_S - SOON, DATABASE_BUDGET_S, 100):
        with pytest.raises(DatabaseBudgetExceeded):
            await with_db_budget(exchange(waited), never())


async def test_all_waits_count_against_the_budget_including_failed_ones() -> None:
    async def fails() -> None:
        await soon()
        raise TimeoutError

    asked = exchange(0)
    assert await with_db_budget(asked, soon()) == "found"
    with pytest.raises(TimeoutError):
        await with_db_budget(asked, fails())
    assert asked.waited_s >= 1.8 * SOON


async def test_concurrent_waits_count_once_from_their_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    monkeypatch.setattr(module, "MIN_WAIT_S", SOON)
    asked, answered = exchange(0), asyncio.Event()
    waiting = [asyncio.create_task(with_db_budget(asked, answered.wait())) for _ in range(16)]
    await asyncio.sleep(0)
    now += DATABASE_BUDGET_S
    with pytest.raises(DatabaseBudgetExceeded):
        await with_db_budget(asked, never())
    answered.set()
    assert all(await asyncio.gather(*waiting))
    assert asked.waited_s == pytest.approx(DATABASE_BUDGET_S)


async def test_a_database_timeout_is_not_reported_as_an_exceeded_budget() -> None:
    async def fails() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await with_db_budget(exchange(1), fails())


async def test_a_started_answer_has_no_database_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_WAIT_S", SOON / 10)
    assert await with_db_budget(exchange(100, started=True), soon()) == "found"


async def test_a_call_that_exceeds_its_database_budget_is_never_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SHORT_S", 0)
    monkeypatch.setattr(module, "DATABASE_BUDGET_S", 0)
    monkeypatch.setattr(module, "MIN_WAIT_S", SOON)

    async def answers(message: dict[str, Any], receive: Any, send: Any) -> None:
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}})

    async with running() as world, scripted(answers) as (url, seen):
        world.store.register("calc", url, (MODERN, LEGACY), [{"name": "add", "inputSchema": {}}])
        begun: list[DecidedCall] = []

        async def admit(row: DecidedCall) -> None:
            begun.append(row)
            await never()

        monkeypatch.setattr(world.store, "admit", admit)
        async with world.client(world.store.issue(world.store.grant())) as client:
            answer = await post(client, "/mcp/calc", call("add"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert not seen.requests
    # The row may be durable all the same.
    assert world.store.outcomes == {begun[0].id: "not_forwarded"}
