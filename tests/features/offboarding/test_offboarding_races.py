"""Nothing issued during an offboarding survives it. Real sessions, real PostgreSQL, real contention."""

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx2
import pytest

from app.crypto.keys import Peppers
from app.crypto.signing import Signer
from app.features.offboarding.schedule import ScheduledOffboardings
from app.lib.ids import GROUP, IDENTITY, format_id, parse_id
from app.models.identities import Group, Identity
from tests.api import KEY, client_of, make_account
from tests.features.tokens.world import World, in_days
from tests.gateway.messages import initialize
from tests.story.provisioning import make_directory

if TYPE_CHECKING:
    from app.main import Scopegate

TOKENS = "/api/v1/tokens"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
INACTIVE = {
    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
    "Operations": [{"op": "replace", "path": "active", "value": False}],
}
ISSUERS = 20
NOTHING_ALIVE = "SELECT id FROM tokens WHERE revoked_at IS NULL"


async def until_answered(
    client: httpx2.AsyncClient, path: str, body: object, method: str = "POST"
) -> httpx2.Response:
    """Repeat a 503 (no free connection, too much contention), as its text asks the client to do."""
    async with asyncio.timeout(60):
        while True:
            answer = await client.request(method, path, json=body)
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
    # The receipt lists the tokens that were issued.
    issued = {answer.json()["token"]["id"] for answer in answers if answer.status_code == 201}
    assert set(receipt.json()["revoked"]["tokens"]) == issued | {parent["id"]}


async def test_attenuating_deep_below_a_former_owner_races_the_offboarding(world: World) -> None:
    person, heir = await world.person(), await world.person()
    agent = await world.agent(person)
    root = await world.issue(person)
    child = await world.issue(agent, parent_id=root["id"], expires_at=in_days(1))
    # The agent is not the leaver's any more, so the offboarding does not lock it: only the parent's lock holds.
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
    # The second one has no new owner, is refused for that, and then leaves without one.
    assert sorted(answer.status_code for answer in answers) == [200, 422]
    for leaver in (first, second):
        answer = await until_answered(world.api, offboarding(leaver), {"reason": "left"})
        assert answer.status_code == 200
    assert await world.sql(NOTHING_ALIVE) == []
    rows = await world.sql("SELECT status FROM identities WHERE owner_id IS NOT NULL")
    assert [row[0] for row in rows] == ["suspended", "suspended"]


