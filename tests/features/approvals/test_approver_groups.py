"""The group in a policy is found by its name, ignoring case, and is none if two have the name."""

import asyncpg
import httpx2

from app.models.identities import Group
from tests.admission.consuming import ASK, demand, running_consuming_writer
from tests.admission.world import decision, make_world
from tests.features.administrators.people import stored_provider
from tests.features.principals import Sessions, fresh


async def test_of_two_groups_that_are_called_so_none_decides(
    api: httpx2.AsyncClient, sessions: Sessions, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    meant = Group(name=ASK.group.upper())

    async def group_of(digest: bytes) -> object:
        async with running_consuming_writer(database_url) as consuming:
            await consuming.settle(demand(world, decided, ASK, digest=digest))
        return await connection.fetchval(
            "SELECT approver_group_id FROM approvals WHERE arguments_digest = $1", digest
        )

    async def warnings() -> list[str]:
        head = 'principal, action == Action::"call_tool", resource'
        text = f'@require_approval("{ASK.group}") forbid ({head});'
        written = await api.post("/api/v1/policies", json={"name": fresh("policy"), "text": text})
        assert written.status_code == 201, written.text
        return [each["code"] for each in written.json()["warnings"]]

    assert (await group_of(b"1"), await warnings()) == (None, ["unknown_group"])
    async with sessions() as session:
        session.add(meant)
        await session.commit()
    assert (await group_of(b"2"), await warnings()) == (meant.id, ["empty_group"])
    # A provider adds another group, with exactly the name in the policy.
    provider = await stored_provider(sessions)
    async with sessions() as session:
        session.add(Group(name=ASK.group, source="scim", provider_id=provider.id))
        await session.commit()
    assert (await group_of(b"3"), await warnings()) == (None, ["ambiguous_group"])
    await connection.close()
