"""Third-party servers behave the same through the gateway as directly."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import mcp_types as types
import pytest

from tests.api import Account
from tests.conformance.fixture_server import fixture_app
from tests.interop.others import everything_server, python_server
from tests.interop.tour import Mode, Stops, tour
from tests.serving import listener
from tests.story.service import Service, serving, whole_service

Server = Callable[[], AbstractAsyncContextManager[str]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WEATHER = Stops(
    tools=[("add", {"a": 1, "b": 2}), ("fail", {}), ("steps", {}), ("where", {})],
    prompts=[("forecast", {"city": "Oslo"})],
    resources=["weather://today", "weather://oslo/now"],
)
MCP1 = Stops(
    tools=[*WEATHER.tools, ("think", {"question": "What is six by seven?"}), ("say", {})],
    prompts=WEATHER.prompts,
    resources=WEATHER.resources,
    completions=[(types.PromptReference(name="forecast"), {"name": "city", "value": "pa"})],
    logs=1,
)
EVERYTHING = Stops(
    tools=[
        ("echo", {"message": "hello"}),
        ("get-annotated-message", {"messageType": "error", "includeImage": True}),
        ("get-resource-links", {"count": 2}),
        ("get-resource-reference", {"resourceType": "Text", "resourceId": 1}),
        ("get-structured-content", {"location": "Chicago"}),
        ("get-sum", {"a": 1, "b": 2}),
        ("get-tiny-image", {}),
        ("trigger-long-running-operation", {"duration": 0.1, "steps": 3}),
        ("trigger-elicitation-request", {}),
        ("trigger-sampling-request", {"prompt": "Think."}),
        ("get-roots-list", {}),
    ],
    prompts=[
        ("simple-prompt", {}),
        ("args-prompt", {"city": "Oslo"}),
        ("completable-prompt", {"department": "Sales", "name": "David"}),
        ("resource-prompt", {"resourceType": "Text", "resourceId": "1"}),
    ],
    resources=["demo://resource/static/document/features.md", "demo://resource/dynamic/text/7"],
    completions=[
        (types.PromptReference(name="completable-prompt"), {"name": "department", "value": "S"}),
        (
            types.ResourceTemplateReference(uri="demo://resource/dynamic/text/{resourceId}"),
            {"name": "resourceId", "value": "3"},
        ),
    ],
    logs=1,
)

FIXTURE = Stops(
    tools=[
        ("test_simple_text", {}),
        ("test_image_content", {}),
        ("test_audio_content", {}),
        ("test_embedded_resource", {}),
        ("test_multiple_content_types", {}),
        ("test_error_handling", {}),
        ("test_tool_with_progress", {}),
    ],
    prompts=[("test_simple_prompt", {}), ("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})],
    resources=["test://static-text", "test://static-binary", "test://template/7/data"],
    completions=[
        (types.PromptReference(name="test_prompt_with_arguments"), {"name": "arg1", "value": "par"})
    ],
)
SHOWN_TO_THE_ABLE = {
    "get-roots-list",
    "trigger-elicitation-request",
    "trigger-sampling-request",
    "trigger-url-elicitation",
}
ASKING = {"where", "think", *SHOWN_TO_THE_ABLE}
"""What needs questions of a legacy server, which mirrors carry and ``/mcp`` does not."""


@pytest.fixture
async def service(database_url: str, owner: Account) -> AsyncIterator[Service]:
    async with whole_service(database_url, owner.bearer) as running:
        yield running


@asynccontextmanager
async def served(app: Callable[[], Any]) -> AsyncIterator[str]:
    with listener() as sock:
        async with serving(app(), sock) as url:
            yield f"{url}/mcp"


@asynccontextmanager
async def python(name: str) -> AsyncIterator[str]:
    with python_server(name) as url:
        yield url


def placed(stops: Stops) -> Stops:
    """The same stops as ``/mcp`` names them."""

    def reference(of: Any) -> Any:
        if isinstance(of, types.PromptReference):
            return types.PromptReference(name=f"other__{of.name}")
        return types.ResourceTemplateReference(uri=f"mcp+other+{of.uri}")

    return Stops(
        tools=[(f"other__{name}", arguments) for name, arguments in stops.tools],
        prompts=[(f"other__{name}", arguments) for name, arguments in stops.prompts],
        resources=[f"mcp+other+{uri}" for uri in stops.resources],
        completions=[(reference(of), argument) for of, argument in stops.completions],
        logs=stops.logs,
    )


def unplaced(value: Any) -> Any:
    """Replace names on ``/mcp`` by the server's own."""
    if isinstance(value, dict):
        return {unplaced(key): unplaced(value) for key, value in value.items()}
    if isinstance(value, list):
        return [unplaced(item) for item in value]
    return value.replace("other__", "").replace("mcp+other+", "") if isinstance(value, str) else value


SERVERS: dict[str, tuple[Server, Stops]] = {
    "sdk": (partial(served, fixture_app), FIXTURE),
    "mcp1": (partial(python, "mcp1"), MCP1),
    "fastmcp": (partial(python, "fastmcp"), WEATHER),
    "everything": (everything_server, EVERYTHING),
}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("name", SERVERS)
async def test_a_server_behaves_the_same_through_the_gateway(service: Service, name: str, mode: Mode) -> None:
    server, stops = SERVERS[name]
    async with server() as url:
        await service.register("other", url)
        token = (await service.issue())["secret"]
        directly = await tour(url, mode, stops)
        through = await tour(f"{service.url}/mcp/other", mode, stops, token)
    assert through == directly


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("name", SERVERS)
async def test_a_server_behaves_the_same_on_mcp_with_prefixed_names(
    service: Service, name: str, mode: Mode
) -> None:
    server, stops = SERVERS[name]
    stops = replace(stops, tools=[stop for stop in stops.tools if stop[0] not in ASKING], logs=0)
    async with server() as url:
        await service.register("other", url)
        token = (await service.issue())["secret"]
        directly = await tour(url, mode, stops)
        through = await tour(f"{service.url}/mcp", mode, placed(stops), token)
    for own in ("server", "instructions", "capabilities", "version"):
        del directly[own], through[own]
    listed = directly["tools"]["tools"]
    directly["tools"]["tools"] = [tool for tool in listed if tool["name"] not in SHOWN_TO_THE_ABLE]
    assert unplaced(through) == directly
