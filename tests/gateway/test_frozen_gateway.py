"""A gateway that was frozen sends nothing based on outdated data, neither a first nor a later request."""

from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from app.admission.store import View
from app.gateway import pipeline
from app.gateway.pipeline import ADMISSION_SECONDS, CONFIRMED_SECONDS, InFlightCall, Pipeline
from app.lib.clock import boot_time
from tests.gateway import world as ports
from tests.gateway.aggregate.test_lists import everything, fleet, listed, pages_of, prompts
from tests.gateway.messages import LEGACY, call, initialize, post, post_modern
from tests.gateway.upstreams import reference, scripted, send_json
from tests.gateway.world import running

FROZEN_S = 60.0
TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]
ROOTS_CHANGED = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}


class Clock:
    """The clock that the gateway judges by, which the test may put forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        for module in (pipeline, ports):
            monkeypatch.setattr(module, "boot_time", self.now)

    def now(self) -> float:
        """As it is for the gateway."""
        return boot_time() + self.ahead

    def freeze(self) -> None:
        """As if the process had stood still for so long."""
        self.ahead += FROZEN_S


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_later_requests_are_sent_only_while_the_call_is_confirmed(clock: Clock) -> None:
    confirmed = boot_time()
    store = SimpleNamespace(confirmed_at=lambda _id: confirmed)
    here = cast("Pipeline", SimpleNamespace(store=store))
    running_call = InFlightCall(here, uuid4(), cast("View", None), None, None)
    running_call.admitted_at = confirmed
    assert running_call.may_start()
    assert running_call.may_continue()
    clock.ahead = ADMISSION_SECONDS + 0.1
    assert not running_call.may_start()
    assert running_call.may_continue()
    clock.ahead = CONFIRMED_SECONDS + 0.1
    assert not running_call.may_continue()
    confirmed = clock.now()
    assert running_call.may_continue()
    assert not running_call.may_start()
    running_call.cut()
    assert not running_call.may_continue()


async def test_a_list_page_ends_after_a_freeze_and_continues_under_a_new_admission(
    clock: Clock,
) -> None:
    method = "prompts/list"
    pages = pages_of(method, [prompts("1"), prompts("2"), prompts("3")])

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        await pages(message, receive, send)
        if message["params"].get("cursor") == "1":
            clock.freeze()

    async with fleet(a=script) as (world, seen), world.client(everything(world)) as client:
        first = await listed(client, method)
        assert [each["name"] for each in first["prompts"]] == ["a__1", "a__2"]
        assert len(seen["a"].of(method)) == 2
        admitted = len(world.store.calls)
        rest = await listed(client, method, first["nextCursor"])
        assert [each["name"] for each in rest["prompts"]] == ["a__3"]
        assert len(world.store.calls) > admitted


async def test_opening_a_session_does_not_continue_after_a_freeze(clock: Clock) -> None:
    frozen = 0

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal frozen
        if message.get("method") == "initialize":
            result = {
                "protocolVersion": LEGACY,
                "capabilities": {},
                "serverInfo": {"name": "x", "version": "1"},
            }
            frozen += 1
            if frozen == 1:
                clock.freeze()
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            await send_json(send, 200, answer, {"mcp-session-id": f"s{frozen}"})
        elif "id" in message:
            await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}})
        else:
            await send_json(send, 202, b"")

    async with running() as world, scripted(script) as (url, seen):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            answer = await post_modern(client, "/mcp", call("calc__add"))
        assert "result" in answer.json(), answer.text
        sessions = {
            headers[b"mcp-session-id"]
            for method, headers, body in seen.requests
            if method == "POST" and body.get("method") != "initialize"
        }
        assert sessions == {b"s2"}
        assert list(world.store.outcomes.values()) == ["not_forwarded", "success"]


@pytest.mark.parametrize("for_good", [False, True])
async def test_a_notification_is_not_sent_after_a_freeze(clock: Clock, *, for_good: bool) -> None:
    async with running() as world, reference(json_response=True) as (url, seen):
        await world.register("calc", url)
        token = world.store.issue(world.store.grant())
        async with world.client(token) as client:
            session = (await post(client, "/mcp/calc", initialize())).headers["mcp-session-id"]
            sent = {"mcp_session_id": session, "mcp_protocol_version": LEGACY}

            def freeze() -> None:
                clock.freeze()
                if not for_good:
                    world.store.at_refresh = None

            world.store.at_refresh = freeze
            before = world.store.refreshes
            answer = await post(client, "/mcp/calc", ROOTS_CHANGED, **sent)
            assert answer.status_code == (503 if for_good else 202)
            assert len(seen.of(ROOTS_CHANGED["method"])) == (0 if for_good else 1)
            assert world.store.refreshes - before == (pipeline.MAX_ROUNDS if for_good else 2)
