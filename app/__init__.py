"""Scopegate: scoped, revocable, audited access to MCP servers."""

__version__ = "0.1.0"
