"""The real ``mcp`` client, in both eras, through the gateway: prompts, resources, and a server that asks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.conformance.fixture_server import fixture_app
from tests.gateway.world import World, running, serve

Mode = Literal["auto", "legacy"]


async def fill_in(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    """A user who answers every question."""
    assert isinstance(params, types.ElicitRequestFormParams)
    names = params.requested_schema["properties"]
    return types.ElicitResult(action="accept", content=dict.fromkeys(names, "Ada"))


@asynccontextmanager
async def connect(mode: Mode, **parts: bool) -> AsyncIterator[tuple[World, Client]]:
    """A client with a token of all tools and these parts."""
    async with running() as world, serve(fixture_app(), lifespan="on") as origin:
        server = await world.register("fixture", f"{origin}/mcp")
        token = world.store.issue(world.store.grant(server, **parts))
        async with world.client(token) as http_client:
            transport = streamable_http_client(f"{world.url}/mcp/fixture", http_client=http_client)
            async with Client(transport, mode=mode, elicitation_callback=fill_in) as client:
                yield world, client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_is_granted_works_as_it_does_directly(mode: Mode) -> None:
    async with connect(mode, resources=True, prompts=True) as (world, client):
        assert client.server_capabilities.prompts is not None
        assert len((await client.list_prompts()).prompts) == 5
        prompt = await client.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
        assert "arg1='a'" in str(prompt.messages)
        assert len((await client.list_resources()).resources) == 3
        assert len((await client.list_resource_templates()).resource_templates) == 1
        read = await client.read_resource("test://template/7/data")
        assert "Data for ID: 7" in str(read.contents)
        reference = types.PromptReference(name="test_prompt_with_arguments")
        found = await client.complete(reference, {"name": "arg1", "value": "par"})
        assert found.completion.values == ["paris", "park", "party"]
        on_record = {
            call.action for call in world.store.calls if world.store.outcomes.get(call.id) == "success"
        }
        assert on_record >= {
            "prompts.list",
            "prompt.get",
            "resources.list",
            "resource.read",
            "completion.complete",
        }


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_token_without_prompts_and_resources_sees_none(mode: Mode) -> None:
    async with connect(mode) as (_, client):
        assert client.server_capabilities.prompts is None
        assert client.server_capabilities.resources is None
        for use in (
            client.list_prompts,
            client.list_resources,
            lambda: client.get_prompt("test_simple_prompt"),
            lambda: client.read_resource("test://static-text"),
        ):
            with pytest.raises(MCPError, match="Method not found"):
                await use()
        assert len((await client.list_tools()).tools) > 20


@pytest.mark.parametrize(
    ("mode", "tool", "arguments"),
    [
        ("legacy", "test_elicitation", {"message": "Who are you?"}),
        ("auto", "test_input_required_result_elicitation", {}),
    ],
)
async def test_a_server_asks_the_user_and_gets_the_answer(
    mode: Mode, tool: str, arguments: dict[str, Any]
) -> None:
    async with connect(mode) as (_, client):
        assert "Ada" in str((await client.call_tool(tool, arguments)).content)
