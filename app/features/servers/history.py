"""The history of servers: what decisions read of them, without their tools."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.features.audit.record import keep_version
from app.models.servers import Server

KIND = "server"
"""The kind of the versions in ``object_versions``."""
KEPT = frozenset({"slug", "status", "labels"})


async def keep_server(session: AsyncSession, row: Server) -> None:
    """Record the new version of a locked server; for an ended one, only close the last."""
    content = {name: getattr(row, name) for name in sorted(KEPT)}
    await keep_version(session, KIND, row.id, content if row.ended_at is None else None)
