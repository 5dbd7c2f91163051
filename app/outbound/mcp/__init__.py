"""An MCP client for both protocol generations on the guarded outbound client.

``probe`` detects the protocol versions of an upstream. ``open_connection`` returns a ``LegacySession`` (with a session)
or a ``ModernConnection`` (stateless), both with ``request`` and ``stream``. ``list_tools`` reads all pages.
"""

from app.outbound.mcp.connection import LegacySession, ModernConnection
from app.outbound.mcp.exchange import McpUpstreamError, McpUpstreamErrorKind, Notification, Result
from app.outbound.mcp.probe import UpstreamInfo, list_tools, open_connection, probe

__all__ = [
    "LegacySession",
    "McpUpstreamError",
    "McpUpstreamErrorKind",
    "ModernConnection",
    "Notification",
    "Result",
    "UpstreamInfo",
    "list_tools",
    "open_connection",
    "probe",
]
