"""One caller's way to one upstream, in the era that there is."""

from mcp_types.version import (
    HANDSHAKE_PROTOCOL_VERSIONS,
    LATEST_HANDSHAKE_VERSION,
    MODERN_PROTOCOL_VERSIONS,
)

from app.lib.strict_json import JsonObject
from app.outbound.http import OutboundClient, Target, Timeouts
from app.outbound.mcp.connection import DEFAULT_TIMEOUTS, BeforeSend
from app.outbound.mcp.exchange import Headers
from app.outbound.mcp.legacy import LegacySession
from app.outbound.mcp.modern import ModernConnection


async def open_connection(
    client: OutboundClient,
    url: str | Target,
    headers: Headers,
    protocol_versions: tuple[str, ...],
    *,
    client_capabilities: JsonObject | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    before_send: BeforeSend | None = None,
    before_next: BeforeSend | None = None,
    caller: int | None = None,
) -> LegacySession | ModernConnection:
    """Modern where ``protocol_versions`` (of a probe) has it, else a new legacy session of the newest of them."""
    for known in reversed(MODERN_PROTOCOL_VERSIONS):
        if known in protocol_versions:
            return ModernConnection(
                client,
                url,
                headers,
                protocol_version=known,
                client_capabilities=client_capabilities,
                timeouts=timeouts,
                caller=caller,
            )
    newest = next((v for v in reversed(HANDSHAKE_PROTOCOL_VERSIONS) if v in protocol_versions), None)
    return await LegacySession.open(
        client,
        url,
        headers,
        version=newest or LATEST_HANDSHAKE_VERSION,
        client_capabilities=client_capabilities,
        timeouts=timeouts,
        before_send=before_send,
        before_next=before_next,
        caller=caller,
    )
