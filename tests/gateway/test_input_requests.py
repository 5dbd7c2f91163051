"""Servers may send clients only supported requests, and never URLs of the gateway."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from app.gateway.wire.answers import InputRequestRules
from app.gateway.wire.messages import ClientFeatures, client_features
from app.http.service_address import OwnAddresses
from tests.gateway.messages import LEGACY, MODERN, call, initialize, modern, post
from tests.gateway.upstreams import Seen, event, scripted, send_events, send_json
from tests.gateway.world import World, running

TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
FORM: dict[str, Any] = {
    "method": "elicitation/create",
    "params": {"message": "Who?", "requestedSchema": {"type": "object"}},
}
SAMPLING: dict[str, Any] = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}
ROOTS: dict[str, Any] = {"method": "roots/list"}
PATHS = pytest.mark.parametrize(("path", "name"), [("/mcp/calc", "add"), ("/mcp", "calc__add")])


def leading(url: Any) -> dict[str, Any]:
    params = {"mode": "url", "message": "Sign in.", "url": url, "elicitationId": "e-1"}
    return {"method": "elicitation/create", "params": params}


RULES = InputRequestRules(
    OwnAddresses(["https://gate.example.com", "https://gate.internal", "https://other.example.com:8443"])
)
DEV = InputRequestRules(OwnAddresses(["http://127.0.0.1:8080"]))
GOOD = [
    "https://id.example.com/sign-in?a=%20b#c",
    "https://id.example.com:8443/",
    "https://192.0.2.1/",
    "https://[2001:db8::1]/",
    "http://localhost:3000/callback",
    "http://127.0.0.1/",
    "http://[::1]:9/",
    "https://gate.example.com.evil.example/",
    "https://gate.example.com:444/",
]
BAD = [
    "http://id.example.com/",
    "ftp://id.example.com/",
    "javascript:alert(1)",
    "data:text/html,x",
    "https:id.example.com",
    "https:///id.example.com",
    "//id.example.com",
    "https://user@id.example.com/",
    "https://gate.example.com/console/approvals/apr_1",
    "https://GATE.example.com./",
    "https://gate.example.com:443/",
    "https://gate.internal/",
    "https://other.example.com:8443/",
    "https://gate.example.com\\@id.example.com/",
    "https://id.example.com\\.gate.example.com/",
    "https://gate.ex\tample.com/",
    " https://id.example.com/",
    "https://g\u0430te.example.com/",
    "https://\uff47ate.example.com/",
    "https://%67ate.example.com/",
    "https://0x7f.1/",
    "http://127.1/",
    "https://2130706433/",
    "https://id.example.com:99999/",
    "https://[::1/",
    "https://id.example.com/" + "x" * 2048,
    "",
    None,
    5,
]


def test_users_are_led_to_https_or_loopback_and_never_to_the_gateway() -> None:
    for good in GOOD:
        assert RULES.allow("elicitation/create", leading(good)["params"], ClientFeatures.URL), good
    for bad in BAD:
        assert not RULES.allow("elicitation/create", leading(bad)["params"], ClientFeatures.URL), bad
    for mine in (
        "http://127.0.0.1:8080/console",
        "http://localhost:8080/",
        "http://[::1]:8080/",
        "http://0.0.0.0:8080/",
    ):
        assert not DEV.allow("elicitation/create", leading(mine)["params"], ClientFeatures.URL), mine
    assert DEV.allow("elicitation/create", leading("http://localhost:8081/")["params"], ClientFeatures.URL)


def test_a_client_is_asked_what_it_declared() -> None:
    assert (
        client_features({"elicitation": {}, "roots": {}, "sampling": {}})
        == ClientFeatures.FORM | ClientFeatures.ROOTS | ClientFeatures.SAMPLING
    )
    assert client_features({"elicitation": {"url": {}}}) == ClientFeatures.URL
    assert (
        client_features({"elicitation": {"form": {}, "url": {}}}) == ClientFeatures.FORM | ClientFeatures.URL
    )
    nothings: list[Any] = [None, {}, [], {"elicitation": True, "roots": None, "sampling": []}]
    for nothing in nothings:
        assert client_features(nothing) == ClientFeatures.NOTHING
    for question, needed in (
        (FORM, ClientFeatures.FORM),
        (SAMPLING, ClientFeatures.SAMPLING),
        (ROOTS, ClientFeatures.ROOTS),
    ):
        every = ClientFeatures.FORM | ClientFeatures.URL | ClientFeatures.ROOTS | ClientFeatures.SAMPLING
        assert RULES.allow(question["method"], question.get("params"), needed)
        assert not RULES.allow(question["method"], question.get("params"), every & ~needed)
    assert not RULES.allow(
        "elicitation/create", {**FORM["params"], "mode": "other"}, ClientFeatures.FORM | ClientFeatures.URL
    )
    assert not RULES.allow("elicitation/create", {**FORM["params"], "mode": []}, ClientFeatures.FORM)


@asynccontextmanager
async def behind(script: Any, *versions: str) -> AsyncIterator[tuple[World, Seen, httpx2.AsyncClient]]:
    async with running() as world, scripted(script) as (url, seen):
        world.store.register("calc", url, versions, TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client, asyncio.timeout(50):
            yield world, seen, client


async def asked(
    client: httpx2.AsyncClient, path: str, name: str, declared: dict[str, Any]
) -> httpx2.Response:
    body, headers = modern(call(name))
    body["params"]["_meta"][CAPABILITIES] = declared
    return await client.post(path, json=body, headers=headers)


@PATHS
async def test_a_modern_client_is_asked_nothing_that_it_did_not_declare(path: str, name: str) -> None:
    questions: dict[str, Any] = {}

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        result = {"resultType": "input_required", "inputRequests": questions}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    ways: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
        (FORM, {"elicitation": {}}, {"elicitation": {"url": {}}}),
        (leading("https://id.example.com/"), {"elicitation": {"url": {}}}, {"elicitation": {}}),
        (SAMPLING, {"sampling": {}}, {"elicitation": {}}),
        (ROOTS, {"roots": {}}, {"sampling": {}}),
    ]
    async with behind(script, MODERN) as (_, _, client):
        for question, enough, too_little in ways:
            questions["q"] = question
            got = await asked(client, path, name, enough)
            assert got.json()["result"]["inputRequests"] == questions
            assert (await asked(client, path, name, too_little)).status_code == 502
        for url in ("https://127.0.0.1:8080/console/", "http://id.example.com/"):
            questions["q"] = leading(url)
            got = await asked(client, path, name, {"elicitation": {"url": {}}})
            assert (got.status_code, url in got.text) == (502, False)


@PATHS
async def test_an_input_request_with_a_member_in_another_case_is_502(path: str, name: str) -> None:
    good, own = leading("https://id.example.com/")["params"], "http://127.0.0.1:8080/console"
    params: dict[str, Any] = {}

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        questions = {"q": {"method": "elicitation/create", "params": params}}
        result = {"resultType": "input_required", "inputRequests": questions}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with behind(script, MODERN) as (_, _, client):
        for params in (
            {**good, "URL": own},
            {**FORM["params"], "Mode": "url", "url": own},
            {**FORM["params"], "mode": "form", "\u017fode": "url", "Url": own},
        ):
            got = await asked(client, path, name, {"elicitation": {"form": {}, "url": {}}})
            assert (got.status_code, own in got.text) == (502, False), params


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("version", [MODERN, LEGACY])
@PATHS
async def test_complete_or_legacy_results_contain_no_input_requests(
    path: str, name: str, version: str, streams: bool
) -> None:
    questions = {"q": leading("http://127.0.0.1:8080/console")}
    kinds: list[dict[str, Any]] = [{}, {"resultType": "complete"}, {"resultType": "input_required"}]
    kind = kinds[0]

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        if message.get("method") == "tools/call":
            result: dict[str, Any] = {"content": [], "inputRequests": questions, **kind}
        else:
            info = {"name": "x", "version": "1"}
            result = {"protocolVersion": version, "capabilities": {}, "serverInfo": info}
        answer = {"jsonrpc": "2.0", "id": message.get("id"), "result": result}
        if streams:
            await send_events(send, event(answer))
        else:
            await send_json(send, 200, answer)

    declared: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}}
    async with behind(script, version) as (world, _, client):
        for kind in kinds:
            if version == MODERN:
                got = await asked(client, path, name, declared)
            else:
                opening = initialize()
                opening["params"]["capabilities"] = declared
                session = (await post(client, path, opening)).headers.get("mcp-session-id")
                got = await post(client, path, call(name), **({"mcp_session_id": session} if session else {}))
            assert got.status_code in {200, 502}
            assert "console" not in got.text, kind
        assert len([row for row in world.store.calls if row.tool]) == 3


@PATHS
async def test_url_elicitation_errors_follow_the_same_rules(path: str, name: str) -> None:
    error: dict[str, Any] = {"code": -32042, "message": "Sign in."}
    status = 200

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        await send_json(send, status, {"jsonrpc": "2.0", "id": message["id"], "error": error})

    async with behind(script, MODERN) as (_, _, client):
        good = leading("https://id.example.com/")["params"]
        leads: dict[str, Any] = {"elicitation": {"url": {}}}
        error["data"] = {"elicitations": [good]}
        assert (await asked(client, path, name, leads)).json()["error"]["code"] == -32042
        assert (await asked(client, path, name, {"elicitation": {}})).json()["error"]["code"] == -32603
        bads: list[Any] = [
            [{**good, "url": "http://127.0.0.1:8080/console"}],
            [{**good, "Url": "http://127.0.0.1:8080/console"}],
            [{**good, "mode": "form"}],
            [good, 5],
            {},
            None,
        ]
        for bad in bads:
            error["data"] = {"elicitations": bad}
            got = await asked(client, path, name, leads)
            assert (got.json()["error"]["code"], "console" in got.text) == (-32603, False)
        error["data"] = {"elicitations": [good], "Elicitations": bads[0]}
        got = await asked(client, path, name, leads)
        assert (got.json()["error"]["code"], "console" in got.text) == (-32603, False)
        status, error["data"] = 400, {"elicitations": [{**good, "url": "http://127.0.0.1:8080/console"}]}
        assert "console" not in (await asked(client, path, name, leads)).text


@pytest.mark.parametrize(
    "declared", [{}, {"sampling": {}, "roots": {}}, {"elicitation": {"form": {}, "url": {}}}]
)
async def test_a_legacy_client_gets_only_declared_requests_and_the_server_an_error(
    declared: dict[str, Any],
) -> None:
    questions = [
        FORM,
        SAMPLING,
        ROOTS,
        leading("https://id.example.com/"),
        leading("http://127.0.0.1:8080/console"),
    ]
    replies: dict[int, Any] = {}
    notified = asyncio.Event()
    refused = [
        not DEV.allow(each["method"], each.get("params"), client_features(declared)) for each in questions
    ]

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        if message.get("method") == "initialize":
            result = {
                "protocolVersion": LEGACY,
                "capabilities": {},
                "serverInfo": {"name": "x", "version": "1"},
            }
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            await send_json(send, 200, answer, {"mcp-session-id": "s"})
        elif "method" not in message:
            replies[message["id"]] = message["error"]["code"]
            if len(replies) == sum(refused):
                notified.set()
            await send_json(send, 202, b"")
        else:
            asks = [event({"jsonrpc": "2.0", "id": number, **each}) for number, each in enumerate(questions)]
            await send_events(send, *asks, last=False)
            await notified.wait()
            done = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}
            await send({"type": "http.response.body", "body": event(done)})

    async with behind(script, LEGACY) as (_, _, client):
        opening = initialize()
        opening["params"]["capabilities"] = declared
        session = (await post(client, "/mcp/calc", opening)).headers["mcp-session-id"]
        got = await post(client, "/mcp/calc", call("add"), mcp_session_id=session)
        heard = [json.loads(line[6:]) for line in got.text.splitlines() if line.startswith("data: ")]
        passed = [{"method": each["method"], **({"params": each["params"]} if "params" in each else {})}
                  for each in heard if "method" in each]  # fmt: skip
        assert passed == [each for each, no in zip(questions, refused, strict=True) if not no]
        assert replies == {number: -32601 for number, no in enumerate(refused) if no}


@pytest.mark.parametrize("streams", [False, True])
@PATHS
async def test_only_the_gateway_speaks_under_its_name_in_any_meta_and_case(
    path: str, name: str, streams: bool
) -> None:
    names = ["io.scopegate/event", "IO.ScopeGate/event", "io.\u017fcopegate/event", "\u0130o.scopegate/x"]
    meta = {**dict.fromkeys(names, "evil"), "its.own/key": 1}
    block = {"type": "resource", "_meta": meta, "resource": {"uri": "a:b", "text": "x", "_meta": meta}}
    result = {"content": [block], "structuredContent": {"io.scopegate/event": 1}, "_meta": meta}
    note = {
        "jsonrpc": "2.0",
        "method": "notifications/progress",
        "params": {"progressToken": 1, "_meta": meta},
    }

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": {**result, "resultType": "complete"}}
        if streams:
            await send_events(send, event(note), event(answer))
        else:
            await send_json(send, 200, answer)

    async with behind(script, MODERN) as (_, _, client):
        got = await asked(client, path, name, {})
        assert got.status_code == 200
        assert "evil" not in got.text
        assert got.text.count("its.own/key") == (4 if streams else 3)
        assert '"structuredContent":{"io.scopegate/event":1}' in got.text


@PATHS
async def test_gateway_members_of_a_client_are_removed(path: str, name: str) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        result = {"content": [], "resultType": "complete"}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with behind(script, MODERN) as (_, seen, client):
        body, headers = modern(call(name))
        body["params"]["_meta"] |= {
            "io.scopegate/reason": "Because.",
            "IO.Scopegate/Reason": "evil",
            "io.\u017fcopegate/event": "evil",
            "its.own/key": 1,
        }
        assert (await client.post(path, json=body, headers=headers)).status_code == 200
        [(_, sent)] = seen.of("tools/call")
        assert [key for key in sent["params"]["_meta"] if "copegate" in key.lower()] == []
        assert sent["params"]["_meta"]["its.own/key"] == 1
