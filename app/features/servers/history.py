"""What the history keeps of a server: all that a decision reads of it beside its tools."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.features.audit.record import keep_version
from app.models.servers import Server

KIND = "server"
"""Of the versions in ``object_versions``."""
KEPT = frozenset({"slug", "status", "labels"})


async def keep_server(session: AsyncSession, row: Server) -> None:
    """Write down how a locked server is from now on; of one that has ended, that it has."""
    content = {name: getattr(row, name) for name in sorted(KEPT)}
    await keep_version(session, KIND, row.id, content if row.ended_at is None else None)
