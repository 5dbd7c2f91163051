"""Third-party clients, each connected with its own settings, that run commands."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client

from app.cli.children import plain_environment
from tests.interop.others import FOREIGN, HERE, environment, python_of
from tests.interop.tour import Traveller

Command = Callable[..., Awaitable[Any]]
"""``command("call", name=..., arguments=...)``: returns the result of the client, or raises ``Shown``."""


class Shown(Exception):
    """The error that a user of the client sees."""


@asynccontextmanager
async def foreign_client(name: str, url: str, token: str, *arguments: str) -> AsyncIterator[Command]:
    """Run ``foreign/client_<name>.py`` in the environment ``<name>``."""
    process = await asyncio.create_subprocess_exec(
        python_of(name),
        FOREIGN / f"client_{name}.py",
        *arguments,
        env=plain_environment() | {"URL": url, "SCOPEGATE_TOKEN": token},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answers = process.stdout

    async def command(do: str, **members: Any) -> Any:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"do": do, **members}).encode() + b"\n")
        async with asyncio.timeout(50):
            line = await answers.readline()
        assert line, "the client ended"
        said = json.loads(line)
        if "error" in said:
            raise Shown(said["error"])
        return said["result"]

    try:
        yield command
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def remote_client(
    command: str, arguments: list[str], variables: dict[str, str], home: Path
) -> AsyncIterator[Command]:
    """Run the stdio bridge to a remote server (``npx mcp-remote ...``) with a stdio client."""
    traveller = Traveller()
    # npx finds what is installed next to this file before it looks elsewhere.
    parameters = StdioServerParameters(
        command=command, args=arguments, env=environment(HOME=str(home), **variables), cwd=HERE
    )
    with (home / "errors").open("w") as errors:
        async with Client(
            stdio_client(parameters, errlog=errors),
            mode="legacy",
            elicitation_callback=traveller.answer,
            sampling_callback=traveller.think,
        ) as client:
            yield _granting(client, traveller)


def _granting(client: Client, traveller: Traveller) -> Command:
    async def grant(do: str, command: dict[str, Any]) -> Any:
        match do:
            case "tools":
                return [tool.name for tool in (await client.list_tools()).tools]
            case "prompts":
                return [prompt.name for prompt in (await client.list_prompts()).prompts]
            case "resources":
                return [resource.uri for resource in (await client.list_resources()).resources]
            case "call":
                result = await client.call_tool(
                    command["name"], command["arguments"], progress_callback=traveller.progress
                )
                return {"error": result.is_error, "text": str(result.content)}
            case "prompt":
                return str((await client.get_prompt(command["name"], command["arguments"])).messages)
            case "resource":
                return str((await client.read_resource(command["uri"])).contents)
            case _:
                return [str(item) for item in traveller.heard]

    async def command(do: str, **members: Any) -> Any:
        try:
            return await grant(do, members)
        except MCPError as error:
            raise Shown(str(error)) from None

    return command
