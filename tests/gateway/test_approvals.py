"""Answers to calls that need an approval, for clients of each era, and their wait for a decision."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from app.admission.store import ApprovalState, DecidedCall, NeededApproval, Withheld
from app.domain.policy import ApprovalDemand, Effect, PolicyInput, PolicyVerdict
from app.domain.token_format import SCOPED_TOKEN, parse_credential
from app.gateway import approvals
from app.gateway.wire import exchange
from app.lib.ids import APPROVAL, EVENT, format_id
from tests.gateway.messages import LEGACY, MODERN, call, initialize, modern, post, post_modern, request
from tests.gateway.mirror.test_input_rounds import QUESTIONS
from tests.gateway.upstreams import Seen, scripted, send_events, send_json
from tests.gateway.world import Policies, World, running

TOOL = {"name": "refund", "inputSchema": {"type": "object"}}
ASKS = (ApprovalDemand(uuid4(), 1, "Refund approvers", "Over 100."),)
EXPIRES_AT = datetime(2099, 1, 1, tzinfo=UTC).timestamp()
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
PATHS = [("/mcp/shop", "refund"), ("/mcp", "shop__refund")]
ENDPOINTS = pytest.mark.parametrize(("path", "name"), PATHS, ids=["one", "all"])


class Verdicts(Policies):
    """Requires approval for the tool, or returns the test's verdict."""

    def __init__(self) -> None:
        super().__init__()
        self.asks["refund"] = ASKS
        self.says: Callable[[PolicyInput], PolicyVerdict] | None = None

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        return super().evaluate(request) if self.says is None else self.says(request)


@dataclass
class Desk:
    """The approvals of a world, as in the database."""

    world: World
    seen: Seen
    token: str
    policies: "Verdicts"
    needed: list[NeededApproval] = field(default_factory=list)
    asked: list[DecidedCall] = field(default_factory=list)

    def withheld(self, call: DecidedCall) -> Withheld | None:
        self.asked.append(call)
        if all(each.state is ApprovalState.APPROVED for each in self.needed):
            return None
        refused = any(each.state is ApprovalState.DENIED for each in self.needed)
        decision = call.decision
        if refused:
            decision = replace(decision, effect=Effect.DENY, reason_code="approval_denied")
        return Withheld(decision, tuple(self.needed))

    def decide(self, state: ApprovalState, number: int = 0, **more: Any) -> None:
        self.needed[number] = replace(self.needed[number], state=state, **more)

    def link(self, number: int = 0) -> str:
        return f"http://127.0.0.1:8080/console/approvals/{self.id(number)}"

    def id(self, number: int = 0) -> str:
        return format_id(APPROVAL, self.needed[number].id)

    @property
    def event(self) -> str:
        return format_id(EVENT, self.world.store.calls[-1].id)


def approval(group: str = "Refund approvers", state: ApprovalState = ApprovalState.ASKED) -> NeededApproval:
    return NeededApproval(uuid4(), group, state, EXPIRES_AT, ("Over 100.",))


async def done(message: dict[str, Any], _receive: Any, send: Any) -> None:
    """A server of both eras that answers every call."""
    result: dict[str, Any] = {"content": [{"type": "text", "text": "refunded"}], "resultType": "complete"}
    headers = {}
    if message.get("method") == "initialize":
        result = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
        headers = {"mcp-session-id": "s-1"}
    await send_json(send, 200, {"jsonrpc": "2.0", "id": message.get("id"), "result": result}, headers)


@asynccontextmanager
async def desk(script: Any = done, versions: tuple[str, ...] = (MODERN, LEGACY)) -> AsyncIterator[Desk]:
    async with running() as world, scripted(script) as (url, seen):
        world.store.register("shop", url, versions, [TOOL])
        world.store.policies = policies = Verdicts()
        token = world.store.issue(world.store.grant(resources=True))
        made = Desk(world, seen, token, policies, [approval()])
        world.store.withheld = made.withheld
        yield made


