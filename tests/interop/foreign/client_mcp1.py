"""A client of the first major version of the Python SDK that runs commands, one per line. It has its own environment.

``python client_mcp1.py`` with URL and SCOPEGATE_TOKEN in the environment.
"""

import asyncio
import json
import os
import sys
from typing import Any

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import CreateMessageResult, ElicitResult, TextContent
from pydantic import AnyUrl

heard: list[str] = []


async def answer(context: Any, params: Any) -> ElicitResult:
    """A user who answers every question."""
    heard.append(params.message)
    return ElicitResult(action="accept", content=dict.fromkeys(params.requestedSchema["properties"], "Ada"))


async def think(context: Any, params: Any) -> CreateMessageResult:
    """A model with one answer."""
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="42"), model="oracle")


async def progress(step: float, total: float | None, message: str | None) -> None:
    """How it goes."""
    heard.append(f"{step:g} of {total:g}")


async def do(session: ClientSession, command: dict[str, Any]) -> Any:
    """Run one command."""
    match command["do"]:
        case "tools":
            return [tool.name for tool in (await session.list_tools()).tools]
        case "prompts":
            return [prompt.name for prompt in (await session.list_prompts()).prompts]
        case "resources":
            return [str(resource.uri) for resource in (await session.list_resources()).resources]
        case "call":
            result = await session.call_tool(
                command["name"], command["arguments"], progress_callback=progress
            )
            return {"error": result.isError, "text": str(result.content)}
        case "prompt":
            return str((await session.get_prompt(command["name"], command["arguments"])).messages)
        case "resource":
            return str((await session.read_resource(AnyUrl(command["uri"]))).contents)
        case "heard":
            return heard


async def main() -> None:
    """Connect, and read wishes from the standard input."""
    headers = {"Authorization": f"Bearer {os.environ['SCOPEGATE_TOKEN']}"}
    async with (
        streamablehttp_client(os.environ["URL"], headers=headers) as (read, write, _),
        ClientSession(read, write, sampling_callback=think, elicitation_callback=answer) as session,
    ):
        await session.initialize()
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                said = {"result": await do(session, json.loads(line))}
            except Exception as error:  # noqa: BLE001  the error that a user would see
                said = {"error": str(error)}
            print(json.dumps(said), flush=True)  # noqa: T201


def leaf(error: BaseException) -> BaseException:
    """What went wrong, out of the groups that it comes in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except BaseExceptionGroup as failure:  # This client ends with the first 401.
        print(json.dumps({"error": str(leaf(failure))}), flush=True)  # noqa: T201
