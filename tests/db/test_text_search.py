"""Substring search finds exactly the matching names; the index excludes only others."""

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.db.rows import has_text
from app.models.identities import NAMES, Identity

Sessions = async_sessionmaker[AsyncSession]
PEOPLE = [
    ("ab", None, None),
    ("abc", None, None),
    ("maria.lópez", "María  López", "maria@example.com"),
    ("İstanbul", "ÇAĞRI ẞ", None),
    ("100% real_name\\", "'quoted' {a,b}", "x'y@example.com"),
    ("日本語の名前", None, None),
    ("😀😀😀😀", "a\nb\tc", None),
    ("aaaaaaaa", "NULL", None),
]


def parts(name: str) -> set[str]:
    """All substrings of a name."""
    return {name[begin:end] for begin in range(len(name)) for end in range(begin + 1, len(name) + 1)}


async def test_what_the_index_finds_is_what_a_walk_through_the_table_does(sessions: Sessions) -> None:
    columns = (col(Identity.user_name), col(Identity.display_name), col(Identity.email))
    wanted = {q for person in PEOPLE for name in person if name for q in parts(name)}
    wanted |= {q.swapcase() for q in wanted} | {"lópez M", "abcd", "%%%", "___", "\\\\\\", "null,"}
    async with sessions() as session:
        for user_name, display_name, email in PEOPLE:
            session.add(Identity(kind="person", user_name=user_name, display_name=display_name, email=email))
        await session.flush()
        everybody = list(await session.scalars(select(Identity)))
        lower = {
            one.id: [
                str(await session.scalar(select(func.lower(name))))
                for name in (one.user_name, one.display_name, one.email)
                if name is not None
            ]
            for one in everybody
        }
        for q in sorted(wanted):
            found = set(
                await session.scalars(select(col(Identity.id)).where(has_text(q, *columns, indexed=NAMES)))
            )
            lowered = str(await session.scalar(select(func.lower(q))))
            assert found == {id for id, names in lower.items() if any(lowered in name for name in names)}, q


@pytest.mark.parametrize(("q", "is_walked"), [("mar", False), ("ma", True)])
async def test_three_letters_are_looked_up_and_fewer_are_walked_for(
    sessions: Sessions, q: str, *, is_walked: bool
) -> None:
    searched = select(col(Identity.id)).where(has_text(q, col(Identity.user_name), indexed=NAMES))
    # The compiler of a dialect is untyped.
    sql = searched.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    async with sessions() as session:
        await session.execute(text("SET enable_seqscan = off"))
        plan = "\n".join(await session.scalars(text(f"EXPLAIN {sql}")))
    assert ("ix_identities_names" not in plan) is is_walked, plan