def refund(name: str, **params: Any) -> dict[str, Any]:
    message = call(name, {"amount": 500})
    message["params"] |= params
    return message


async def modern_call(
    client: httpx2.AsyncClient, path: str, message: dict[str, Any], declared: dict[str, Any] | None = None
) -> dict[str, Any]:
    body, headers = modern(message)
    if declared is not None:
        body["params"]["_meta"][CAPABILITIES] = declared
    answer = await client.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["result"]
    return result


def again(message: dict[str, Any], result: dict[str, Any], action: str | None = "accept") -> dict[str, Any]:
    """Repeat a request with the state and responses to its input requests."""
    params = {**message["params"], "requestState": result["requestState"]}
    if action is not None and "inputRequests" in result:
        params["inputResponses"] = {key: {"action": action} for key in result["inputRequests"]}
    return {**message, "params": params}


@ENDPOINTS
async def test_a_client_without_url_elicitation_gets_a_text(path: str, name: str) -> None:
    async with desk() as here, here.world.client(here.token) as client:
        result = await modern_call(client, path, refund(name), {"elicitation": {}})
        text = result["content"][0]["text"]
        for said in (here.link(), here.event, "Refund approvers", "Over 100.", "Repeat"):
            assert said in text
        assert result["isError"] is True
        assert result["_meta"] == {
            "io.scopegate/event": here.event,
            "io.scopegate/approvals": [
                {"id": here.id(), "url": here.link(), "group": "Refund approvers", "state": "pending"}
            ],
        }
        here.decide(ApprovalState.DENIED, decision_reason="Not this account.")
        can: tuple[dict[str, Any], ...] = ({}, {"elicitation": {"url": {}}})
        for declared in can:
            refused = (await modern_call(client, path, refund(name), declared))["content"][0]["text"]
            assert "Not this account." in refused
            assert "2099-01-01" in refused
            assert "Repeat" not in refused
        assert not here.seen.of("tools/call")
        here.decide(ApprovalState.APPROVED)
        assert (await modern_call(client, path, refund(name)))["content"][0]["text"] == "refunded"


@ENDPOINTS
async def test_a_modern_client_waits_for_the_approval_and_gets_its_answer(path: str, name: str) -> None:
    async with desk() as here, here.world.client(here.token) as client:
        here.needed.append(approval("Legal"))
        first = await modern_call(client, path, refund(name))
        assert first["resultType"] == "input_required"
        questions = first["inputRequests"]
        assert [questions[here.id(n)]["params"]["url"] for n in (0, 1)] == [here.link(0), here.link(1)]
        assert questions[here.id(0)]["method"] == "elicitation/create"
        assert questions[here.id(0)]["params"]["mode"] == "url"
        for said in ("Refund approvers", "Over 100.", "refund", here.event):
            assert said in questions[here.id(0)]["params"]["message"]
        assert here.needed[0].id.hex not in str(first)
        waiting = asyncio.create_task(modern_call(client, path, again(refund(name), first)))
        await here.world.store.approvals.begun.wait()
        assert len(here.asked) == 1, "what waits was not decided yet"
        for number in (0, 1):
            here.decide(ApprovalState.APPROVED, number)
        here.world.store.approvals.decided.set()
        assert (await waiting)["content"][0]["text"] == "refunded"
        assert here.world.store.approvals.waited_for == [frozenset(each.id for each in here.needed)]
        ((_, sent),) = here.seen.of("tools/call")
        assert not {"requestState", "inputResponses"} & set(sent["params"])


@ENDPOINTS
async def test_a_wait_is_bounded_and_does_not_ask_twice(
    path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approvals, "WAIT_SECONDS", 0.01)
    async with desk() as here, here.world.client(here.token) as client:
        result = await modern_call(client, path, refund(name))
        for _ in range(approvals.MAX_WAITS - 1):
            result = await modern_call(client, path, again(refund(name), result))
            assert result["resultType"] == "input_required"
            assert "inputRequests" not in result, "its user was asked already"
        result = await modern_call(client, path, again(refund(name), result))
        assert "Repeat" in result["content"][0]["text"]
        repeated = await modern_call(client, path, refund(name))
        here.needed.append(approval("Legal"))
        more = await modern_call(client, path, again(refund(name), repeated))
        assert list(more["inputRequests"]) == [here.id(1)], "what is needed since"


