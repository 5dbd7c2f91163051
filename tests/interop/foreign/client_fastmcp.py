"""A FastMCP client that runs commands, one per line. It runs in FastMCP's own environment.

``python client_fastmcp.py MODE`` with URL and SCOPEGATE_TOKEN in the environment.
"""

import asyncio
import json
import os
import sys
from typing import Any

from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult

heard: list[str] = []


async def answer(message: str, response_type: Any, params: Any, context: Any) -> Any:
    """A user who answers every question, and opens every page."""
    heard.append(message)
    if params.mode == "url":
        heard.append(params.url)
        return ElicitResult(action="accept")
    return dict.fromkeys(params.requested_schema["properties"], "Ada")


async def think(messages: Any, params: Any, context: Any) -> str:
    """A model with one answer."""
    return "42"


async def progress(step: float, total: float | None, message: str | None) -> None:
    """How it goes."""
    heard.append(f"{step:g} of {total:g}")


async def do(client: Client[Any], command: dict[str, Any]) -> Any:
    """Run one command."""
    match command["do"]:
        case "tools":
            return [tool.name for tool in await client.list_tools()]
        case "prompts":
            return [prompt.name for prompt in await client.list_prompts()]
        case "resources":
            return [str(resource.uri) for resource in await client.list_resources()]
        case "call":
            result = await client.call_tool(command["name"], command["arguments"], raise_on_error=False)
            return {"error": result.is_error, "text": str(result.content)}
        case "prompt":
            return str((await client.get_prompt(command["name"], command["arguments"])).messages)
        case "resource":
            return str(await client.read_resource(command["uri"]))
        case "heard":
            return heard


async def main() -> None:
    """Connect by the settings that FastMCP documents, and read wishes from the standard input."""
    headers = {"Authorization": f"Bearer {os.environ['SCOPEGATE_TOKEN']}"}
    settings = {"mcpServers": {"scopegate": {"url": os.environ["URL"], "headers": headers}}}
    async with Client(
        settings,
        mode=sys.argv[1],
        elicitation_handler=answer,
        sampling_handler=think,
        progress_handler=progress,
    ) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                said = {"result": await do(client, json.loads(line))}
            except Exception as error:  # noqa: BLE001  the error that a user would see
                said = {"error": str(error)}
            print(json.dumps(said), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
