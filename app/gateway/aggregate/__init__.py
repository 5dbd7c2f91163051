"""The endpoint of all servers that a token reaches: `/mcp` (ADR 12)."""
