"""``/mcp``: prompts, resources, templates and completions of many servers, named by server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.uri_template import UriTemplate

from tests.conformance.fixture_server import fixture_app
from tests.gateway.messages import LEGACY, MODERN, call, initialize, post, post_modern, request
from tests.gateway.upstreams import legacy_only, scripted, send_json
from tests.gateway.world import World, running, serve

Mode = Literal["auto", "legacy"]
TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]


@asynccontextmanager
async def two_servers() -> AsyncIterator[World]:
    """The same server twice, of both eras and of the legacy one alone: every name and URI is in both."""
    async with (
        running() as world,
        serve(fixture_app(), lifespan="on") as new,
        serve(legacy_only(fixture_app()), lifespan="on") as old,
    ):
        await world.register("new", f"{new}/mcp")
        await world.register("old", f"{old}/mcp")
        yield world


@asynccontextmanager
async def connect(world: World, token: str, mode: Mode) -> AsyncIterator[Client]:
    async with world.client(token) as http_client:
        transport = streamable_http_client(f"{world.url}/mcp", http_client=http_client)
        async with Client(transport, mode=mode) as client:
            yield client


def servers_asked(world: World, action: str) -> list[str]:
    return [call.server.slug for call in world.store.admitted(action) if call.server is not None]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_read_goes_to_the_very_server_that_it_was_listed_from(mode: Mode) -> None:
    async with two_servers() as world:
        token = world.store.issue(world.store.grant(None, resources=True))
        async with connect(world, token, mode) as client:
            listed = [resource.uri for resource in (await client.list_resources()).resources]
            assert len(listed) == len(set(listed)) == 6
            world.store.calls.clear()
            for uri in listed:
                (content,) = (await client.read_resource(uri)).contents
                assert content.uri == uri
            assert servers_asked(world, "resource.read") == ["new"] * 3 + ["old"] * 3
            world.store.calls.clear()
            templates = (await client.list_resource_templates()).resource_templates
            for template in templates:
                uri = UriTemplate.parse(template.uri_template).expand({"id": "7"})
                assert "Data for ID: 7" in str((await client.read_resource(uri)).contents)
            assert servers_asked(world, "resource.read") == ["new", "old"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_prompts_and_completions_go_to_the_server_that_their_names_say(mode: Mode) -> None:
    async with two_servers() as world:
        token = world.store.issue(world.store.grant(None, prompts=True, resources=True))
        async with connect(world, token, mode) as client:
            capabilities = client.server_capabilities
            assert capabilities.prompts is not None
            assert capabilities.completions is not None
            prompts = [prompt.name for prompt in (await client.list_prompts()).prompts]
            assert prompts[0].startswith("new__")
            assert len(prompts) == 10
            prompt = await client.get_prompt("old__test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
            assert "arg1='a'" in str(prompt.messages)
            assert servers_asked(world, "prompt.get") == ["old"]
            embedded = await client.get_prompt(
                "old__test_prompt_with_embedded_resource", {"resourceUri": "test://x"}
            )
            assert "uri='mcp+old+test://x'" in str(embedded.messages)
            (template, *_) = (await client.list_resource_templates()).resource_templates
            for reference in (
                types.PromptReference(name="old__test_prompt_with_arguments"),
                types.ResourceTemplateReference(uri=template.uri_template),
            ):
                found = await client.complete(reference, {"name": "arg1", "value": "par"})
                assert found.completion.values == ["paris", "park", "party"]
            assert servers_asked(world, "completion.complete") == ["old", "new"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_items_out_of_reach_look_nonexistent(mode: Mode) -> None:
    async with two_servers() as world:
        store = world.store
        grants = [
            store.grant(store.servers["new"], resources=True),
            store.grant(store.servers["old"], prompts=True),
        ]
        async with connect(world, store.issue(*grants), mode) as client:
            resources = [resource.uri for resource in (await client.list_resources()).resources]
            assert all(uri.startswith("mcp+new+") for uri in resources)
            assert all(prompt.name.startswith("old__") for prompt in (await client.list_prompts()).prompts)
            for name in ("new__test_simple_prompt", "absent__test_simple_prompt", "test_simple_prompt"):
                with pytest.raises(MCPError, match=f"Unknown prompt: {name}"):
                    await client.get_prompt(name)
            for uri in (
                "mcp+old+test://static-text",
                "mcp+absent+test://static-text",
                "test://static-text",
                "mcp+new+",
            ):
                with pytest.raises(MCPError, match="Resource not found") as caught:
                    await client.read_resource(uri)
                assert caught.value.error.code == (-32602 if mode == "auto" else -32002)
            for reference in (
                types.PromptReference(name="new__test_simple_prompt"),
                types.ResourceTemplateReference(uri="mcp+old+test://template/{id}/data"),
                types.ResourceTemplateReference(uri="test://template/{id}/data"),
            ):
                with pytest.raises(MCPError, match="ref does not exist"):
                    await client.complete(reference, {"name": "a", "value": "b"})


async def test_a_token_without_prompts_and_resources_is_promised_none() -> None:
    async with two_servers() as world:
        store = world.store
        async with world.client(store.issue(store.grant(None, "add"))) as client:
            discovered = (await post_modern(client, "/mcp", request("server/discover"))).json()["result"]
            assert set(discovered["capabilities"]) == {"tools", "logging"}
            initialized = (await post(client, "/mcp", initialize())).json()["result"]
            assert set(initialized["capabilities"]) == {"tools", "logging"}
            for method, key in (("prompts/list", "prompts"), ("resources/list", "resources")):
                assert (await post_modern(client, "/mcp", request(method))).json()["result"][key] == []


def linking(*uris: str) -> Any:
    """A server whose tool speaks of these resources, in links and embedded."""

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        content: list[Any] = [{"type": "resource_link", "uri": uri, "name": "x"} for uri in uris]
        content += [{"type": "resource", "resource": {"uri": uri, "text": "x"}} for uri in uris]
        content += [{"type": "text", "text": "r://1", "uri": "r://1"}, {"type": "resource"}, "odd", None]
        result = {"content": content, "structuredContent": {"uri": "r://1"}}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    return script


async def test_resources_that_a_result_speaks_of_can_be_read_here_and_no_server_can_speak_for_another() -> (
    None
):
    uris = ("r://1", "mcp+other+r://1", "https://example.com/a", "HTTP://example.com/b")
    async with running() as world, scripted(linking(*uris)) as (url, _):
        world.store.register("calc", url, (MODERN,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            result = (await post_modern(client, "/mcp", call("calc__add", {}))).json()["result"]
        shown = ["mcp+calc+r://1", "mcp+calc+mcp+other+r://1", *uris[2:]]
        assert [block["uri"] for block in result["content"][:4]] == shown
        assert [block["resource"]["uri"] for block in result["content"][4:8]] == shown
        assert result["content"][8:] == [
            {"type": "text", "text": "r://1", "uri": "r://1"},
            {"type": "resource"},
            "odd",
            None,
        ]
        assert result["structuredContent"] == {"uri": "r://1"}


async def test_malformed_names_are_refused_before_any_upstream_request() -> None:
    async with running() as world, scripted(linking()) as (url, seen):
        world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
        token = world.store.issue(world.store.grant(None, prompts=True, resources=True))
        async with world.client(token) as client:
            session = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]
            argument = {"argument": {"name": "a", "value": "b"}}
            wrong: list[tuple[str, dict[str, Any]]] = [
                ("prompts/get", {}),
                ("prompts/get", {"name": 1}),
                ("resources/read", {"uri": ["mcp+calc+r://1"]}),
                ("completion/complete", argument),
                ("completion/complete", {"ref": {"type": "ref/other", "name": "calc__p"}, **argument}),
                ("completion/complete", {"ref": {"type": "ref/prompt", "name": None}, **argument}),
            ]
            for method, params in wrong:
                got = await post(client, "/mcp", request(method, params), mcp_session_id=session)
                assert (got.status_code, got.json()["error"]["code"]) == (200, -32602), method
        assert not seen.requests
