"""Names for ids, and ids for names. Events hold only ids, so that a person can be erased.

Every other feature imports the audit log, so it reads the tables of names by SQL, not by import.
"""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_MAX_NAMES = 500
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
_NAMED = """
WITH people AS MATERIALIZED (
    SELECT id FROM identities WHERE erased_at IS NULL
        AND (user_name ILIKE :pattern OR display_name ILIKE :pattern OR email ILIKE :pattern) {} LIMIT :most
)
SELECT id FROM people
UNION ALL SELECT id FROM service_accounts WHERE name ILIKE :pattern
UNION ALL SELECT id FROM servers WHERE slug ILIKE :pattern OR name ILIKE :pattern
UNION ALL SELECT id FROM administrators WHERE identity_id IN (SELECT id FROM people)
LIMIT :most
"""
# As it is indexed; fewer than three letters cannot be looked up.
_LOOKED_UP = """AND scopegate_trigrams(
    user_name || ' ' || coalesce(display_name, '') || ' ' || coalesce(email, '')
) @> scopegate_trigrams(:part)"""
_NAMED_BY_LETTERS, _NAMED_BY_FEW = text(_NAMED.format(_LOOKED_UP)), text(_NAMED.format(""))
_FEW_LETTERS = 2
_ACTORS = text("""
WITH wanted AS (SELECT lower(name) FROM unnest(CAST(:names AS text[])) AS name)
SELECT id FROM identities
    WHERE erased_at IS NULL AND lower(coalesce(display_name, user_name)) IN (SELECT * FROM wanted)
UNION ALL SELECT id FROM service_accounts WHERE lower(name) IN (SELECT * FROM wanted)
UNION ALL SELECT a.id FROM administrators a JOIN identities i ON i.id = a.identity_id
    WHERE i.erased_at IS NULL AND lower(coalesce(i.display_name, i.user_name)) IN (SELECT * FROM wanted)
LIMIT :most
""")
_SERVERS = text("SELECT id FROM servers WHERE slug = ANY(CAST(:slugs AS text[])) LIMIT :most")


async def names_of(session: AsyncSession, ids: Iterable[UUID | None]) -> dict[UUID, str]:
    """The current names of actors, groups, policies and tokens, and the slugs of servers."""
    id_list = sorted({id for id in ids if id is not None})
    if not id_list:
        return {}
    rows = await session.execute(_NAMES, {"ids": id_list})
    return {row.id: row.name for row in rows}


async def find_ids_by_name(session: AsyncSession, part: str) -> list[UUID]:
    """The ids of objects with this text in their name, at most 500."""
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    values = {"pattern": f"%{escaped}%", "most": _MAX_NAMES}
    if len(part) <= _FEW_LETTERS:
        rows = await session.execute(_NAMED_BY_FEW, values)
    else:
        rows = await session.execute(_NAMED_BY_LETTERS, values | {"part": part})
    return [row.id for row in rows]


async def find_actors(session: AsyncSession, names: Iterable[str]) -> list[UUID]:
    """The ids of the identities, administrators and service accounts with one of these names, at most 500."""
    return [row.id for row in await session.execute(_ACTORS, {"names": list(names), "most": _MAX_NAMES})]


async def find_servers(session: AsyncSession, slugs: Iterable[str]) -> list[UUID]:
    """The ids of the servers with one of these slugs, including ended ones."""
    return [row.id for row in await session.execute(_SERVERS, {"slugs": list(slugs), "most": _MAX_NAMES})]
