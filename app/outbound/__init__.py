"""Guarded requests to other systems: HTTP, MCP servers, key sets."""
