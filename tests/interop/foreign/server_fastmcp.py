"""A server on FastMCP, which speaks both eras. Runs in an environment of FastMCP's own: python server_fastmcp.py FD."""

import socket
import sys
from dataclasses import dataclass

import uvicorn
from fastmcp import Context, FastMCP

server = FastMCP("fastmcp", instructions="Ask about the weather.")


@dataclass
class Place:
    """What the user is asked for."""

    city: str


@server.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool
def fail() -> str:
    """Fail, as tools do."""
    raise ValueError("the thermometer is broken")


@server.tool
async def steps(ctx: Context) -> str:
    """Tell how it goes."""
    for step in range(3):
        await ctx.report_progress(step, 3, f"step {step}")
    return "done"


@server.tool
async def where(ctx: Context) -> str:
    """Ask the user where they are."""
    answer = await ctx.elicit("Where are you?", Place)
    return answer.data.city if answer.action == "accept" else answer.action


@server.resource("weather://today")
def today() -> str:
    """Tell today's weather."""
    return "rain"


@server.resource("weather://{city}/now")
def now(city: str) -> str:
    """Tell the weather of a city."""
    return f"rain in {city}"


@server.prompt
def forecast(city: str) -> str:
    """Ask for a forecast."""
    return f"What will the weather be in {city}?"


if __name__ == "__main__":
    listening = socket.socket(fileno=int(sys.argv[1]))
    app = server.http_app(path="/mcp")
    uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none")).run(sockets=[listening])
