"""Find out what an upstream speaks."""

from dataclasses import dataclass

from app.kit.mcp_upstream.connections import Headers
from app.kit.outbound import OutboundClient, Target
from app.kit.strict_json import JsonObject


@dataclass(frozen=True, slots=True)
class UpstreamInfo:
    """``protocol_versions``: those it really spoke, newest first, never empty. The rest is of the newest era."""

    protocol_versions: tuple[str, ...]
    server_info: JsonObject
    capabilities: JsonObject
    instructions: str | None


async def probe(client: OutboundClient, url: str | Target, headers: Headers) -> UpstreamInfo:
    """Ask in both eras. Raises ``McpUpstreamError`` when it speaks neither."""
    raise NotImplementedError