@ENDPOINTS
async def test_a_long_wait_is_kept_alive_and_the_answer_ends_its_stream(
    path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "FIRST_COMMENT", 0.01)
    async with desk() as here, here.world.client(here.token) as client:
        first = await modern_call(client, path, refund(name))
        body, headers = modern(again(refund(name), first))
        async with client.stream("POST", path, json=body, headers=headers) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            lines = answer.aiter_lines()
            assert await anext(lines) == ": keep-alive"
            here.decide(ApprovalState.APPROVED)
            here.world.store.approvals.decided.set()
            rest = [line async for line in lines]
        assert "refunded" in next(line for line in rest if line.startswith("data: "))


@ENDPOINTS
async def test_who_leaves_waits_no_longer_and_nothing_runs(path: str, name: str) -> None:
    async with desk() as here:
        async with here.world.client(here.token) as client:
            first = await modern_call(client, path, refund(name))
            here.decide(ApprovalState.APPROVED)
            waiting = asyncio.create_task(modern_call(client, path, again(refund(name), first)))
            await here.world.store.approvals.begun.wait()
            waiting.cancel()
            async with asyncio.timeout(50):
                await here.world.store.approvals.ended.wait()
        assert not here.seen.of("tools/call")
        assert len(here.asked) == 1


@ENDPOINTS
async def test_whose_user_declines_runs_nothing_and_whose_user_turns_away_does_not_wait(
    path: str, name: str
) -> None:
    async with desk() as here, here.world.client(here.token) as client:
        first = await modern_call(client, path, refund(name))
        turned = await modern_call(client, path, again(refund(name), first, "cancel"))
        assert "Repeat" in turned["content"][0]["text"]
        here.decide(ApprovalState.APPROVED)
        declined = await modern_call(client, path, again(refund(name), first, "decline"))
        assert "declined" in declined["content"][0]["text"]
        assert here.event in declined["content"][0]["text"]
        assert here.world.store.calls[-1].decision.reason_code == "approval_declined"
        assert not here.seen.of("tools/call")
        assert not here.world.store.approvals.waited_for


async def test_what_a_client_was_given_is_of_use_to_its_token_for_its_tool_at_its_endpoint_alone() -> None:
    async with desk() as here:
        here.world.store.approvals.decided.set()
        other = here.world.store.issue(here.world.store.grant())
        async with here.world.client(here.token) as client, here.world.client(other) as stranger:
            first = await modern_call(client, "/mcp", refund("shop__refund"))
            here.decide(ApprovalState.APPROVED)
            for who, path, message in (
                (stranger, "/mcp", refund("shop__refund")),
                (client, "/mcp/shop", refund("refund")),
                (client, "/mcp", refund("shop__other")),
            ):
                got = await post_modern(who, path, again(message, first))
                assert got.json()["error"]["code"] == -32602
            assert not here.world.store.approvals.waited_for
            assert not here.seen.of("tools/call")


@pytest.mark.parametrize("own", [{"requestState": "its own"}, {}], ids=["state", "no-state"])
@ENDPOINTS
async def test_a_server_may_ask_in_a_call_that_was_approved(
    path: str, name: str, own: dict[str, str]
) -> None:
    async def asking(message: dict[str, Any], receive: Any, send: Any) -> None:
        if "inputResponses" in message["params"]:
            await done(message, receive, send)
            return
        result = {"resultType": "input_required", "inputRequests": QUESTIONS, **own}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with desk(asking, (MODERN,)) as here, here.world.client(here.token) as client:
        here.world.store.approvals.decided.set()
        first = await modern_call(client, path, refund(name))
        here.decide(ApprovalState.APPROVED)
        second = await modern_call(client, path, again(refund(name), first))
        assert second["inputRequests"] == QUESTIONS
        assert [each.continues for each in here.asked] == [None, None]
        third = await modern_call(client, path, again(refund(name), second))
        assert third["content"][0]["text"] == "refunded"
        assert here.asked[-1].continues == here.asked[-2].id, "the round goes on with what that one took"
        asked, answered = (sent["params"] for _, sent in here.seen.of("tools/call"))
        assert not {"requestState", "inputResponses"} & set(asked)
        assert (answered.get("requestState"), list(answered["inputResponses"])) == (
            own.get("requestState"),
            list(QUESTIONS),
        )


