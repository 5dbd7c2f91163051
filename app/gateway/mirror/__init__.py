"""The endpoint of one server, as it is itself: `/mcp/{slug}`."""