@dataclass(slots=True)
class Rush:
    """All concurrent attempts to keep a leaver's access. ``secrets`` are all that were shown to them."""

    world: World
    leaver: Identity
    bystander: Identity
    secrets: list[str] = field(default_factory=list)
    agents: list[Identity] = field(default_factory=list)
    strays: list[Identity] = field(default_factory=list)
    parent: dict[str, Any] = field(default_factory=dict)
    statuses: set[int] = field(default_factory=set)

    @classmethod
    async def prepare(cls, world: World) -> "Rush":
        rush = cls(world, await world.person(), await world.person())
        rush.agents = [await world.agent(rush.leaver) for _ in range(2)]
        rush.agents += [await world.agent(rush.leaver, status="suspended") for _ in range(2)]
        # Agents of another person, with tokens, being transferred to the leaver.
        rush.strays = [await world.agent(rush.bystander) for _ in range(4)]
        rush.parent = await rush.issue(rush.leaver)
        for one in (*rush.agents[:2], *rush.strays):
            await rush.issue(one)
        return rush

    async def ask(self, path: str, body: object, method: str = "POST") -> httpx2.Response:
        answer = await until_answered(self.world.api, path, body, method)
        self.statuses.add(answer.status_code)
        return answer

    async def issue(self, identity: Identity | str, **fields: Any) -> dict[str, Any]:
        id = identity if isinstance(identity, str) else format_id(IDENTITY, identity.id)
        order = self.world.order(self.leaver, **fields) | {"identity_id": id}
        answer = await self.ask(TOKENS, order)
        if answer.status_code != 201:
            return {}
        self.secrets.append(answer.json()["secret"])
        token: dict[str, Any] = answer.json()["token"]
        return token

    async def issue_below(self, identity: Identity) -> None:
        child = await self.issue(identity, parent_id=self.parent["id"], expires_at=in_days(1))
        if child:
            await self.issue(identity, parent_id=child["id"], expires_at=child["expires_at"])

    async def make_agent(self) -> None:
        owner = format_id(IDENTITY, self.leaver.id)
        body = {"kind": "agent", "user_name": f"new-{uuid4().hex}", "owner_id": owner}
        answer = await self.ask("/api/v1/identities", body)
        if answer.status_code == 201:
            await self.issue(answer.json()["id"])

    async def rotate(self) -> None:
        answer = await self.ask(f"{TOKENS}/{self.parent['id']}/rotate", {"overlap_s": 3600})
        if answer.status_code == 200:
            self.secrets.append(answer.json()["secret"])

    async def hand_over(self, agent: Identity) -> None:
        path = f"/api/v1/identities/{format_id(IDENTITY, agent.id)}"
        await self.ask(path, {"owner_id": format_id(IDENTITY, self.leaver.id)}, "PATCH")
        await self.issue(agent)

    async def reinstate(self, agent: Identity) -> None:
        await self.ask(f"/api/v1/identities/{format_id(IDENTITY, agent.id)}/reinstate", None)
        await self.issue(agent)

    async def grant(self) -> None:
        everything = {"servers": {"kind": "all"}, "tools": {"kind": "all"}}
        principal = {"type": "identity", "id": format_id(IDENTITY, self.leaver.id)}
        await self.ask("/api/v1/grants", {"principal": principal, **everything})

    async def join(self, group: Group) -> None:
        member = format_id(IDENTITY, self.leaver.id)
        await self.ask(f"/api/v1/groups/{format_id(GROUP, group.id)}/members/{member}", None, "PUT")

    def everybody(self, groups: list[Group]) -> Iterator[Awaitable[Any]]:
        """Fifty attempts."""
        yield from (self.issue(self.leaver) for _ in range(10))
        yield from (self.issue(agent) for agent in self.agents[:2] for _ in range(4))
        yield from (self.issue_below(one) for one in (self.leaver, *self.agents[:2]) for _ in range(3))
        yield from (self.make_agent() for _ in range(6))
        yield from (self.rotate() for _ in range(4))
        yield from (self.hand_over(agent) for agent in self.strays)
        yield from (self.reinstate(agent) for agent in self.agents[2:])
        yield from (self.grant() for _ in range(4))
        yield from (self.join(group) for group in groups)

    async def count_alive(self, app: "Scopegate") -> int:
        """The number of shown secrets that work at the gateway."""
        opened = 0
        for secret in self.secrets:
            async with client_of(app, secret) as client:
                headers = {"accept": "application/json, text/event-stream"}
                answer = await client.post("/mcp", json=initialize(), headers=headers)
                assert answer.status_code in (200, 401), answer.text
                opened += answer.status_code == 200
        return opened


LEFT = """
SELECT
  (SELECT count(*) FROM tokens t JOIN identities i ON i.id = t.identity_id
   WHERE t.revoked_at IS NULL AND :leaver IN (i.id, i.owner_id)) AS tokens,
  (SELECT count(*) FROM tokens t JOIN tokens above ON above.id = t.parent_id
   WHERE t.revoked_at IS NULL AND above.revoked_at IS NOT NULL) AS children,
  (SELECT count(*) FROM identities WHERE owner_id = :leaver AND status = 'active') AS agents,
  (SELECT count(*) FROM grants WHERE identity_id = :leaver AND ended_at IS NULL) AS grants,
  (SELECT count(*) FROM group_members WHERE identity_id = :leaver) AS memberships,
  (SELECT count(*) FROM identities WHERE id = :leaver AND status <> 'offboarded') AS leaver,
  (SELECT count(*) FROM offboarding_receipts WHERE identity_id = :leaver) - 1 AS receipts
"""
STRAYS = """
SELECT count(*) FROM tokens t JOIN identities i ON i.id = t.identity_id
WHERE t.revoked_at IS NULL AND i.owner_id = :bystander
"""


