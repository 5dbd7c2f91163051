"""An MCP client for both eras on the guarded outbound client.

``probe`` finds out what an upstream speaks, ``open_connection`` gives a ``LegacySession`` (with a session) or a
``ModernConnection`` (stateless), both with ``request`` and ``stream``, and ``list_tools`` walks all pages.
"""

from app.kit.mcp_upstream.errors import McpUpstreamError, McpUpstreamErrorKind
from app.kit.mcp_upstream.exchange import Notification, Result
from app.kit.mcp_upstream.legacy import LegacySession
from app.kit.mcp_upstream.listing import list_tools
from app.kit.mcp_upstream.modern import ModernConnection
from app.kit.mcp_upstream.opening import open_connection
from app.kit.mcp_upstream.probe import UpstreamInfo, probe

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
