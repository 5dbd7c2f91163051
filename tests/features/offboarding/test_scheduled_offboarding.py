"""A scheduled offboarding ends nothing before its time, and everything at it: once, by any worker."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest

from app.crypto.signing import Signer
from app.features.offboarding import schedule as schedule_loop
from app.features.offboarding.schedule import ScheduledOffboardings
from app.lib.ids import IDENTITY, SERVICE_ACCOUNT, format_id, new_id
from app.models.identities import Identity
from tests.api import KEY, Account, ApiAs, client_of, make_account
from tests.features.tokens.world import World, in_days, pointers

SCHEDULED = "/api/v1/scheduled-offboardings"
DUE = "UPDATE scheduled_offboardings SET effective_at = now() - interval '1 hour' WHERE status = 'pending'"


def id_of(identity: Identity) -> str:
    return format_id(IDENTITY, identity.id)


async def ask(world: World, identity: Identity, *, query: str = "", **fields: Any) -> httpx2.Response:
    body = {"reason": "leaves the company", "effective_at": in_days(30)} | fields
    return await world.api.post(f"/api/v1/identities/{id_of(identity)}/offboard{query}", json=body)


async def set_for_later(world: World, identity: Identity, **fields: Any) -> dict[str, Any]:
    answer = await ask(world, identity, **fields)
    assert answer.status_code == 200, answer.text
    scheduled: dict[str, Any] = answer.json()["scheduled"]
    return scheduled


async def until_done(world: World, scheduled: dict[str, Any]) -> dict[str, Any]:
    """Wait until it is not pending any more."""
    async with asyncio.timeout(50):
        while True:
            found: dict[str, Any] = (await world.api.get(f"{SCHEDULED}/{scheduled['id']}")).json()
            if found["status"] != "pending":
                return found


async def test_nothing_ends_before_the_time_and_asking_again_moves_it(world: World, owner: Account) -> None:
    person, heir = await world.person(), await world.person()
    agent = await world.agent(person)
    token = await world.issue(person)
    at = in_days(30)
    answer = await ask(world, person, effective_at=at, transfer_agents_to=id_of(heir))
    body = answer.json()
    assert (body["changed"], body["receipt_id"], body["identity"]["status"]) == (False, None, "active")
    assert body["revoked"] == {
        "tokens": [], "agents": [], "approvals": 0, "in_flight": 0, "administrator": False,
    }  # fmt: skip
    first = body["scheduled"]
    assert datetime.fromisoformat(first["effective_at"]) == datetime.fromisoformat(at)
    assert (first["identity_id"], first["transfer_agents_to"]) == (id_of(person), id_of(heir))
    assert (first["status"], first["reason"]) == ("pending", "leaves the company")
    assert first["requested_by"] == {
        "type": "service_account",
        "id": format_id(SERVICE_ACCOUNT, owner.id),
        "on_behalf_of": format_id(IDENTITY, owner.owner_id),
    }
    assert (await world.read(token))["status"] == "active"
    # A repeat changes nothing.
    again = await set_for_later(world, person, effective_at=at, transfer_agents_to=id_of(heir))
    assert again == first
    moved = await set_for_later(world, person, effective_at=in_days(3), reason="leaves sooner")
    assert (moved["id"], moved["revision"], moved["transfer_agents_to"]) == (first["id"], 2, None)
    assert await world.actions(person.id) == ["identity.schedule_offboarding"] * 2
    ((changes,),) = await world.sql(
        "SELECT changes FROM audit_events WHERE object_id = :id ORDER BY seq DESC LIMIT 1", id=person.id
    )
    assert changes["schedule_id"] == first["id"]
    assert changes["effective_at"]["from"] is not None
    assert "leaves sooner" not in str(changes)
    assert (await world.read(token))["status"] == "active"
    assert await world.sql("SELECT status FROM identities WHERE id = :id", id=agent.id) == [("active",)]


async def test_when_it_is_asked_for_is_checked_and_a_past_time_is_at_once(world: World) -> None:
    person, other = await world.person(), await world.person(status="suspended")
    token = await world.issue(person)
    assert pointers(await ask(world, person, effective_at=in_days(400))) == {"/effective_at"}
    for bad in ("tomorrow", "2027-01-01", 1800000000, "2027-01-01T00:00:00"):
        assert pointers(await ask(world, person, effective_at=bad)) == {"/effective_at"}
    for heir in (person, other):
        wrong = await ask(world, person, transfer_agents_to=id_of(heir))
        assert pointers(wrong) == {"/transfer_agents_to"}
    unknown = await world.api.post(
        f"/api/v1/identities/{format_id(IDENTITY, new_id())}/offboard",
        json={"reason": "x", "effective_at": in_days(1)},
    )
    assert unknown.status_code == 404
    stale = await world.api.post(
        f"/api/v1/identities/{id_of(person)}/offboard",
        json={"reason": "x", "effective_at": in_days(1)},
        headers={"If-Match": '"9"'},
    )
    assert stale.status_code == 412
    # The preview has what would end now, and nothing is stored.
    dry = (await ask(world, person, query="?dry_run=true")).json()
    assert (dry["changed"], dry["scheduled"], dry["revoked"]["tokens"]) == (False, None, [token["id"]])
    assert (await world.api.get(SCHEDULED)).json()["items"] == []
    past = await ask(world, person, effective_at="2020-01-01T00:00:00Z")
    assert (past.json()["changed"], past.json()["scheduled"]) == (True, None)
    assert (await world.read(token))["status"] == "revoked"
    # A past time offboards now: nothing is scheduled.
    late = (await ask(world, person)).json()
    assert (late["changed"], late["scheduled"], late["receipt_id"]) == (
        False,
        None,
        past.json()["receipt_id"],
    )


async def test_at_its_time_everything_ends_on_behalf_of_the_requester(world: World, owner: Account) -> None:
    person, heir = await world.person(), await world.person()
    agent = await world.agent(person)
    tokens = [await world.issue(person), await world.issue(agent)]
    soon = datetime.now(UTC) + timedelta(seconds=3)
    scheduled = await set_for_later(
        world, person, effective_at=soon.isoformat(), transfer_agents_to=id_of(heir), reason="her last day"
    )
    # The intended new owner of the agents leaves first.
    assert (await world.api.delete(f"/api/v1/identities/{id_of(heir)}")).status_code == 200
    done = await until_done(world, scheduled)
    finished = datetime.fromisoformat(done["finished_at"])
    assert soon <= finished
    assert done["status"] == "completed"
    assert [(await world.read(token))["status"] for token in tokens] == ["revoked"] * 2
    assert await world.sql("SELECT status, owner_id FROM identities WHERE id = :id", id=agent.id) == [
        ("suspended", person.id)
    ]
    event = (await world.api.get(f"/api/v1/audit-events/{done['receipt_id']}")).json()
    asked_by = {
        "type": "service_account",
        "id": format_id(SERVICE_ACCOUNT, owner.id),
        "on_behalf_of": format_id(IDENTITY, owner.owner_id),
    }
    assert (event["actor"]["type"], event["on_behalf_of"]) == ("system", asked_by["on_behalf_of"])
    assert event["changes"]["scheduled_by"] == asked_by
    assert event["changes"]["schedule_id"] == scheduled["id"]
    assert event["changes"]["transferred"]["heir_not_active"] == id_of(heir)
    receipt = (await world.api.get(f"/api/v1/offboarding-receipts/{done['receipt_id']}")).json()
    assert (receipt["reason"], receipt["receipt"]["via"]) == ("her last day", "schedule")
    assert receipt["receipt"]["by"] == {
        "type": "system", "id": None, "on_behalf_of": asked_by["on_behalf_of"],
    }  # fmt: skip
    assert receipt["receipt"]["schedule"] == {
        "id": scheduled["id"], "effective_at": scheduled["effective_at"], "scheduled_by": asked_by,
    }  # fmt: skip
    assert receipt["receipt"]["agents"]["heir_not_active"] == id_of(heir)
    # Erasing deletes the reason of the schedule too.
    assert (await world.api.post(f"/api/v1/identities/{id_of(person)}/erase")).status_code == 200
    assert (await world.api.get(f"{SCHEDULED}/{scheduled['id']}")).json()["reason"] is None
    assert await world.sql("SELECT 1 FROM scheduled_offboardings WHERE reason LIKE '%last day%'") == []


async def test_one_that_is_cancelled_does_not_happen_and_one_that_happened_is_not_cancelled(
    world: World, api_as: ApiAs
) -> None:
    person, second, third = await world.person(), await world.person(), await world.person()
    scheduled = await set_for_later(world, person)
    place = f"{SCHEDULED}/{scheduled['id']}"
    for role, read, cancel in (("auditor", 200, 403), ("issuer", 200, 403)):
        client = await api_as(role)
        assert (await client.get(place)).status_code == read
        assert (await client.delete(place)).status_code == cancel
    assert (await world.api.delete(place, headers={"If-Match": '"7"'})).status_code == 412
    provisioner = await api_as("provisioner")
    cancelled = await provisioner.delete(place, headers={"If-Match": '"1"'})
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (await world.api.delete(place)).json() == cancelled.json()
    assert await world.actions(person.id) == ["identity.schedule_offboarding", "identity.cancel_offboarding"]
    # A new one may follow, and offboarding earlier completes it.
    again = await set_for_later(world, person)
    assert again["id"] != scheduled["id"]
    receipt = (await world.api.delete(f"/api/v1/identities/{id_of(person)}")).json()["receipt_id"]
    after = (await world.api.get(f"{SCHEDULED}/{again['id']}")).json()
    assert (after["status"], after["receipt_id"]) == ("completed", receipt)
    refused = await world.api.delete(f"{SCHEDULED}/{again['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "offboarding_already_done")
    assert (await world.api.get(f"{SCHEDULED}/{format_id('off', new_id())}")).status_code == 404
    # The schedule of a suspended identity stays.
    waits = await set_for_later(world, second)
    for verb in ("suspend", "reinstate"):
        assert (await world.api.post(f"/api/v1/identities/{id_of(second)}/{verb}")).status_code == 200
    assert (await world.api.get(f"{SCHEDULED}/{waits['id']}")).json()["status"] == "pending"
    other = await set_for_later(world, third)
    for params, expected in (
        ({"status": "pending"}, [other, waits]),
        ({"status": ["completed", "cancelled"]}, [again, scheduled]),
        ({"identity_id": id_of(third)}, [other]),
    ):
        found = await world.api.get(SCHEDULED, params=params)
        assert [one["id"] for one in found.json()["items"]] == [one["id"] for one in expected]
    page = (await world.api.get(SCHEDULED, params={"limit": 3})).json()
    rest = (await world.api.get(SCHEDULED, params={"limit": 3, "cursor": page["next_cursor"]})).json()
    assert [one["id"] for one in rest["items"]] == [scheduled["id"]]


async def test_a_leaver_cannot_plan_move_or_cancel_their_own(world: World, app: Any, peppers: Any) -> None:
    account = await make_account(world.sessions, peppers, "admin")
    leaver = Identity(id=account.owner_id, kind="person", user_name="x")
    scheduled = await set_for_later(world, leaver)
    place = f"{SCHEDULED}/{scheduled['id']}"
    async with client_of(app, account.bearer) as theirs:
        mine = World(theirs, world.sessions)
        for answer in (await theirs.delete(place), await ask(mine, leaver, effective_at=in_days(300))):
            assert (answer.status_code, answer.json()["code"]) == (403, "own_account")
        assert (await world.api.get(place)).json() == scheduled
        # Nor through a service account of their agent.
        robot = await make_account(world.sessions, peppers, "admin")
        await world.sql(
            "UPDATE identities SET kind = 'agent', owner_id = :owner WHERE id = :id",
            owner=leaver.id,
            id=robot.owner_id,
        )
        async with client_of(app, robot.bearer) as robots:
            assert (await robots.delete(place)).json()["code"] == "own_account"
        # Nor can they schedule it themselves, or leave now.
        assert (await world.api.delete(place)).json()["status"] == "cancelled"
        own = await ask(mine, leaver)
        assert (own.status_code, own.json()["code"]) == (403, "own_account")
        now = await mine.api.delete(f"/api/v1/identities/{id_of(leaver)}")
        assert (now.status_code, now.json()["code"]) == (403, "own_account")


async def test_many_workers_carry_out_each_of_those_that_are_late_once(world: World) -> None:
    people = [await world.person() for _ in range(8)]
    for person in people:
        await world.issue(person)
    scheduled = [await set_for_later(world, person) for person in people]
    await world.sql(DUE)
    workers = [ScheduledOffboardings(world.sessions, Signer([KEY.encode()], "")) for _ in range(3)]

    async def work(worker: ScheduledOffboardings) -> None:
        while await worker.next():
            pass

    await asyncio.gather(*(work(worker) for worker in workers))
    for one in scheduled:
        assert (await until_done(world, one))["status"] == "completed"
    for person in people:
        assert (await world.actions(person.id)).count("identity.offboard") == 1
    assert await world.sql("SELECT 1 FROM tokens WHERE revoked_at IS NULL") == []
    ((receipts,),) = await world.sql("SELECT count(*) FROM offboarding_receipts")
    assert receipts == len(people)


async def test_one_that_cannot_be_carried_out_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await world.person(), await world.person()
    scheduled = {one.id: await set_for_later(world, one, effective_at=in_days(1)) for one in (first, second)}
    carry_out = schedule_loop.carry_out
    tried: list[UUID] = []

    async def fail_at_one(session: Any, signer: Signer, row: Any) -> None:
        tried.append(row.identity_id)
        if row.identity_id == first.id and second.id not in tried:
            # After a failed flush nothing of the row can be read.
            row.identity_id = new_id()
            await session.flush()
        await carry_out(session, signer, row)

    monkeypatch.setattr(schedule_loop, "carry_out", fail_at_one)
    monkeypatch.setattr(schedule_loop, "_REST_S", 0.5)
    await world.sql(
        "UPDATE scheduled_offboardings SET effective_at = now() - interval '1 h' WHERE identity_id = :id",
        id=first.id,
    )
    await world.sql(
        "UPDATE scheduled_offboardings SET effective_at = now() WHERE identity_id = :id", id=second.id
    )
    assert (await until_done(world, scheduled[second.id]))["status"] == "completed"
    assert (await until_done(world, scheduled[first.id]))["status"] == "completed"
    assert tried.count(first.id) >= 2


async def test_one_of_somebody_erased_is_settled(world: World) -> None:
    """A worker held its row during the offboarding, and was lost."""
    person = await world.person()
    scheduled = await set_for_later(world, person)
    receipt = (await world.api.delete(f"/api/v1/identities/{id_of(person)}")).json()["receipt_id"]
    assert (await world.api.post(f"/api/v1/identities/{id_of(person)}/erase")).status_code == 200
    await world.sql(
        "UPDATE scheduled_offboardings SET status = 'pending', receipt_id = NULL, effective_at = now()"
        " WHERE identity_id = :id",
        id=person.id,
    )
    done = await until_done(world, scheduled)
    assert (done["status"], done["receipt_id"], done["reason"]) == ("completed", receipt, None)


async def test_asking_at_the_same_time_makes_one(world: World) -> None:
    person = await world.person()
    answers = await asyncio.gather(*(ask(world, person, effective_at=in_days(day)) for day in range(1, 7)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    ((count,),) = await world.sql("SELECT count(*) FROM scheduled_offboardings")
    assert count == 1
    assert len({answer.json()["scheduled"]["id"] for answer in answers if answer.status_code == 200}) == 1
