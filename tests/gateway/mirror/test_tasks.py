"""Tasks on a mirror, in both eras: usable only by their token, while it reaches their tool."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from app.domain.policy import Effect
from app.domain.scopes import AllServers, ListedScope, ScopeEntry, ToolsByNames
from app.gateway.results import RELATED
from tests.gateway.messages import LEGACY, MODERN, call, initialize, modern, post, request
from tests.gateway.upstreams import Seen, event, scripted, send_events, send_json
from tests.gateway.world import World, running

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("dig", "other")]
EXTENSION = "io.modelcontextprotocol/tasks"
RAW = "tâsk 1"
TASK = {"taskId": RAW, "status": "working", "createdAt": "2026-11-25T10:00:00Z", "ttl": None}
ERAS = pytest.mark.parametrize("version", [LEGACY, MODERN])


@dataclass
class Bench:
    """A gateway before a server with tasks, and what this saw."""

    world: World
    seen: Seen
    version: str

    @asynccontextmanager
    async def client(self, token: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
        token = token or self.world.store.issue(self.world.store.grant())
        async with self.world.client(token) as client:
            yield client

    async def send(
        self, client: httpx2.AsyncClient, message: dict[str, Any], path: str = "/mcp/calc"
    ) -> httpx2.Response:
        """Post one message in this era."""
        if self.version == LEGACY:
            return await post(client, path, message, mcp_protocol_version=LEGACY)
        body, headers = modern(message)
        body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = {
            "extensions": {EXTENSION: {}}
        }
        if "taskId" in body["params"]:
            headers["mcp-name"] = body["params"]["taskId"]
        return await client.post(path, json=body, headers=headers)

    async def start(self, client: httpx2.AsyncClient, tool: str = "dig") -> str:
        """Call a tool as a task; gives the id that the client sees."""
        message = call(tool, {})
        if self.version == LEGACY:
            message["params"]["task"] = {"ttl": 1000}
        result = (await self.send(client, message)).json()["result"]
        shown: str = (result["task"] if self.version == LEGACY else result)["taskId"]
        return shown

    def methods(self) -> list[str]:
        """What is asked of a task in this era."""
        return ["tasks/get", "tasks/cancel", "tasks/result" if self.version == LEGACY else "tasks/update"]


async def digging(message: dict[str, Any], receive: Any, send: Any) -> None:
    """A server that makes every call a task, and knows one task."""
    method, params = message["method"], message.get("params", {})
    related = {"_meta": {RELATED: {"taskId": RAW}}}
    result: dict[str, Any] = {"resultType": "complete", "content": []}
    if method == "tools/call" and "task" in params:
        result = {"task": TASK}
    elif method == "tools/call":
        result = {"resultType": "task", **TASK}
    elif method == "tasks/get":
        result = {"resultType": "complete", **TASK}
    elif method == "tasks/result":
        result = {"content": [], **related}
    await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})


@asynccontextmanager
async def bench(version: str, script: Any = digging) -> AsyncIterator[Bench]:
    async with running() as world, scripted(script) as (url, seen):
        for slug in ("calc", "copy"):
            world.store.register(slug, url, (version,), TOOLS)
        yield Bench(world, seen, version)


def about(method: str, id: Any) -> dict[str, Any]:
    return request(method, {"taskId": id, **({"inputResponses": {}} if method == "tasks/update" else {})})


@ERAS
async def test_a_call_becomes_a_task_with_a_sealed_id(version: str) -> None:
    async with bench(version) as b, b.client() as client:
        shown = await b.start(client)
        assert RAW not in shown
        assert await b.start(client) == shown, "clients compare ids"
        for method in b.methods():
            got = await b.send(client, about(method, shown))
            headers, body = b.seen.requests[-1][1:]
            assert body["params"]["taskId"] == RAW
            if version == MODERN:
                assert headers[b"mcp-name"] == b"=?base64?dMOic2sgMQ==?="
            assert RAW not in json.dumps(got.json(), ensure_ascii=False)
            if method == "tasks/get":
                assert got.json()["result"]["taskId"] == shown
            if method == "tasks/result":
                assert got.json()["result"]["_meta"][RELATED]["taskId"] == shown
        on_record = {(made.action, made.tool) for made in b.world.store.calls}
        actions = {method.replace("tasks/", "task.") for method in b.methods()}
        assert on_record == {("tool.call", "dig"), *((action, "dig") for action in actions)}
        assert set(b.world.store.outcomes.values()) == {"success"}


@ERAS
async def test_a_task_is_of_use_to_its_token_at_its_server_alone(version: str) -> None:
    async with bench(version) as b, b.client() as client, b.client() as other:
        shown = await b.start(client)
        b.seen.requests.clear()
        for method in b.methods():
            for who, path, id in (
                (other, "/mcp/calc", shown),
                (client, "/mcp/copy", shown),
                (client, "/mcp/calc", "tsk-1"),
                (client, "/mcp/calc", shown[:-2]),
                (client, "/mcp/calc", ""),
            ):
                b.world.store.calls.clear()
                got = await b.send(who, about(method, id), path)
                assert got.status_code == (200 if version == LEGACY else 400)
                assert got.json()["error"] == {"code": -32602, "message": "Task not found"}
                [denied] = b.world.store.calls
                assert denied.decision.reason_code == "task_unknown"
        assert not b.seen.requests


@ERAS
async def test_a_task_is_hidden_with_its_tool(version: str) -> None:
    async with bench(version) as b:
        store = b.world.store
        token = store.issue(store.grant())
        async with b.client(token) as client:
            shown = await b.start(client)
            narrow = ScopeEntry(AllServers(), ToolsByNames(frozenset({"other"})), False, False)
            store.change(token, scope=ListedScope((narrow,)))
            b.seen.requests.clear()
            for method in b.methods():
                got = await b.send(client, about(method, shown))
                assert got.json()["error"] == {"code": -32602, "message": "Task not found"}
                assert (store.calls[-1].decision.reason_code, store.calls[-1].tool) == (
                    "outside_scope",
                    "dig",
                )
            store.change(token, scope=ListedScope(()))
            assert (await b.send(client, about("tasks/get", shown))).status_code == 404
            store.change(token, revoked=True)
            assert (await b.send(client, about("tasks/get", shown))).status_code == 401
            assert not b.seen.requests


@ERAS
async def test_listing_tasks_is_not_offered(version: str) -> None:
    capabilities = {
        "tools": {},
        "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}, "x": {}}},
        "extensions": {EXTENSION: {}, "com.example/other": {}},
        "experimental": {"x": {}},
    }
    info = {"protocolVersion": LEGACY, "serverInfo": {"name": "x", "version": "1"}}

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        result = {"resultType": "complete", "capabilities": capabilities, **info}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with bench(version, script) as b, b.client() as client:
        hello = initialize() if version == LEGACY else request("server/discover")
        hello.setdefault("params", {}).setdefault("capabilities", {})["tasks"] = {"list": {}}
        shown = (await b.send(client, hello)).json()["result"]["capabilities"]
        if version == LEGACY:
            offered: dict[str, Any] = {"tasks": {"cancel": {}, "requests": {"tools": {"call": {}}}}}
            assert "tasks" not in b.seen.requests[-1][2]["params"]["capabilities"]
        else:
            offered = {"extensions": {EXTENSION: {}}}
            meta = b.seen.requests[-1][2]["params"]["_meta"]
            assert meta["io.modelcontextprotocol/clientCapabilities"] == offered
        assert shown == {"tools": {}, **offered}
        b.seen.requests.clear()
        refused = {"tasks/list", "tasks/x", "tasks/update" if version == LEGACY else "tasks/result"}
        for method in refused:
            assert (await b.send(client, request(method, {"taskId": "1"}))).json()["error"]["code"] == -32601
        assert not b.seen.requests


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("tools/call", {"resultType": "task"}),
        ("tools/call", {"resultType": "task", "taskId": 5}),
        ("tools/call", {"resultType": "task", "taskId": ""}),
        ("tools/call", {"resultType": "task", "taskId": "x" * 300}),
        ("tools/call", {"resultType": "task", "taskId": "\udc00"}),
        ("tasks/get", {"resultType": "complete", "taskId": "another"}),
        ("tasks/get", {"inputRequests": {"a": {"method": "tools/call"}}}),
        ("tools/list", {"resultType": "task", "taskId": "x"}),
        ("prompts/get", {"resultType": "task", "taskId": "x"}),
    ],
)
async def test_an_invalid_task_is_502(method: str, result: dict[str, Any]) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        if message["method"] == "tools/call" and method != "tools/call":
            await digging(message, receive, send)
        else:
            await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with bench(MODERN, script) as b:
        store = b.world.store
        async with b.client(store.issue(store.grant(prompts=True))) as client:
            message = call("dig", {}) if method == "tools/call" else request(method, {"name": "x"})
            if method == "tasks/get":
                message = about(method, await b.start(client))
            if method == "tools/list":
                message = request(method)
            assert (await b.send(client, message)).status_code == 502


async def test_the_name_header_of_a_task_is_its_id() -> None:
    async with bench(MODERN) as b, b.client() as client:
        shown = await b.start(client)
        b.seen.requests.clear()
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            body, headers = modern(about(method, shown))
            for name in ("x", RAW.encode("latin-1"), ""):
                sent: dict[str, Any] = {**headers, "mcp-name": name}
                got = await client.post("/mcp/calc", json=body, headers=sent)
                assert (got.status_code, got.json()["error"]["code"]) == (400, -32020)
            body, headers = modern(request(method, {"taskId": 5}))
            got = await client.post("/mcp/calc", json=body, headers={**headers, "mcp-name": "5"})
            assert (got.status_code, got.json()["error"]["code"]) == (400, -32602)
        assert not b.seen.requests
        # FastMCP's client leaves the header out; the server gets it nonetheless.
        body, headers = modern(about("tasks/get", shown))
        assert "result" in (await client.post("/mcp/calc", json=body, headers=headers)).json()
        assert b.seen.requests[-1][1][b"mcp-name"] == b"=?base64?dMOic2sgMQ==?="


async def test_a_client_without_the_task_capability_gets_an_error() -> None:
    async with bench(MODERN) as b, b.client() as client:
        body, headers = modern(about("tasks/get", "t"))
        got = await client.post("/mcp/calc", json=body, headers=headers)
        assert (got.status_code, got.json()["error"]["code"]) == (400, -32021)
        assert got.json()["error"]["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
        got = await client.post("/mcp/none", json=body, headers=headers)
        assert (got.status_code, got.json()["error"]["code"]) == (404, -32600)
        assert not b.seen.requests


async def test_a_modern_server_is_not_asked_for_a_task() -> None:
    async with bench(MODERN) as b, b.client() as client:
        message = call("dig", {})
        message["params"]["task"] = {"ttl": 1}
        assert "result" in (await b.send(client, message)).json()
        assert "task" not in b.seen.requests[-1][2]["params"]


async def test_a_task_of_the_wrong_shape_is_refused() -> None:
    async with bench(LEGACY) as b, b.client() as client:
        message = call("dig", {})
        message["params"]["task"] = True
        assert (await b.send(client, message)).json()["error"]["code"] == -32602
        assert not b.seen.requests


@ERAS
async def test_mcp_does_not_support_tasks(version: str) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        result: dict[str, Any] = {"resultType": "complete", "content": []}
        if message["method"] in {"initialize", "server/discover"}:
            result |= {"protocolVersion": LEGACY, "supportedVersions": [MODERN], "capabilities": {}}
            result |= {"serverInfo": {"name": "x", "version": "1"}}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message.get("id", 0), "result": result})

    async with bench(version, script) as b, b.client() as client:
        if version == LEGACY:
            started = await post(client, "/mcp", initialize())
            client.headers["mcp-session-id"] = started.headers["mcp-session-id"]
        message = call("calc__dig", {})
        message["params"]["task"] = {}
        got = (await b.send(client, message, "/mcp")).json()
        if version == LEGACY:
            assert "/mcp/<server>" in got["error"]["message"]
            assert not b.seen.of("tools/call")
        else:
            assert got["result"]["content"] == []
            [(_, body)] = b.seen.of("tools/call")
            assert "task" not in body["params"]


async def test_a_denied_task_is_an_error_that_says_why() -> None:
    async with bench(LEGACY) as b, b.client() as client:
        b.world.store.policies.verdicts["dig"] = Effect.DENY
        message = call("dig", {})
        message["params"]["task"] = {}
        error = (await b.send(client, message)).json()["error"]
        assert error["code"] == -32602
        assert error["message"].startswith("Policy does not allow this call (policy_forbids).")
        assert not b.seen.requests


@pytest.mark.parametrize("method", ["tools/call", "tasks/result"])
async def test_a_resumed_answer_about_a_task_is_unchanged(method: str) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message.get("id", 7)}
        if message.get("method") == "initialize":
            answer["result"] = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {}}
            await send_json(send, 200, answer, {"mcp-session-id": "s"})
        elif message.get("id") == 7:
            await send_events(send, b"id: e1\r\ndata:\r\n\r\n")
        elif message:
            await digging(message, receive, send)
        else:
            result = {"task": TASK} if method == "tools/call" else {"_meta": {RELATED: {"taskId": RAW}}}
            await send_events(send, event({**answer, "result": result}))

    async with bench(LEGACY, script) as b:
        token = b.world.store.issue(b.world.store.grant())
        async with b.client(token) as client:
            started = await post(client, "/mcp/calc", initialize())
            client.headers["mcp-session-id"] = started.headers["mcp-session-id"]
            shown = await b.start(client)
            message = {**about(method, shown), "id": 7}
            if method == "tools/call":
                message["params"] = {"name": "dig", "task": {}}
            left = (await b.send(client, message)).text
            headers = {"mcp-protocol-version": LEGACY, "last-event-id": left.split()[1]}
            resumed = (await client.get("/mcp/calc", headers=headers)).text
            assert shown in resumed
            assert json.dumps(RAW)[1:-1] not in resumed
            assert RAW not in resumed
            narrow = ScopeEntry(AllServers(), ToolsByNames(frozenset({"other"})), False, False)
            b.world.store.change(token, scope=ListedScope((narrow,)))
            assert (await client.get("/mcp/calc", headers=headers)).status_code == 404


async def test_messages_about_a_task_have_the_id_of_each_side() -> None:
    """On the stream of ``tasks/result``: notifications, questions, the client's response, the result."""
    related = {"_meta": {RELATED: {"taskId": RAW}}}
    question = {"jsonrpc": "2.0", "method": "elicitation/create", "params": {"message": "Who?", **related}}
    answered = asyncio.Semaphore(0)

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        if "method" not in message:
            await send({"type": "http.response.start", "status": 202, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            answered.release()
        elif message["method"] == "initialize":
            result = {
                "protocolVersion": LEGACY,
                "capabilities": {},
                "serverInfo": {"name": "x", "version": "1"},
            }
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            await send_json(send, 200, answer, {"mcp-session-id": "s-1"})
        elif message["method"] != "tasks/result":
            await digging(message, receive, send)
        else:
            notifications = [
                {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", **related}},
                {"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": TASK},
                {"jsonrpc": "2.0", "method": "notifications/tasks", "params": TASK},
                {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"_meta": {RELATED: "x"}}},
                {**question, "id": 8, "params": {"task": {}}},
                {**question, "id": 9},
                {**question, "id": 10},
            ]
            await send_events(send, *(event(each) for each in notifications), last=False)
            for _ in range(3):
                await answered.acquire()
            done = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [], **related}}
            await send({"type": "http.response.body", "body": event(done)})

    async with bench(LEGACY, script) as b, b.client() as client, asyncio.timeout(50):
        opened = await post(client, "/mcp/calc", initialize())
        client.headers["mcp-session-id"] = opened.headers["mcp-session-id"]
        shown = await b.start(client)
        heard: list[dict[str, Any]] = []
        headers = {"mcp-protocol-version": LEGACY}
        body = about("tasks/result", shown)
        async with client.stream("POST", "/mcp/calc", json=body, headers=headers) as stream:
            async for line in stream.aiter_lines():
                if not line.startswith("data:"):
                    continue
                heard.append(json.loads(line[5:]))
                if heard[-1].get("method") == "elicitation/create":
                    # The first question is answered for its task, the second for one that the client cannot have.
                    id = shown if len(heard) == 4 else RAW
                    result = {"action": "decline", "_meta": {RELATED: {"taskId": id}}}
                    response = {"jsonrpc": "2.0", "id": heard[-1]["id"], "result": result}
                    assert (await b.send(client, response)).status_code == 202
        names = [message.get("method", "result") for message in heard]
        assert names == [
            "notifications/message",
            "notifications/tasks/status",
            "notifications/progress",
            "elicitation/create",
            "elicitation/create",
            "result",
        ]
        assert heard.pop(2)["params"] == {"_meta": {}}
        for message in heard:
            holder = message["params"] if "params" in message else message["result"]
            assert holder.get("taskId", holder.get("_meta", {}).get(RELATED, {}).get("taskId")) == shown
        refused, first, second = [body for _, _, body in b.seen.requests if "method" not in body]
        assert (refused["id"], refused["error"]["code"]) == (8, -32601)
        assert (first["id"], first["result"]["_meta"]) == (9, {RELATED: {"taskId": RAW}})
        assert (second["id"], second["result"]["_meta"]) == (10, {})


