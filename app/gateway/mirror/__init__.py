"""The endpoint of one server: `/mcp/{slug}`."""
