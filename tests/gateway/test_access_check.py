"""Approvals and quotas of a decision: which requests they apply to, and what counts while a call runs."""

import asyncio
from dataclasses import replace
from math import inf
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from app.admission.store import ApprovalState, DecidedCall, NeededApproval, View, Withheld
from app.domain.access import Decision, PolicyContext
from app.domain.objects import Grant, Identity, IdentityStatus, Part, Server, Token, Tool, ToolState
from app.domain.policy import (
    ApprovalDemand,
    CallerProgram,
    Effect,
    PolicyInput,
    PolicyVerdict,
    QuotaDemand,
)
from app.domain.risk import Risk
from app.domain.scopes import AllServers, AllTools, GrantsScope
from app.domain.token_format import Credential
from app.domain.visibility import make_directory
from app.gateway.access_check import AccessCheck
from app.gateway.pipeline import InFlightCall
from app.lib.event_loop import SLICE_S
from tests.gateway.messages import LEGACY, MODERN, call, post_modern, request
from tests.gateway.upstreams import scripted, send_json
from tests.gateway.world import running

MARIA = ApprovalDemand(uuid4(), 1, "Refund approvers")
LEGAL = ApprovalDemand(uuid4(), 4, "Legal")
A_DAY = QuotaDemand(uuid4(), "key", 3, 0.0, 86_400.0)
TOOL = {"name": "refund", "inputSchema": {"type": "object"}}
ASK = AccessCheck("tool.call", "shop", None, "refund", {"amount": 500})


class Says:
    """One verdict for everything."""

    def __init__(self, effect: Effect, *asks: ApprovalDemand, quotas: tuple[QuotaDemand, ...] = ()) -> None:
        self.verdict = PolicyVerdict(effect, "test_verdict", asks=asks, quotas=quotas)
        self.programs: list[CallerProgram] = []

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        self.programs.append(request.program)
        return self.verdict


def view(says: Says) -> View:
    grant = Grant(uuid4(), 1, AllServers(), AllTools(), resources=True, prompts=True)
    identity = Identity(uuid4(), 1, IdentityStatus.ACTIVE, grants=(grant,))
    token = Token(uuid4(), 1, identity, GrantsScope(), inf)
    tool = Tool(uuid4(), "refund", Risk.WRITE, ToolState.ACTIVE, b"digest")
    servers = {"shop": Server(uuid4(), 1, "shop", enabled=True, tools={"refund": tool})}
    return View(
        token, PolicyContext(1, 1, says), servers, Credential("sgt", token.id, "x"), make_directory({})
    )


def answered(ask: AccessCheck, says: Says) -> Decision:
    return ask.decide(view(says), 1.0)


def test_a_decision_contains_approvals_and_quotas() -> None:
    decision = answered(ASK, Says(Effect.REQUIRE_APPROVAL, MARIA, quotas=(A_DAY,)))
    assert (decision.effect, decision.asks, decision.quotas) == (Effect.REQUIRE_APPROVAL, (MARIA,), (A_DAY,))
    assert decision.attainable


@pytest.mark.parametrize(
    "ask",
    [
        AccessCheck("task.get", "shop", None, "refund"),
        AccessCheck("tools.list", "shop", None),
        AccessCheck("mcp.initialize", "shop", None),
        AccessCheck("tools.list", "shop", None, lists=True),
    ],
    ids=lambda ask: ask.action,
)
def test_follow_up_requests_need_no_approval_and_count_in_no_quota(ask: AccessCheck) -> None:
    decision = answered(ask, Says(Effect.REQUIRE_APPROVAL, MARIA, quotas=(A_DAY,)))
    assert (decision.effect, decision.asks, decision.quotas) == (Effect.ALLOW, (), ())
    assert answered(ask, Says(Effect.ALLOW, quotas=(A_DAY,))).quotas == ()
    assert answered(ask, Says(Effect.DENY)).effect is Effect.DENY


def test_an_approval_that_no_one_could_give_is_a_deny() -> None:
    assert not answered(ASK, Says(Effect.REQUIRE_APPROVAL)).attainable


@pytest.mark.parametrize(
    ("now", "goes_on"),
    [
        (Says(Effect.REQUIRE_APPROVAL, MARIA, LEGAL), True),
        (Says(Effect.REQUIRE_APPROVAL, LEGAL), True),
        (Says(Effect.ALLOW), True),
        (Says(Effect.DENY), False),
        (Says(Effect.REQUIRE_APPROVAL, MARIA, replace(LEGAL, version=5)), False),
        (Says(Effect.REQUIRE_APPROVAL, MARIA, replace(LEGAL, group="Board")), False),
        (Says(Effect.REQUIRE_APPROVAL), False),
    ],
)
def test_a_running_call_goes_on_with_the_approvals_that_it_had_and_no_others(
    now: Says, goes_on: bool
) -> None:
    had = answered(ASK, Says(Effect.REQUIRE_APPROVAL, MARIA, LEGAL))
    assert ASK.reevaluate(view(now), 1.0, frozenset(had.asks)).allowed is goes_on


def test_a_running_call_that_needed_no_approval_ends_when_one_is_asked_for() -> None:
    had = answered(ASK, Says(Effect.ALLOW))
    assert not ASK.reevaluate(view(Says(Effect.REQUIRE_APPROVAL, MARIA)), 1.0, frozenset(had.asks)).allowed


