"""Names for ids, and ids for names. Events hold ids alone, so that a person can be erased.

The trail is the lowest feature, everybody records into it: it reads the tables of names by SQL, not by import.
"""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_MOST_NAMED = 500
_NAMES = text("""
SELECT id, coalesce(display_name, user_name) AS name FROM identities
    WHERE id = ANY(CAST(:ids AS uuid[])) AND erased_at IS NULL
UNION ALL SELECT id, name FROM service_accounts WHERE id = ANY(CAST(:ids AS uuid[]))
UNION ALL SELECT id, slug FROM servers WHERE id = ANY(CAST(:ids AS uuid[]))
UNION ALL SELECT id, name FROM groups WHERE id = ANY(CAST(:ids AS uuid[]))
UNION ALL SELECT id, name FROM policies WHERE id = ANY(CAST(:ids AS uuid[]))
UNION ALL SELECT id, name FROM tokens WHERE id = ANY(CAST(:ids AS uuid[]))
UNION ALL SELECT a.id, coalesce(i.display_name, i.user_name) FROM administrators a
    JOIN identities i ON i.id = a.identity_id AND i.erased_at IS NULL WHERE a.id = ANY(CAST(:ids AS uuid[]))
UNION ALL SELECT id, 'break-glass administrator' FROM break_glass_sessions WHERE id = ANY(CAST(:ids AS uuid[]))
""")
_NAMED = text("""
SELECT id FROM identities WHERE erased_at IS NULL
    AND (user_name ILIKE :pattern OR display_name ILIKE :pattern OR email ILIKE :pattern)
UNION ALL SELECT id FROM service_accounts WHERE name ILIKE :pattern
UNION ALL SELECT id FROM servers WHERE slug ILIKE :pattern OR name ILIKE :pattern
UNION ALL SELECT a.id FROM administrators a JOIN identities i ON i.id = a.identity_id
    WHERE i.erased_at IS NULL
    AND (i.user_name ILIKE :pattern OR i.display_name ILIKE :pattern OR i.email ILIKE :pattern)
LIMIT :most
""")


async def names_of(session: AsyncSession, ids: Iterable[UUID | None]) -> dict[UUID, str]:
    """The present names of actors, groups, policies and tokens, and the slugs of servers."""
    known = sorted({id for id in ids if id is not None})
    if not known:
        return {}
    rows = await session.execute(_NAMES, {"ids": known})
    return {row.id: row.name for row in rows}


async def ids_named(session: AsyncSession, part: str) -> list[UUID]:
    """The ids of whatever has this text in its name, at most 500."""
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    rows = await session.execute(_NAMED, {"pattern": f"%{escaped}%", "most": _MOST_NAMED})
    return [row.id for row in rows]
