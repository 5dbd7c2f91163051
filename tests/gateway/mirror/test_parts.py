"""Prompts, resources, completion and their notifications on ``/mcp/{slug}``: in reach by grant, or hidden."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.objects import ToolState
from app.domain.scopes import AllServers, AllTools, ListedScope, ScopeEntry
from tests.gateway.messages import LEGACY, MODERN, initialize, post, post_modern, request
from tests.gateway.upstreams import event, scripted, send_events, send_json
from tests.gateway.world import World, running

PROMPT_REF = {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "b"}}
RESOURCE_REF = {"ref": {"type": "ref/resource", "uri": "r://{x}"}, "argument": {"name": "x", "value": "b"}}
BOTH: list[tuple[str, dict[str, Any], str, str]] = [
    ("prompts/list", {}, "prompts", "prompts.list"),
    ("prompts/get", {"name": "p"}, "prompts", "prompt.get"),
    ("resources/list", {}, "resources", "resources.list"),
    ("resources/templates/list", {}, "resources", "resources.list"),
    ("resources/read", {"uri": "r://1"}, "resources", "resource.read"),
    ("completion/complete", PROMPT_REF, "prompts", "completion.complete"),
    ("completion/complete", RESOURCE_REF, "resources", "completion.complete"),
]
LEGACY_ALONE = [
    ("resources/subscribe", {"uri": "r://1"}, "resources", "resource.subscribe"),
    ("resources/unsubscribe", {"uri": "r://1"}, "resources", "resource.unsubscribe"),
]
CAPABILITIES = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"subscribe": True},
    "completions": {},
    "logging": {},
    "tasks": {},
    "experimental": {"x": {}},
}


async def answering(message: dict[str, Any], receive: Any, send: Any) -> None:
    result: dict[str, Any] = {"cacheScope": "public", "ttlMs": 10**9}
    if message["method"] == "initialize":
        result |= {"protocolVersion": LEGACY, "serverInfo": {"name": "x", "version": "1"}}
    await send_json(
        send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result | {"capabilities": CAPABILITIES}}
    )


def token_for(world: World, *parts: str, scoped: bool = False) -> str:
    """A token that reaches all tools, and these parts: by its grant, or by a scope within a wide grant."""
    grant = world.store.grant(resources=scoped or "resources" in parts, prompts=scoped or "prompts" in parts)
    text = world.store.issue(grant)
    if scoped:
        entry = ScopeEntry(AllServers(), AllTools(), "resources" in parts, "prompts" in parts)
        world.store.change(text, scope=ListedScope((entry,)))
    return text


@pytest.mark.parametrize("scoped", [False, True])
@pytest.mark.parametrize(("method", "params", "part", "action"), [*BOTH, *LEGACY_ALONE])
async def test_a_part_is_reached_through_its_own_right_alone(
    method: str, params: dict[str, Any], part: str, action: str, scoped: bool
) -> None:
    async with running() as world, scripted(answering) as (url, seen):
        world.store.register("calc", url, (MODERN, LEGACY), [])
        other = "prompts" if part == "resources" else "resources"
        send = [post] if method in dict.fromkeys(each[0] for each in LEGACY_ALONE) else [post, post_modern]
        for send_one in send:
            async with world.client(token_for(world, other, scoped=scoped)) as client:
                got = await send_one(client, "/mcp/calc", request(method, params, "x"))
                assert got.status_code == (404 if send_one is post_modern else 200)
                assert got.json()["error"]["code"] == -32601
            assert not seen.requests
            async with world.client(token_for(world, part, scoped=scoped)) as client:
                got = await send_one(client, "/mcp/calc", request(method, params, "x"))
                assert (got.status_code, got.json()["id"]) == (200, "x")
            assert [body["method"] for _, body in seen.of(method)] == [method]
            seen.requests.clear()
        denied = [call for call in world.store.calls if not call.decision.allowed]
        assert [call.action for call in denied] == [action] * len(send)
        assert {call.decision.reason_code for call in denied} == {"outside_scope" if scoped else "no_grant"}
        assert [world.store.outcomes[call.id] for call in world.store.admitted(action)] == ["success"] * len(
            send
        )


async def test_a_server_out_of_reach_is_not_there_for_any_part() -> None:
    async with running() as world, scripted(answering) as (url, seen):
        world.store.register("calc", url, (MODERN, LEGACY), [])
        near = world.store.register("near", url, (MODERN, LEGACY), [])
        grant = world.store.grant(near, resources=True, prompts=True)
        async with world.client(world.store.issue(grant)) as client:
            for method, params, _, _ in BOTH:
                for send_one in (post, post_modern):
                    hidden = await send_one(client, "/mcp/calc", request(method, params))
                    absent = await send_one(client, "/mcp/absent", request(method, params))
                    assert (hidden.status_code, hidden.content) == (404, absent.content)
        assert not seen.requests


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((), {"tools", "logging"}),
        (("prompts",), {"tools", "logging", "prompts", "completions"}),
        (("resources",), {"tools", "logging", "resources", "completions"}),
        (("prompts", "resources"), {"tools", "logging", "prompts", "resources", "completions"}),
    ],
)
async def test_capabilities_promise_what_the_token_can_use(
    parts: tuple[str, ...], expected: set[str]
) -> None:
    async with running() as world, scripted(answering) as (url, _):
        world.store.register("calc", url, (MODERN, LEGACY), [])
        async with world.client(token_for(world, *parts)) as client:
            legacy = (await post(client, "/mcp/calc", initialize())).json()["result"]
            modern = (await post_modern(client, "/mcp/calc", request("server/discover"))).json()["result"]
            for result in (legacy, modern):
                assert result["capabilities"] == {key: CAPABILITIES[key] for key in expected}
            assert modern["supportedVersions"] == [MODERN, LEGACY]


async def test_modern_results_are_private_and_not_cacheable() -> None:
    async with running() as world, scripted(answering) as (url, _):
        world.store.register("calc", url, (MODERN,), [])
        async with world.client(token_for(world, "prompts", "resources")) as client:
            for method, params, _, _ in BOTH:
                if method not in {"prompts/get", "completion/complete"}:
                    result = (await post_modern(client, "/mcp/calc", request(method, params))).json()[
                        "result"
                    ]
                    assert (result["cacheScope"], result["ttlMs"]) == ("private", 0)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("prompts/get", {"name": 1}),
        ("resources/read", {}),
        ("completion/complete", {"ref": {"type": "ref/tool"}}),
        ("completion/complete", {}),
    ],
)
async def test_parameters_of_the_wrong_shape_are_refused(method: str, params: dict[str, Any]) -> None:
    async with running() as world, scripted(answering) as (url, seen):
        world.store.register("calc", url, (LEGACY,), [])
        async with world.client(token_for(world, "prompts", "resources")) as client:
            got = await post(client, "/mcp/calc", request(method, params))
            assert (got.status_code, got.json()["error"]["code"]) == (200, -32602)
        assert not seen.requests


async def test_a_token_hears_of_no_part_that_it_does_not_reach() -> None:
    sent = [
        "tools/list_changed",
        "prompts/list_changed",
        "resources/list_changed",
        "resources/updated",
        "tasks/status",
        "made/up",
    ]

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        events = [event({"jsonrpc": "2.0", "method": f"notifications/{name}"}) for name in sent]
        await send_events(send, *events, event({"jsonrpc": "2.0", "id": message["id"], "result": {}}))

    async with running() as world, scripted(script) as (url, _):
        server = world.store.register("calc", url, (LEGACY,), [])
        for parts, heard in (
            ((), sent[:1]),
            (("prompts",), sent[:2]),
            (("resources",), [sent[0], *sent[2:4]]),
        ):
            async with world.client(token_for(world, *parts)) as client:
                text = (await post(client, "/mcp/calc", request("logging/setLevel", {"level": "info"}))).text
                assert [name for name in sent if f"notifications/{name}" in text] == heard
        assert set(world.store.syncs) == {server.id}


@pytest.mark.parametrize("version", [LEGACY, MODERN])
async def test_instructions_are_shown_only_with_full_access_to_the_server(version: str) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        result: dict[str, Any] = {"instructions": "Use erase.", "capabilities": {"tools": {}, "prompts": {}}}
        result |= {"protocolVersion": LEGACY, "serverInfo": {"name": "x", "version": "1"}}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with running() as world, scripted(script) as (url, _):
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("add", "erase", "new")]
        server = world.store.register("calc", url, (version,), tools, instructions="Use erase.")
        new = replace(server.tools["new"], state=ToolState.QUARANTINED)
        world.store.change_server("calc", tools={**server.tools, "new": new})
        grant = world.store.grant
        for rights, shown in (
            (grant(prompts=True), True),
            (grant(None, "add", "erase", prompts=True), True),
            (grant(None, "add", prompts=True), False),
            (grant(), False),
        ):
            async with world.client(world.store.issue(rights)) as client:
                if version == LEGACY:
                    got = await post(client, "/mcp/calc", initialize())
                else:
                    got = await post_modern(client, "/mcp/calc", request("server/discover"))
                assert got.json()["result"].get("instructions") == ("Use erase." if shown else None)


@pytest.mark.parametrize("approved", [None, "Use erase with care."])
@pytest.mark.parametrize("said", ["Use erase.", ["Use erase."]])
@pytest.mark.parametrize("version", [LEGACY, MODERN])
async def test_unapproved_instructions_are_left_out_and_looked_at_again(
    version: str, said: Any, approved: str | None
) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        result: dict[str, Any] = {"instructions": said, "capabilities": {"tools": {}}}
        result |= {"protocolVersion": LEGACY, "serverInfo": {"name": "x", "version": "1"}}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with running() as world, scripted(script) as (url, _):
        server = world.store.register("calc", url, (version,), [], instructions=approved)
        async with world.client(world.store.issue(world.store.grant(prompts=True, resources=True))) as client:
            if version == LEGACY:
                got = await post(client, "/mcp/calc", initialize())
            else:
                got = await post_modern(client, "/mcp/calc", request("server/discover"))
        assert "instructions" not in got.json()["result"]
        assert world.store.syncs == [server.id]
