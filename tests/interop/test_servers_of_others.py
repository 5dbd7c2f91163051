"""Servers of others behind the gateway: a client cannot tell them from the servers themselves."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import mcp_types as types
import pytest

from tests.api import Account
from tests.interop.others import everything_server, python_server
from tests.interop.tour import Mode, Stops, tour
from tests.story.service import Service, whole_service

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


@pytest.fixture
async def service(database_url: str, owner: Account) -> AsyncIterator[Service]:
    async with whole_service(database_url, owner.bearer) as running:
        yield running


@asynccontextmanager
async def python(name: str) -> AsyncIterator[str]:
    with python_server(name) as url:
        yield url


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("server", "stops"),
    [
        (everything_server, EVERYTHING),
        (partial(python, "mcp1"), MCP1),
        (partial(python, "fastmcp"), WEATHER),
    ],
    ids=["everything", "mcp1", "fastmcp"],
)
async def test_a_server_tells_the_same_through_the_gateway(
    service: Service, server: Server, stops: Stops, mode: Mode
) -> None:
    async with server() as url:
        await service.register("other", url)
        token = (await service.issue())["secret"]
        directly = await tour(url, mode, stops)
        through = await tour(f"{service.url}/mcp/other", mode, stops, token)
    assert through == directly
