"""A server on FastMCP whose tools run as tasks: python server_tasks.py FD, in an environment of its own."""

import asyncio
import socket
import sys

import mcp_types as types
import uvicorn
from fastmcp import Context, FastMCP
from fastmcp.utilities.tasks import TaskConfig
from fastmcp_tasks import TasksExtension

server = FastMCP("tasks")
server.add_extension(TasksExtension())


@server.tool(task=True)
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(task=True)
async def fail() -> str:
    """Fail, as tools do."""
    raise ValueError("the thermometer is broken")


@server.tool(task=TaskConfig(mode="required"))
async def where(ctx: Context) -> str | types.InputRequiredResult:
    """Ask the user where they are, while the task waits."""
    if not ctx.input_responses:
        form = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        params = types.ElicitRequestFormParams(message="Where are you?", requested_schema=form)
        return types.InputRequiredResult(input_requests={"city": types.ElicitRequest(params=params)})
    answer = ctx.input_responses["city"]
    return str(answer.content["city"] if answer.content else answer.action)


@server.tool(task=TaskConfig(mode="required"))
async def wait() -> str:
    """Wait until the task is canceled."""
    await asyncio.Event().wait()
    return "never"


if __name__ == "__main__":
    listening = socket.socket(fileno=int(sys.argv[1]))
    app = server.http_app(path="/mcp")
    uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none")).run(sockets=[listening])