@pytest.mark.parametrize(
    "rounds", [2, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
async def test_nothing_that_fifty_make_during_an_offboarding_lives_on(
    app: "Scopegate", world: World, peppers: Peppers, rounds: int
) -> None:
    random = Random(6)
    groups = [Group(name=f"group {number}") for number in range(3)]
    await world.add(*groups)
    seen: set[int] = set()
    for turn in range(rounds):
        # Another caller each time, because of the rate limit.
        account = await make_account(world.sessions, peppers)
        async with client_of(app, account.bearer) as client:
            rush = await Rush.prepare(World(client, world.sessions))
            everybody = list(rush.everybody(groups))
            assert len(everybody) == 50
            leaving = rush.ask(offboarding(rush.leaver), {"reason": "left"})
            everybody.insert(random.randrange(len(everybody)), leaving)
            await asyncio.gather(*everybody)
            seen |= rush.statuses
            assert rush.statuses <= {200, 201, 409, 422}, (turn, rush.statuses)
            (left,) = await world.sql(LEFT, leaver=rush.leaver.id)
            assert set(left) == {0}, (turn, left)
            # Those that were too late to be transferred belong to another person, and work.
            ((others,),) = await world.sql(STRAYS, bystander=rush.bystander.id)
            assert await rush.count_alive(app) == others, turn
    # Some were too late: it was a race.
    assert 409 in seen


async def test_offboarded_by_all_who_can_at_once_there_is_one_receipt(world: World, app: "Scopegate") -> None:
    signer = Signer([KEY.encode()], "")
    directory = await make_directory(world.api, "https://directory.example.com", {})
    scim = client_of(app, directory.secret)
    for _ in range(4):
        user = {"schemas": [USER], "userName": uuid4().hex, "externalId": uuid4().hex, "active": True}
        made = await scim.post("/scim/v2/Users", json=user)
        assert made.status_code == 201, made.text
        person = Identity(id=parse_id(IDENTITY, made.json()["id"]), kind="person", user_name="x")
        await world.issue(person)
        later = {"reason": "leaves", "effective_at": in_days(1)}
        assert (await world.api.post(offboarding(person), json=later)).status_code == 200
        await world.sql("UPDATE scheduled_offboardings SET effective_at = now() WHERE status = 'pending'")
        workers = [ScheduledOffboardings(world.sessions, signer) for _ in range(2)]
        answers = await asyncio.gather(
            *(until_answered(world.api, offboarding(person), {"reason": "left"}) for _ in range(3)),
            *(worker.next() for worker in workers),
            until_answered(world.api, offboarding(person), later),
            until_answered(scim, f"/scim/v2/Users/{made.json()['id']}", INACTIVE, "PATCH"),
        )
        scim_answer = answers[-1]
        assert isinstance(scim_answer, httpx2.Response)
        assert (scim_answer.status_code, scim_answer.json()["active"]) == (200, False)
        bodies = [answer.json() for answer in answers[:-1] if isinstance(answer, httpx2.Response)]
        assert all("receipt_id" in body for body in bodies)
        assert (await world.actions(person.id)).count("identity.offboard") == 1
        ((receipt,),) = await world.sql(
            "SELECT id FROM offboarding_receipts WHERE identity_id = :id", id=person.id
        )
        settled = await world.sql(
            "SELECT status, receipt_id FROM scheduled_offboardings WHERE identity_id = :id", id=person.id
        )
        assert [tuple(row) for row in settled] == [("completed", receipt)]
        assert sum(body["changed"] for body in bodies) <= 1
    await scim.aclose()
    assert await world.sql(NOTHING_ALIVE) == []
