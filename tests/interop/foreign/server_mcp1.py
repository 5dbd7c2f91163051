"""A server on the first line of the Python SDK. Runs in an environment of that line's own: python server_mcp1.py FD."""

import socket
import sys
from typing import Any

import uvicorn
from mcp.server.fastmcp import Context, FastMCP
from mcp.server.session import ServerSession
from mcp.types import Completion, CompletionArgument, SamplingMessage, TextContent
from pydantic import BaseModel

server = FastMCP("mcp1", instructions="Ask about the weather.")

Ctx = Context[ServerSession, None]


class Place(BaseModel):
    """What the user is asked for."""

    city: str


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def fail() -> str:
    """Fail, as tools do."""
    raise ValueError("the thermometer is broken")


@server.tool()
async def steps(ctx: Ctx) -> str:
    """Tell how it goes."""
    for step in range(3):
        await ctx.report_progress(step, 3, f"step {step}")
    return "done"


@server.tool()
async def where(ctx: Ctx) -> str:
    """Ask the user where they are."""
    answer = await ctx.elicit("Where are you?", Place)
    return answer.data.city if answer.action == "accept" else answer.action


@server.tool()
async def think(question: str, ctx: Ctx) -> str:
    """Ask the client's model."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=question))
    answer = await ctx.session.create_message([message], max_tokens=10, related_request_id=ctx.request_id)
    return answer.content.text


@server.tool()
async def say(ctx: Ctx) -> str:
    """Write into the log."""
    await ctx.warning("it is raining")
    return "said"


@server.resource("weather://today")
def today() -> str:
    """Tell today's weather."""
    return "rain"


@server.resource("weather://{city}/now")
def now(city: str) -> str:
    """Tell the weather of a city."""
    return f"rain in {city}"


@server.prompt()
def forecast(city: str) -> str:
    """Ask for a forecast."""
    return f"What will the weather be in {city}?"


@server.completion()
async def complete(_reference: Any, argument: CompletionArgument, _context: Any) -> Completion:
    """Complete the name of a city."""
    cities = [city for city in ("paris", "parma", "rome") if city.startswith(argument.value)]
    return Completion(values=cities)


if __name__ == "__main__":
    listening = socket.socket(fileno=int(sys.argv[1]))
    uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="error", ws="none")).run(
        sockets=[listening]
    )
