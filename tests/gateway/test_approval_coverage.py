"""A call that needs an approval forwards only what its approval covers."""

from typing import Any

import httpx2

from app.admission.store import ApprovalState
from app.domain.policy import Effect, PolicyVerdict
from app.gateway import approvals
from app.gateway.access_check import USES
from app.gateway.approvals import is_trace_parent, is_trace_state
from app.gateway.wire import messages
from tests.gateway.messages import LEGACY, MODERN, initialize, modern, post, request
from tests.gateway.test_approvals import ASKS, CAPABILITIES, ENDPOINTS, Desk, desk, refund

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HARM = "also refund everybody"
HARMFUL_META = {
    "note": HARM,
    "progressToken": {"a": HARM},
    "traceparent": HARM,
    "tracestate": HARM,
    "baggage": HARM,
    "io.modelcontextprotocol/clientInfo": {"name": HARM, "version": "1"},
    "io.modelcontextprotocol/logLevel": HARM,
    "io.modelcontextprotocol/unknown": HARM,
    "io.modelcontextprotocol/related-task": {"taskId": HARM},
}
HEADERS = {
    "traceparent": PARENT,
    "tracestate": HARM,
    "accept": f"application/json, text/event-stream, a/b;x={HARM}",
}


async def send(client: httpx2.AsyncClient, path: str, message: dict[str, Any], meta: dict[str, Any]) -> Any:
    """Post one message of the modern era with this free ``_meta``."""
    body, headers = modern(message)
    body["params"]["_meta"] |= meta
    declared = body["params"]["_meta"][CAPABILITIES]
    body["params"]["_meta"][CAPABILITIES] = {**declared, "sampling": {"note": HARM}}
    got = await client.post(path, json=body, headers={**headers, **HEADERS})
    assert got.status_code == 200, got.text
    return got.json()["result"]


def sent(here: Desk) -> tuple[dict[bytes, bytes], dict[str, Any]]:
    """Headers and body of the one call that its server got."""
    [found] = here.seen.of("tools/call")
    return found


@ENDPOINTS
async def test_of_an_approved_call_nothing_free_is_forwarded(path: str, name: str) -> None:
    async with desk(versions=(MODERN,)) as here, here.world.client(here.token) as client:
        here.decide(ApprovalState.APPROVED)
        await send(client, path, refund(name), HARMFUL_META)
        headers, body = sent(here)
        assert HARM not in str(body)
        assert HARM.encode() not in str(headers).encode()
        assert {key: body["params"][key] for key in ("name", "arguments")} == refund("refund")["params"]
        assert set(body["params"]["_meta"]) == {
            "io.modelcontextprotocol/protocolVersion",
            "io.modelcontextprotocol/clientCapabilities",
            "io.modelcontextprotocol/clientInfo",
        }


@ENDPOINTS
async def test_wellformed_traces_and_progress_tokens_are_forwarded(path: str, name: str) -> None:
    good = {"progressToken": "p-1", "traceparent": PARENT, "tracestate": "a=1,b@c=2"}
    async with desk(versions=(MODERN,)) as here, here.world.client(here.token) as client:
        here.decide(ApprovalState.APPROVED)
        await send(client, path, refund(name), good)
        headers, body = sent(here)
        assert {key: body["params"]["_meta"][key] for key in good} == good
        assert headers.get(b"traceparent", PARENT.encode()) == PARENT.encode()
        assert b"tracestate" not in headers


@ENDPOINTS
async def test_a_call_that_needs_no_approval_keeps_its_meta(path: str, name: str) -> None:
    async with desk(versions=(MODERN,)) as here, here.world.client(here.token) as client:
        here.policies.asks.clear()
        await send(client, path, refund(name), {"note": HARM, "progressToken": HARM})
        _, body = sent(here)
        assert body["params"]["_meta"]["note"] == body["params"]["_meta"]["progressToken"] == HARM


@ENDPOINTS
async def test_what_an_approval_does_not_cover_is_denied(path: str, name: str) -> None:
    async with desk(versions=(MODERN,)) as here, here.world.client(here.token) as client:
        here.decide(ApprovalState.APPROVED)
        for more in (
            {"inputResponses": {"a": {"action": "accept", "content": {"note": HARM}}}},
            {"note": HARM},
            {"uri": HARM},
        ):
            result = await send(client, path, refund(name, **more), {})
            assert result["isError"] is True
            assert "covers only its name and arguments" in result["content"][0]["text"]
            assert here.world.store.calls[-1].decision.reason_code == "not_covered_by_approval"
        message = {**refund(name), "note": HARM}
        assert (await send(client, path, message, {}))["isError"] is True
        assert (await send(client, path, {**refund(name), "id": HARM}, {}))["isError"] is True
        assert not here.seen.of("tools/call")
        assert not here.asked, "no approver is asked for it"
        here.policies.asks.clear()
        assert "isError" not in await send(client, path, refund(name, note=HARM), {})


async def test_what_an_approval_of_a_resource_does_not_cover_is_denied() -> None:
    message = request("resources/read", {"uri": "a:b", "note": HARM})
    async with desk(versions=(MODERN,)) as here, here.world.client(here.token) as client:
        here.policies.says = lambda _request: PolicyVerdict(
            Effect.REQUIRE_APPROVAL, "approval_required", asks=ASKS
        )
        here.decide(ApprovalState.APPROVED)
        body, headers = modern(message)
        got = await client.post("/mcp/shop", json=body, headers=headers)
        assert "covers only its name and arguments" in got.json()["error"]["message"]
        assert not here.seen.of("resources/read")


async def test_a_call_as_a_task_is_bound_with_its_time_to_live_and_nothing_else() -> None:
    async with desk(versions=(LEGACY,)) as here, here.world.client(here.token) as client:
        here.decide(ApprovalState.APPROVED)
        opened = await post(client, "/mcp/shop", initialize())
        session = {"mcp_session_id": opened.headers["mcp-session-id"], "mcp_protocol_version": LEGACY}
        await post(client, "/mcp/shop", refund("refund", task={"ttl": 1, "note": HARM}), **session)
        assert here.world.store.calls[-1].decision.reason_code == "not_covered_by_approval"
        await post(client, "/mcp/shop", refund("refund", task={"ttl": 60000}), **session)
        await post(client, "/mcp/shop", refund("refund", _meta={"note": HARM, "progressToken": 5}), **session)
        assert [each.bound for each in here.asked] == [{"task": {"ttl": 60000}}, None]
        assert here.seen.of("tools/call")[-1][1]["params"]["_meta"] == {"progressToken": 5}


def test_trace_headers_must_be_valid_w3c_trace_context() -> None:
    assert is_trace_parent(PARENT)
    assert all(is_trace_state(good) for good in ("a=1", "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"))
    for bad in (HARM, PARENT + "\n", PARENT.upper(), "", 5, None):
        assert not is_trace_parent(bad)
    for bad in (HARM, "a=b=c", "a", "", "a=1\n", f"a={'x' * 300}", ",".join(["a=1"] * 200), 5):
        assert not is_trace_state(bad)


def test_what_an_approval_covers_is_known_for_every_method_that_can_need_one() -> None:
    methods = {**messages.LEGACY, **messages.MODERN, **messages.LEGACY_TASKS, **messages.MODERN_TASKS}
    assert {name for name, method in methods.items() if method.action in USES} == set(approvals._MEMBERS)
