"""A tour of a server by the real ``mcp`` client: all that it lists, and what it does when it is used.

Two tours of one server, one direct and one through the gateway, have to tell the same.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import BaseModel

Mode = Literal["auto", "legacy"]
Tour = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stops:
    """What is used on the way: tools with arguments, prompts with arguments, addresses of resources, completions."""

    tools: Sequence[tuple[str, dict[str, Any]]]
    prompts: Sequence[tuple[str, dict[str, str]]]
    resources: Sequence[str]
    completions: Sequence[tuple[types.PromptReference | types.ResourceTemplateReference, dict[str, str]]] = ()
    logs: int = 0
    """How many messages for the log come, whenever they do."""


@dataclass
class Traveller:
    """The user, the model and the screen of the client. It stores all requests and messages."""

    heard: list[Any] = field(default_factory=list)
    logged: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)

    async def answer(self, context: Any, params: Any) -> types.ElicitResult:
        """A user who fills in every form."""
        self.heard.append(_plain(params))
        if isinstance(params, types.ElicitRequestURLParams):
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content={"name": "Ada", "city": "Oslo"})

    async def think(
        self, context: Any, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult:
        """A model with one answer."""
        self.heard.append(_plain(params))
        text = types.TextContent(type="text", text="42")
        return types.CreateMessageResult(role="assistant", content=text, model="oracle")

    async def roots(self, context: Any) -> types.ListRootsResult:
        """What the user works on."""
        return types.ListRootsResult(roots=[types.Root(uri="file:///work", name="work")])  # type: ignore[arg-type]

    async def read_log(self, params: types.LoggingMessageNotificationParams) -> None:
        """A message of the server."""
        self.logged.put_nowait(_plain(params))

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """How it goes."""
        self.heard.append([progress, total, message])


async def tour(url: str, mode: Mode, stops: Stops, token: str | None = None) -> Tour:
    """Connect, list everything, use what the stops name; returns all results and messages."""
    traveller = Traveller()
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http_client:
        transport = streamable_http_client(url, http_client=http_client)
        async with Client(
            transport,
            mode=mode,
            elicitation_callback=traveller.answer,
            sampling_callback=traveller.think,
            list_roots_callback=traveller.roots,
            logging_callback=traveller.read_log,
        ) as client:
            results = await _lists(client)
            for name, arguments in stops.tools:
                results[f"tool {name}"] = _plain(
                    await client.call_tool(name, arguments, progress_callback=traveller.progress)
                )
            for name, filled in stops.prompts:
                results[f"prompt {name}"] = _plain(await client.get_prompt(name, filled))
            for uri in stops.resources:
                results[f"resource {uri}"] = _plain(await client.read_resource(uri))
            for reference, argument in stops.completions:
                results[f"completion {argument}"] = _plain(await client.complete(reference, argument))
            async with asyncio.timeout(50):
                results["log"] = [await traveller.logged.get() for _ in range(stops.logs)]
    return {**results, "heard": traveller.heard}


async def _lists(client: Client) -> Tour:
    capabilities = client.server_capabilities
    results: Tour = {
        "version": client.protocol_version,
        "server": _plain(client.server_info),
        "instructions": client.instructions,
        "capabilities": {part for part in ("tools", "prompts", "resources", "completions", "logging")
                         if getattr(capabilities, part) is not None},
        "tools": _plain(await client.list_tools()),
    }  # fmt: skip
    if capabilities.prompts is not None:
        results["prompts"] = _plain(await client.list_prompts())
    if capabilities.resources is not None:
        results["resources"] = _plain(await client.list_resources())
        results["templates"] = _plain(await client.list_resource_templates())
    return results


_UNLIKE = {"meta", "ttl_ms", "cache_scope"}
"""What a client does not show: how long to keep an answer, and whom for, is the gateway's to say."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\d{1,2}:\d\d:\d\d( [AP]M)?")


def _plain(model: BaseModel | None) -> Any:
    return None if model is None else _without(model.model_dump(mode="json", exclude_none=True))


def _without(value: Any) -> Any:
    """Without what may differ from one moment to the next."""
    if isinstance(value, dict):
        return {key: _without(item) for key, item in value.items() if key not in _UNLIKE}
    if isinstance(value, list):
        return [_without(item) for item in value]
    return _TIME.sub("(then)", value) if isinstance(value, str) else value
