"""Move stored rows into the past, and record past uses."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from tests.features.principals import Json, Sessions, plain

_AGE = (
    "UPDATE use_watches SET since = since - CAST(:age AS interval)",
    "UPDATE grants SET created_at = created_at - CAST(:age AS interval)",
    "UPDATE servers SET created_at = created_at - CAST(:age AS interval)",
    "UPDATE tools SET created_at = created_at - CAST(:age AS interval)",
    """UPDATE object_versions
    SET valid_from = valid_from - CAST(:age AS interval), valid_to = valid_to - CAST(:age AS interval)""",
)


async def age(sessions: Sessions, days: int) -> None:
    """Make every row older by this many days, and the recording of uses too."""
    async with sessions() as session:
        for statement in _AGE:
            await session.execute(text(statement), {"age": timedelta(days=days)})
        await session.commit()


async def use(
    sessions: Sessions,
    grant: Json,
    server: Json,
    tool: str | None,
    by: Json,
    *,
    days: float,
    part: str = "tools",
) -> None:
    """Record a use of a grant, this many days ago."""
    values: dict[str, Any] = {
        "grant": plain(grant), "server": plain(server), "tool": tool or "", "by": plain(by), "part": part,
        "at": datetime.now(UTC) - timedelta(days=days),
    }  # fmt: skip
    async with sessions() as session:
        await session.execute(
            text(
                "INSERT INTO grant_uses VALUES (:grant, :server, :part, :tool, :at)"
                " ON CONFLICT (grant_id, server_id, part, tool) DO UPDATE SET last_used_at = excluded.last_used_at"
            ),
            values,
        )
        await session.execute(
            text(
                "INSERT INTO grant_users VALUES (:grant, :by, :at) ON CONFLICT (grant_id, identity_id)"
                " DO UPDATE SET last_used_at = greatest(grant_users.last_used_at, excluded.last_used_at)"
            ),
            values,
        )
        await session.commit()