async def test_the_status_of_a_task_is_sent_while_its_tool_is_in_reach() -> None:
    """In the modern era: what is listened for are tasks by the ids that the client knows."""
    narrowed = asyncio.Event()

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        if message["method"] != "subscriptions/listen":
            await digging(message, receive, send)
            return
        meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": message["id"]}}
        heard = {"notifications": {"taskIds": [RAW, "foreign"]}, **meta}
        notifications = [
            {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": heard},
            {
                "jsonrpc": "2.0",
                "method": "notifications/tasks",
                "params": {**TASK, "taskId": "foreign", **meta},
            },
            {"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": {**TASK, **meta}},
            {"jsonrpc": "2.0", "method": "notifications/tasks", "params": {**TASK, **meta}},
        ]
        await send_events(send, *(event(each) for each in notifications), last=False)
        await narrowed.wait()
        done = {"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": "complete"}}
        await send({"type": "http.response.body", "body": event(notifications[-1]) + event(done)})

    async with bench(MODERN, script) as b, asyncio.timeout(50):
        store = b.world.store
        token = store.issue(store.grant())
        async with b.client(token) as client, b.client() as other:
            shown = await b.start(client)
            body, headers = modern(
                request("subscriptions/listen", {"notifications": {"taskIds": [shown, "x", 5]}})
            )
            heard: list[dict[str, Any]] = []
            async with client.stream("POST", "/mcp/calc", json=body, headers=headers) as stream:
                async for line in stream.aiter_lines():
                    if line.startswith("data:"):
                        heard.append(json.loads(line[5:]))
                    if len(heard) == 2 and not narrowed.is_set():
                        narrow = ScopeEntry(AllServers(), ToolsByNames(frozenset({"other"})), False, False)
                        store.change(token, scope=ListedScope((narrow,)))
                        store.cached.clear()
                        narrowed.set()
            assert b.seen.requests[-1][2]["params"]["notifications"] == {"taskIds": [RAW]}
            assert [message.get("method") for message in heard] == [
                "notifications/subscriptions/acknowledged",
                "notifications/tasks",
                None,
            ]
            assert heard[0]["params"]["notifications"] == {"taskIds": [shown]}
            assert heard[1]["params"]["taskId"] == shown
            await other.post("/mcp/calc", json=body, headers=headers)
            assert b.seen.requests[-1][2]["params"]["notifications"] == {}
