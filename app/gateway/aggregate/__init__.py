"""The endpoint of all servers in a token's reach: `/mcp` (ADR 12)."""
