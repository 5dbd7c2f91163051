"""A suspension stops a person and their agents, and a reinstatement restores only what did not end in between."""

import asyncio
from typing import Any

from app.lib.ids import IDENTITY, format_id
from app.models.identities import Identity
from tests.features.offboarding.test_offboarding_races import until_answered
from tests.features.tokens.world import World

TOKENS = "/api/v1/tokens"


def path(identity: Identity, verb: str) -> str:
    return f"/api/v1/identities/{format_id(IDENTITY, identity.id)}/{verb}"


async def statuses(world: World, *tokens: dict[str, Any]) -> list[str]:
    return [(await world.read(token))["status"] for token in tokens]


async def test_what_comes_back_is_what_was_not_ended_meanwhile(world: World) -> None:
    ada = await world.person()
    robot, stopped = await world.agent(ada), await world.agent(ada)
    own, lost, job, other = [await world.issue(who) for who in (ada, ada, robot, stopped)]
    assert (await world.api.post(path(stopped, "suspend"))).status_code == 200
    assert (await world.api.post(path(ada, "suspend"))).status_code == 200
    assert await statuses(world, own, lost, job, other) == ["suspended"] * 4
    for who in (ada, robot):
        refused = await world.api.post(TOKENS, json=world.order(who))
        assert (refused.status_code, refused.json()["code"]) == (409, "identity_not_active")
    revoked = await world.api.post(f"{TOKENS}/{lost['id']}/revoke", json={"reason": "lost"})
    assert revoked.json()["changed"] is True
    assert (await world.api.post(path(ada, "reinstate"))).status_code == 200
    # The agent that was suspended itself stays so when its owner is reinstated.
    assert await statuses(world, own, lost, job, other) == ["active", "revoked", "active", "suspended"]


async def test_no_token_that_is_issued_beside_a_suspension_works(world: World) -> None:
    ada = await world.person()
    robot = await world.agent(ada)
    issuers = [until_answered(world.api, TOKENS, world.order((ada, robot)[n % 2])) for n in range(12)]
    answers = await asyncio.gather(
        *issuers[:6], until_answered(world.api, path(ada, "suspend"), None), *issuers[6:]
    )
    assert answers.pop(6).status_code == 200
    assert {answer.status_code for answer in answers} <= {201, 409}
    issued = [answer.json()["token"] for answer in answers if answer.status_code == 201]
    assert set(await statuses(world, *issued)) <= {"suspended"}


async def test_suspensions_and_reinstatements_at_once_take_turns(world: World) -> None:
    ada = await world.person()
    robot = await world.agent(ada)
    before = await world.version(robot.id)
    verbs = ["suspend", "reinstate"] * 5
    answers = await asyncio.gather(*(until_answered(world.api, path(ada, verb), None) for verb in verbs))
    assert {answer.status_code for answer in answers} == {200}
    done = await world.actions(ada.id)
    turns = ["identity.suspend", "identity.reinstate"] * 5
    assert done == turns[: len(done)]
    ((status,),) = await world.sql("SELECT status FROM identities WHERE id = :id", id=ada.id)
    assert status == ("suspended" if len(done) % 2 else "active")
    # Each of them changes data that the agent's calls were decided on.
    assert await world.version(robot.id) == before + len(done)
