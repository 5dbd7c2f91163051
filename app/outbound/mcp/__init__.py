"""An MCP client for both protocol generations on the guarded outbound client.

``probe`` detects the protocol versions of an upstream. ``open_connection`` returns a ``LegacySession`` (with a session)
or a ``ModernConnection`` (stateless), both with ``request`` and ``stream``. ``list_tools`` reads all pages.
"""
