"""Operations of a token: calls and lists through the gateway, and its first use."""

import json
from collections.abc import Callable
from itertools import count
from typing import Any

from bench.messages import MODERN, TOOL, TOOLS
from bench.processes import CannotMeasure
from bench.scale.comparison import Operation, Step
from bench.scale.worlds import World
from bench.seed import SLUG

_CALLER = 150
"""The number of the token that calls repeatedly. Tokens before it are used once each."""
_HEADERS = {"MCP-Protocol-Version": MODERN}
_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}
_numbers = count(1)


def _message(method: str, **params: Any) -> str:
    message = {"jsonrpc": "2.0", "id": next(_numbers), "method": method, "params": {**params, "_meta": _META}}
    return json.dumps(message)


def _call(world: World, token: int, path: str = f"/mcp/{SLUG}", tool: str = TOOL) -> None:
    message = _message("tools/call", name=tool, arguments={"text": "once"})
    headers = {**_HEADERS, "Mcp-Method": "tools/call", "Mcp-Name": tool}
    answer = world.send(path, world.loaded.credentials[token], message, headers)
    if answer["result"]["content"][0]["text"] != "echo once":
        raise CannotMeasure(f"a call was answered {answer}")


def _list(world: World, path: str, tools: int) -> None:
    headers = {**_HEADERS, "Mcp-Method": "tools/list"}
    answer = world.send(path, world.loaded.credentials[_CALLER], _message("tools/list"), headers)
    if len(answer["result"]["tools"]) != tools:
        raise CannotMeasure(f"there are {len(answer['result']['tools'])} tools and not {tools}")


def _in(do: Callable[[World, int], object]) -> Callable[[World], Step]:
    return lambda world: lambda number: do(world, number)


CALLS = (
    Operation("a call", _in(lambda world, number: _call(world, _CALLER))),
    Operation("a call on /mcp", _in(lambda world, number: _call(world, _CALLER, "/mcp", f"{SLUG}__{TOOL}"))),
    Operation("the first call of a token", _in(_call)),
    Operation("the tools of a server", _in(lambda world, number: _list(world, f"/mcp/{SLUG}", len(TOOLS)))),
    Operation(
        "the tools of all servers in reach", _in(lambda world, number: _list(world, "/mcp", 3 * len(TOOLS)))
    ),
)
