"""What pages of servers share: their addresses, what a view of one is made of, and how things stand in words."""

from dataclasses import dataclass
from uuid import UUID

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.signed_in import Viewer
from app.features.servers.schemas import ServerView
from app.features.tools.schemas import ToolView
from app.http.runtime import Runtime
from app.lib.ids import SERVER, format_id

LIST = "/console/servers"


@dataclass(frozen=True, slots=True)
class Sight:
    """Who looks at which server, and what there is to read it with."""

    request: Request
    session: AsyncSession
    runtime: Runtime
    viewer: Viewer
    server: ServerView


def path_of(server_id: UUID) -> str:
    """The address of a server's page."""
    return f"{LIST}/{format_id(SERVER, server_id)}"


def health(server: ServerView) -> tuple[str, str]:
    """How a server is, as a state and in words."""
    if server.status == "disabled":
        return "disabled", "disabled"
    if server.sync.state == "running":
        return "running", "its tools are being read"
    if server.sync.state == "never":
        return "never", "never synced"
    if server.sync.state == "error":
        return "error", "last sync failed"
    return ("warn", "some tools left out") if server.sync.error else ("ok", "healthy")


def why_waiting(tool: ToolView) -> str:
    """Why a tool waits, or an empty text."""
    if tool.state != "quarantined":
        return ""
    if tool.approved_digest is None:
        return "new"
    return "held by hand" if tool.approved_digest == tool.definition_digest else "definition changed"
