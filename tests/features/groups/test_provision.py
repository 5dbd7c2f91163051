"""Group members from a directory: few statements for many people, and no offboarded members."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.change import Change
from app.db.engine import commit
from app.features.groups.provision import change_members, set_members
from app.features.groups.queries import find_provided
from app.lib.ids import IDENTITY, format_id
from app.models.identities import Group
from tests.adapters.scim.populations import Someone, add_group, add_provider, add_users, provisioner
from tests.features.administrators.people import until_waiting
from tests.features.principals import Sessions, history

MANY = 1_500


async def filled(sessions: Sessions, many: int) -> tuple[UUID, UUID, list[UUID]]:
    """A directory, an empty group of it and its people."""
    async with sessions() as session:
        provider_id = await add_provider(session)
        ids = await add_users(session, provider_id, [Someone(f"user{number}") for number in range(many)])
        group_id = await add_group(session, provider_id, "Team")
        await session.commit()
    return provider_id, group_id, sorted(ids)


def by_directory(session: AsyncSession) -> Change:
    return Change(session, provisioner(), "request", datetime.now(UTC))


async def locked(session: AsyncSession, provider_id: UUID, group_id: UUID) -> Group:
    group = await find_provided(session, provider_id, group_id, lock=True)
    assert group is not None
    return group


async def test_many_members_change_in_few_statements_each_with_all_that_is_kept_of_it(
    sessions: Sessions,
) -> None:
    provider_id, group_id, ids = await filled(sessions, MANY)
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    async with sessions() as session:
        group = await locked(session, provider_id, group_id)
        engine = session.get_bind()
        event.listen(engine, "before_cursor_execute", note)
        joined = await change_members(by_directory(session), provider_id, group, add=ids)
        few = len(statements)
        await commit(session)
    async with sessions() as session:
        group = await locked(session, provider_id, group_id)
        left = await set_members(by_directory(session), provider_id, group, ids[:10])
        again = await set_members(by_directory(session), provider_id, group, ids[:10])
        event.remove(engine, "before_cursor_execute", note)
        await commit(session)
    assert few < 12
    assert (joined.joined, len(joined.events)) == (ids, 2)
    assert (left.left, len(left.events)) == (ids[10:], 2)
    assert (again.joined, again.left, again.events) == ([], [], [])

    async with sessions() as session:
        events = await session.scalars(
            text("SELECT changes FROM audit_events WHERE action = 'group.change_members' ORDER BY xact, seq")
        )
        added = [changes for changes in events if "added" in changes]
        assert [len(changes["added"]) for changes in added] == [1_000, 500]
        assert added[0]["added"][0] == format_id(IDENTITY, ids[0])
        versions = await session.scalars(
            text("SELECT version FROM access_versions WHERE id <> :id"), {"id": group_id}
        )
        assert max(versions) == 2
    kept = await history(sessions, "membership")
    assert (len(kept), sum(current for _, current in kept)) == (MANY, 10)
    assert {content["group_id"] for content, _ in kept} == {str(group_id)}


async def test_who_is_offboarded_meanwhile_does_not_join(sessions: Sessions) -> None:
    provider_id, group_id, (leaver, other) = await filled(sessions, 2)

    async def put_in() -> list[UUID]:
        async with sessions() as session:
            group = await locked(session, provider_id, group_id)
            change = await change_members(by_directory(session), provider_id, group, add=[leaver, other])
            await commit(session)
            return change.joined

    async with sessions() as session:
        await session.execute(
            text("UPDATE identities SET status = 'offboarded' WHERE id = :id"), {"id": leaver}
        )
        joining = asyncio.create_task(put_in())
        await until_waiting(sessions, 1)
        await session.commit()
    assert await joining == [other]
