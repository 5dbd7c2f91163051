"""The data plane: MCP messages, the enforcement pipeline and the two endpoints (ADR 5)."""

from app.gateway.app import Gateway

__all__ = ["Gateway"]