Sending = Callable[[dict[str, Any]], Awaitable[Any]]


async def session(client: httpx2.AsyncClient, path: str, elicitation: Any, version: str = LEGACY) -> Sending:
    """Begin a legacy session; gives what posts in it."""
    return (await opened(client, path, elicitation, version))[0]


async def opened(
    client: httpx2.AsyncClient, path: str, elicitation: Any, version: str = LEGACY
) -> tuple[Sending, dict[str, str]]:
    """The same with the headers of the session."""
    hello = initialize(version)
    hello["params"]["capabilities"] = {} if elicitation is None else {"elicitation": elicitation}
    answer = await post(client, path, hello)
    headers = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": version}

    async def send(message: dict[str, Any]) -> Any:
        got = await client.post(path, json=message, headers=headers)
        assert got.status_code == 200, got.text
        return got.json()

    return send, headers


@ENDPOINTS
async def test_a_client_of_2025_11_25_gets_url_elicitation_and_others_a_text(path: str, name: str) -> None:
    async with desk(versions=(LEGACY, "2025-06-18")) as here, here.world.client(here.token) as client:
        send = await session(client, path, {"form": {}, "url": {}})
        for _ in range(2):
            error = (await send(refund(name)))["error"]
            assert error["code"] == -32042
            (elicitation,) = error["data"]["elicitations"]
            assert (
                elicitation.items() >= {"mode": "url", "elicitationId": here.id(), "url": here.link()}.items()
            )
            assert error["data"]["io.scopegate/event"] == here.event
            for text in (elicitation["message"], error["message"]):
                assert "Refund approvers" in text
        here.decide(ApprovalState.DENIED, decision_reason="No.")
        assert (await send(refund(name)))["result"]["isError"] is True
        here.decide(ApprovalState.PENDING)
        for declared, version in (({"form": {}}, LEGACY), (None, LEGACY), ({"url": {}}, "2025-06-18")):
            result = (await (await session(client, path, declared, version))(refund(name)))["result"]
            assert here.link() in result["content"][0]["text"]
            assert "resultType" not in result
        here.decide(ApprovalState.APPROVED)
        assert (await send(refund(name)))["result"]["content"][0]["text"] == "refunded"


@ENDPOINTS
async def test_a_session_is_notified_when_its_approval_is_decided(path: str, name: str) -> None:
    async def streaming(message: dict[str, Any], receive: Any, send: Any) -> None:
        if message:
            await done(message, receive, send)
            return
        await send_events(send, b": here\r\n\r\n", last=False)
        await receive()

    async with desk(streaming, (LEGACY,)) as here, here.world.client(here.token) as client:
        credential = parse_credential(here.token, SCOPED_TOKEN)
        assert credential is not None
        can: tuple[dict[str, Any], ...] = ({"form": {}}, {"url": {}})
        for declared in can:
            send, headers = await opened(client, path, declared)
            await send(refund(name))
            async with client.stream("GET", path, headers=headers) as stream:
                assert stream.status_code == 200
                assert here.world.gateway.has_approval_listeners is ("url" in declared)
                for token_id in (uuid4(), credential.id):
                    here.world.gateway.announce_approval(here.needed[0].id, token_id)
                if "url" in declared:
                    lines = stream.aiter_lines()
                    lines_read = [line async for line in take(lines) if line.startswith("data: ")]
        assert [json.loads(line[6:]) for line in lines_read] == [
            {
                "jsonrpc": "2.0",
                "method": "notifications/elicitation/complete",
                "params": {"elicitationId": here.id()},
            }
        ]
        async with asyncio.timeout(50):
            while here.world.gateway.has_approval_listeners:  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.01)


