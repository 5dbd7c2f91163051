"""The history of tool definitions, written in bulk: a first sync may bring thousands."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.objects import ToolState
from app.features.audit.record import close_versions
from app.models.audit import ObjectVersion
from app.models.servers import Tool

KIND = "tool_definition"


async def keep_definitions(session: AsyncSession, tools: Sequence[Tool]) -> None:
    """Close each tool's current version and write the next; for a removed tool only close it."""
    if not tools:
        return
    ids = [tool.id for tool in tools]
    await close_versions(session, ids)
    query = (
        select(col(ObjectVersion.object_id), func.max(col(ObjectVersion.version)))
        .where(col(ObjectVersion.object_id).in_(ids))
        .group_by(col(ObjectVersion.object_id))
    )
    latest = {object_id: version for object_id, version in await session.execute(query)}  # noqa: C416
    session.add_all(
        ObjectVersion(
            object_id=tool.id, version=latest.get(tool.id, 0) + 1, kind=KIND, content=_content(tool)
        )
        for tool in tools
        if tool.state != ToolState.REMOVED
    )
    await session.flush()


async def approved_content(session: AsyncSession, tool: Tool) -> dict[str, Any] | None:
    """The last approved definition from the history; ``None`` if there is none."""
    if tool.approved_digest is None:
        return None
    content = col(ObjectVersion.content)
    query = (
        select(content)
        .where(
            col(ObjectVersion.object_id) == tool.id,
            content["definition_digest"].as_string() == tool.approved_digest.hex(),
        )
        .order_by(col(ObjectVersion.version).desc())
        .limit(1)
    )
    return await session.scalar(query)


def _content(tool: Tool) -> dict[str, Any]:
    approved = tool.approved_digest
    return {
        "server_id": str(tool.server_id),
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "input_schema": tool.input_schema,
        "output_schema": tool.output_schema,
        "annotations": tool.annotations,
        "risk": tool.risk,
        "state": tool.state,
        "definition_digest": tool.definition_digest.hex(),
        "approved_digest": None if approved is None else approved.hex(),
    }
