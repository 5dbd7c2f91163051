"""Nothing that is issued beside an offboarding survives it. Real sessions, real PostgreSQL, real contention."""

import asyncio

import httpx2
import pytest

from app.features.identities.models import Identity
from app.kit.ids import IDENTITY, format_id
from tests.features.tokens.world import World, in_days

TOKENS = "/api/v1/tokens"
ISSUERS = 20
NOTHING_ALIVE = "SELECT id FROM tokens WHERE revoked_at IS NULL"


async def until_answered(client: httpx2.AsyncClient, path: str, body: object) -> httpx2.Response:
    """A 503 (no free connection, too much contention) is repeated, as its text asks the client to do."""
    async with asyncio.timeout(60):
        while True:
            answer = await client.post(path, json=body)
            if answer.status_code != 503:
                return answer


def offboarding(identity: Identity) -> str:
    return f"/api/v1/identities/{format_id(IDENTITY, identity.id)}/offboard"


@pytest.mark.parametrize("_attempt", range(3))
async def test_twenty_issuers_race_one_offboarding(world: World, _attempt: int) -> None:
    person = await world.person()
    agent = await world.agent(person)
    parent = await world.issue(person)
    orders = [
        world.order(person),
        world.order(agent),
        world.order(agent, parent_id=parent["id"], expires_at=in_days(1)),
        world.order(person, parent_id=parent["id"], expires_at=in_days(1)),
    ]
    issuers = [until_answered(world.api, TOKENS, orders[n % len(orders)]) for n in range(ISSUERS)]
    offboard = until_answered(world.api, offboarding(person), {"reason": "left"})
    half = ISSUERS // 2
    answers = await asyncio.gather(*issuers[:half], offboard, *issuers[half:])
    receipt = answers.pop(half)
    assert receipt.status_code == 200
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert await world.sql(NOTHING_ALIVE) == []
    # What did get issued is on the receipt.
    issued = {answer.json()["token"]["id"] for answer in answers if answer.status_code == 201}
    assert set(receipt.json()["revoked"]["tokens"]) == issued | {parent["id"]}


async def test_attenuating_deep_below_a_former_owner_races_the_offboarding(world: World) -> None:
    person, heir = await world.person(), await world.person()
    agent = await world.agent(person)
    root = await world.issue(person)
    child = await world.issue(agent, parent_id=root["id"], expires_at=in_days(1))
    # The agent is no longer the leaver's, so the offboarding does not lock it: the parent's lock alone holds.
    await world.sql("UPDATE identities SET owner_id = :heir WHERE id = :id", heir=heir.id, id=agent.id)
    order = world.order(agent, parent_id=child["id"], expires_at=child["expires_at"])
    issuers = [until_answered(world.api, TOKENS, order) for _ in range(ISSUERS)]
    answers = await asyncio.gather(
        *issuers[:5], until_answered(world.api, offboarding(person), {"reason": "left"}), *issuers[5:]
    )
    assert answers.pop(5).status_code == 200
    assert {answer.status_code for answer in answers} <= {201, 422}
    assert await world.sql(NOTHING_ALIVE) == []


async def test_two_offboardings_at_once_make_one_receipt(world: World) -> None:
    person = await world.person()
    await world.issue(person)
    answers = await asyncio.gather(
        *(until_answered(world.api, offboarding(person), {"reason": "left"}) for _ in range(4))
    )
    bodies = [answer.json() for answer in answers]
    assert sorted(body["changed"] for body in bodies) == [False, False, False, True]
    assert len({body["receipt_id"] for body in bodies}) == 1
    assert await world.actions(person.id) == ["identity.offboard"]


async def test_owner_and_heir_leaving_at_once_leave_nothing_alive(world: World) -> None:
    first, second = await world.person(), await world.person()
    agents = [await world.agent(first), await world.agent(second)]
    for identity in (first, second, *agents):
        await world.issue(identity)

    def leave(leaver: Identity, heir: Identity) -> object:
        return {"reason": "left", "transfer_agents_to": format_id(IDENTITY, heir.id)}

    answers = await asyncio.gather(
        until_answered(world.api, offboarding(first), leave(first, second)),
        until_answered(world.api, offboarding(second), leave(second, first)),
    )
    # Whoever comes second has nobody to hand over to, and is told so; then leaves without.
    assert sorted(answer.status_code for answer in answers) == [200, 422]
    for leaver in (first, second):
        answer = await until_answered(world.api, offboarding(leaver), {"reason": "left"})
        assert answer.status_code == 200
    assert await world.sql(NOTHING_ALIVE) == []
    rows = await world.sql("SELECT status FROM identities WHERE owner_id IS NOT NULL")
    assert [row[0] for row in rows] == ["suspended", "suspended"]