def test_lists_and_calls_tell_policy_the_program_that_asks() -> None:
    program, says = CallerProgram("agent", "1.2"), Says(Effect.ALLOW)
    for ask in (replace(ASK, program=program), AccessCheck("l", "shop", None, lists=True, program=program)):
        answered(ask, says)
    assert set(says.programs) == {program}


@pytest.mark.parametrize("path", ["/mcp/shop", "/mcp"])
async def test_a_call_is_forwarded_only_after_its_approvals_and_quotas(path: str) -> None:
    async def script(message: dict[str, Any], _receive: Any, send: Any) -> None:
        await send_json(
            send, 200, {"jsonrpc": "2.0", "id": 1, "result": {"content": [], "resultType": "complete"}}
        )

    name, needed = "shop__refund" if path == "/mcp" else "refund", approval(ApprovalState.ASKED)
    asked: list[DecidedCall] = []

    def withheld(call: DecidedCall) -> Withheld | None:
        asked.append(call)
        return Withheld(call.decision, (needed,)) if len(asked) == 1 else None

    async with running() as world, scripted(script) as (url, seen):
        world.store.register("shop", url, (MODERN, LEGACY), [TOOL])
        world.store.policies.asks["refund"] = (MARIA,)
        world.store.withheld = withheld
        async with world.client(world.store.issue(world.store.grant())) as client:
            assert "requestState" in (await post_modern(client, path, call(name, {"amount": 500}))).text
            assert not seen.of("tools/call")
            assert not world.store.watched
            assert (await post_modern(client, path, call(name, {"amount": 500}))).status_code == 200
            assert len(seen.of("tools/call")) == 1
    assert asked[0].decision.asks == (MARIA,)
    assert list(world.store.outcomes) == [asked[1].id]


def approval(state: ApprovalState) -> NeededApproval:
    return NeededApproval(uuid4(), MARIA.group, state, inf)


@pytest.mark.parametrize("path", ["/mcp/shop", "/mcp"])
async def test_a_prompt_is_bound_with_what_it_is_asked_for_with(path: str) -> None:
    async def script(message: dict[str, Any], _receive: Any, send: Any) -> None:
        result = {"messages": [], "resultType": "complete"}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with running() as world, scripted(script) as (url, _):
        world.store.register("shop", url, (MODERN, LEGACY), [TOOL])
        name = "shop__letter" if path == "/mcp" else "letter"
        async with world.client(world.store.issue(world.store.grant(prompts=True))) as client:
            for arguments in ({"to": "ada"}, {}, None):
                params = {"name": name} if arguments is None else {"name": name, "arguments": arguments}
                answer = await post_modern(client, path, request("prompts/get", params))
                assert answer.status_code == 200, answer.text
    asked = [admitted.arguments for admitted in world.store.admitted("prompt.get")]
    assert asked == [
        {"name": "letter", "arguments": {"to": "ada"}},
        {"name": "letter", "arguments": {}},
        {"name": "letter"},
    ]


async def test_an_approved_call_runs_until_another_approval_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut_calls: list[InFlightCall] = []
    cut = InFlightCall.cut

    def noted(cut_call: InFlightCall) -> None:
        cut_calls.append(cut_call)
        cut(cut_call)

    monkeypatch.setattr(InFlightCall, "cut", noted)
    has_it, left = asyncio.Event(), asyncio.Event()

    async def script(_message: dict[str, Any], receive: Any, _send: Any) -> None:
        has_it.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    async with running() as world, scripted(script) as (url, _):
        store, asks = world.store, world.store.policies.asks
        store.register("shop", url, (MODERN, LEGACY), [TOOL])
        asks["refund"] = (MARIA,)
        async with world.client(store.issue(store.grant())) as client, asyncio.timeout(50):
            answer = asyncio.create_task(post_modern(client, "/mcp/shop", call("refund", {})))
            await has_it.wait()
            await store.look_again()
            del asks["refund"]
            await store.look_again()
            assert not cut_calls
            asks["refund"] = (MARIA, LEGAL)
            await store.look_again()
            await left.wait()
            assert "access was withdrawn" in (await answer).text
    assert list(store.outcomes.values()) == ["cancelled"]


class Slow(Says):
    """Takes longer over each question than the event loop may be held."""

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        until = monotonic() + 2 * SLICE_S
        while monotonic() < until:
            pass
        return super().evaluate(request)


@pytest.mark.parametrize("shown", [{"lists": True}, {"parts": True}])
async def test_deciding_many_tools_does_not_block_other_requests(
    shown: dict[str, bool],
) -> None:
    says = Slow(Effect.ALLOW)
    here = view(says)
    tool = here.servers["shop"].tools["refund"]
    tools = {f"tool-{number}": replace(tool, name=f"tool-{number}") for number in range(9)}
    here = replace(here, servers={"shop": replace(here.servers["shop"], tools=tools)})
    ask = AccessCheck("server.list", "shop", None, **shown)  # type: ignore[arg-type]
    seeing = asyncio.create_task(ask.decide_visible(here, 1.0))
    turns = 0
    while not seeing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > len(tools)
    assert len(says.programs) == 1 + len(tools) + (len(Part) if ask.parts else 0)
    # Whether a list may still be carried is asked of the server alone.
    says.programs.clear()
    assert ask.reevaluate(here, 1.0).allowed
    assert len(says.programs) == 1
