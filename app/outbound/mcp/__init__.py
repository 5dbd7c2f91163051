"""An MCP client for both eras on the guarded outbound client.

``probe`` finds out what an upstream speaks, ``open_connection`` gives a ``LegacySession`` (with a session) or a
``ModernConnection`` (stateless), both with ``request`` and ``stream``, and ``list_tools`` walks all pages.
"""

from app.outbound.mcp.errors import McpUpstreamError, McpUpstreamErrorKind
from app.outbound.mcp.exchange import Notification, Result
from app.outbound.mcp.legacy import LegacySession
from app.outbound.mcp.listing import list_tools
from app.outbound.mcp.modern import ModernConnection
from app.outbound.mcp.opening import open_connection
from app.outbound.mcp.probe import UpstreamInfo, probe

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
