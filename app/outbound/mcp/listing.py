"""All pages of ``tools/list``."""

from mcp_types.jsonrpc import METHOD_NOT_FOUND

from app.lib.strict_json import JsonObject, JsonValue
from app.outbound.mcp.errors import McpUpstreamError
from app.outbound.mcp.exchange import as_object
from app.outbound.mcp.legacy import LegacySession
from app.outbound.mcp.modern import ModernConnection


async def list_tools(
    connection: LegacySession | ModernConnection,
    *,
    max_pages: int = 1000,
    max_tools: int = 10_000,
    max_bytes: int = 64 * 1024 * 1024,
) -> list[JsonObject]:
    """Every tool in the upstream's order, as sent; empty where the upstream has no tools at all.

    Each has a ``name`` that no other has, and an ``inputSchema`` object. Raises ``McpUpstreamError``: ``too_large``
    past a cap, ``rubbish`` for a wrong shape, two tools of one name, or cursors that go in a circle.
    """
    tools: dict[str, JsonObject] = {}
    cursors: set[str] = set()
    size = 0
    params: JsonObject = {}
    for _ in range(max_pages):
        try:
            answer = await connection.answer("tools/list", params)
        except McpUpstreamError as error:
            if error.code == METHOD_NOT_FOUND and not cursors:
                return []
            raise
        page = answer.result
        size += answer.size
        for tool in _tools(page):
            name = _name(tool)
            if name in tools:
                raise McpUpstreamError("rubbish", "two tools have the same name")
            tools[name] = tool
            if len(tools) > max_tools or size > max_bytes:
                raise McpUpstreamError("too_large", "the upstream has too many tools")
        cursor = page.get("nextCursor")
        if cursor is None or cursor == "":
            return list(tools.values())
        if not isinstance(cursor, str) or cursor in cursors:
            raise McpUpstreamError("rubbish", "the pages of tools do not end")
        cursors.add(cursor)
        params = {"cursor": cursor}
    raise McpUpstreamError("too_large", "the tools have too many pages")


def _tools(page: JsonObject) -> list[JsonObject]:
    found: JsonValue = page.get("tools")
    if not isinstance(found, list):
        raise McpUpstreamError("rubbish", "the list of tools is not a list")
    return [as_object(tool, "a tool") for tool in found]


def _name(tool: JsonObject) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise McpUpstreamError("rubbish", "a tool has no name")
    as_object(tool.get("inputSchema"), "the input schema of a tool")
    return name