async def take(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """Lines up to the end of the first event that has data."""
    seen = ""
    async for line in lines:
        yield line
        seen = line or seen
        if not line and seen.startswith("data: "):
            return


async def test_a_denied_task_call_gets_an_error() -> None:
    async with desk() as here, here.world.client(here.token) as client:
        send = await session(client, "/mcp/shop", None)
        error = (await send(refund("refund", task={})))["error"]
        assert error["code"] == -32602
        assert here.link() in error["message"]
        assert error["data"]["io.scopegate/event"] == here.event


@ENDPOINTS
async def test_the_callers_reason_is_shown_only_to_approvers(path: str, name: str) -> None:
    async with desk() as here, here.world.client(here.token) as client:
        here.decide(ApprovalState.APPROVED)
        body, headers = modern(refund(name))
        body["params"]["_meta"]["io.scopegate/reason"] = "Order 17 came twice."
        assert (await client.post(path, json=body, headers=headers)).status_code == 200
        assert [each.reason for each in here.asked] == ["Order 17 came twice."]
        assert "Order 17" not in str(here.seen.requests)
        assert "io.scopegate" not in str(here.seen.requests)
        for bad in ("x" * 501, 17, None):
            body["params"]["_meta"]["io.scopegate/reason"] = bad
            answer = await client.post(path, json=body, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize(
    ("reason_code", "said"),
    [("policy_denied", "does not allow"), ("policy_not_permitted", "No policy"), ("policy_error", "evaluated"),
     ("quota_exceeded", "quota"), ("another", "another")],
)  # fmt: skip
@ENDPOINTS
async def test_every_denial_says_why_and_which_event_explains_it(
    path: str, name: str, reason_code: str, said: str
) -> None:
    async with desk() as here, here.world.client(here.token) as client:
        verdict = PolicyVerdict(Effect.DENY, reason_code, reasons=("Never on Sundays.",))
        here.policies.says = _only_calls(verdict)
        result = await modern_call(client, path, refund(name))
        for part in (said, "Never on Sundays.", here.event):
            assert part in result["content"][0]["text"]
        assert result["_meta"] == {"io.scopegate/event": here.event}


def _only_calls(verdict: PolicyVerdict) -> Callable[[PolicyInput], PolicyVerdict]:
    allowed = PolicyVerdict(Effect.ALLOW, "granted")
    return lambda request: verdict if request.arguments is not None else allowed


@pytest.mark.parametrize(("path", "uri"), [("/mcp/shop", "r://1"), ("/mcp", "mcp+shop+r://1")])
async def test_a_denied_resource_gets_a_reason_if_its_part_is_in_reach(path: str, uri: str) -> None:
    async with desk() as here, here.world.client(here.token) as client:
        verdict = PolicyVerdict(Effect.DENY, "policy_denied", reasons=("Not that one.",))
        here.policies.says = _only_calls(verdict)
        answer = await post_modern(client, path, request("resources/read", {"uri": uri}))
        assert "Not that one." in answer.json()["error"]["message"]
        assert answer.json()["error"]["data"] == {"io.scopegate/event": here.event}
        ask = PolicyVerdict(Effect.REQUIRE_APPROVAL, "approval_required", asks=ASKS)
        here.policies.says = _only_calls(ask)
        led = await post_modern(client, path, request("resources/read", {"uri": uri}))
        assert list(led.json()["result"]["inputRequests"]) == [here.id()]
        here.policies.says = lambda request: verdict
        hidden = await post_modern(client, path, request("resources/read", {"uri": uri}))
        assert "io.scopegate" not in hidden.text
        assert not here.seen.of("resources/read")
