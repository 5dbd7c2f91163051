"""All pages of ``tools/list``."""

from app.kit.mcp_upstream.connections import LegacySession, ModernConnection
from app.kit.strict_json import JsonObject


async def list_tools(
    connection: LegacySession | ModernConnection,
    *,
    max_pages: int = 1000,
    max_tools: int = 10_000,
    max_bytes: int = 64 * 1024 * 1024,
) -> list[JsonObject]:
    """Every tool in the upstream's order, as sent. Raises ``McpUpstreamError`` (``too_large`` past a cap)."""
    raise NotImplementedError
