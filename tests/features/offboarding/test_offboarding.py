"""After an offboarding nothing of the person is active, and the receipt lists what ended."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from app.crypto.keys import Peppers
from app.lib.ids import EVENT, GRANT, GROUP, IDENTITY, SERVICE_ACCOUNT, TOKEN, format_id, new_id, parse_id
from app.models.access import Approval, Grant
from app.models.identities import Administrator, Group, GroupMember, Identity, ServiceAccount
from tests.api import ApiAs, client_of, make_account
from tests.features.tokens.world import World, in_days, pointers

if TYPE_CHECKING:
    from app.main import Scopegate

REASON = {"reason": "left the company"}
ALL = {"kind": "all"}


def url(identity: Identity, verb: str = "/offboard") -> str:
    return f"/api/v1/identities/{format_id(IDENTITY, identity.id)}{verb}"


async def offboard(world: World, identity: Identity, **fields: Any) -> dict[str, Any]:
    answer = await world.api.post(url(identity), json=REASON | fields)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def status(world: World, identity: Identity) -> str:
    ((found,),) = await world.sql("SELECT status FROM identities WHERE id = :id", id=identity.id)
    return str(found)


async def test_everything_of_the_person_ends_in_one_transaction(world: World) -> None:
    person, other = await world.person(), await world.person()
    agent, idle = await world.agent(person), await world.agent(person, status="suspended")
    group = Group(name="Engineers")
    grant = Grant(identity_id=person.id, servers=ALL, tools=ALL, resources=True, prompts=True)
    account = ServiceAccount(name="deploy", owner_id=person.id, role="issuer")
    await world.add(group)
    await world.add(grant)
    await world.add(
        GroupMember(group_id=group.id, identity_id=person.id),
        account,
        Administrator(identity_id=person.id),
        Approval(kind="access", identity_id=person.id),
        Approval(kind="access", identity_id=other.id),
        Approval(kind="access", identity_id=person.id, state="denied"),
        versioned=False,
    )
    own, agents, bystander = await world.issue(person), await world.issue(agent), await world.issue(other)
    child = await world.issue(agent, parent_id=own["id"], expires_at=in_days(1))
    grandchild = await world.issue(agent, parent_id=child["id"], expires_at=child["expires_at"])
    ended = [own, agents, child, grandchild]

    answer = await offboard(world, person)

    assert answer["changed"] is True
    assert answer["identity"]["status"] == "offboarded"
    assert answer["identity"]["offboarded_at"] is not None
    assert answer["revoked"] == {
        "tokens": [token["id"] for token in ended],
        "agents": [format_id(IDENTITY, agent.id)],
        "approvals": 1,
        "in_flight": 0,
        "administrator": True,
    }
    assert [(await world.read(token))["status"] for token in ended] == ["revoked"] * 4
    assert (await world.read(bystander))["status"] == "active"
    agents_now = await world.sql(
        "SELECT status, suspended_with_owner FROM identities WHERE owner_id = :id ORDER BY id", id=person.id
    )
    assert [tuple(row) for row in agents_now] == [("suspended", True), ("suspended", False)]
    assert await status(world, idle) == "suspended"
    assert await world.sql("SELECT 1 FROM grants WHERE ended_at IS NULL") == []
    assert await world.sql("SELECT 1 FROM group_members") == []
    assert await world.actions(agent.id) == ["identity.suspend"]
    assert await world.actions(idle.id) == []
    ((changes,),) = await world.sql("SELECT changes FROM audit_events WHERE action = 'identity.offboard'")
    assert changes["groups"] == [format_id(GROUP, group.id)]
    assert changes["grants"] == [format_id(GRANT, grant.id)]
    assert changes["service_accounts"] == [format_id(SERVICE_ACCOUNT, account.id)]
    states = await world.sql("SELECT state FROM approvals ORDER BY state")
    assert [row[0] for row in states] == ["cancelled", "denied", "pending"]
    assert await world.sql("SELECT status FROM administrators") == [("disabled",)]
    assert await world.sql("SELECT owner_offboarded, status FROM service_accounts WHERE name = 'deploy'") == [
        (True, "active")
    ]
    moved: list[UUID] = [
        person.id,
        agent.id,
        idle.id,
        grant.id,
        *(parse_id(TOKEN, token["id"]) for token in ended),
    ]
    assert [await world.version(id) for id in moved] == [2] * len(moved)


async def test_the_receipt_is_the_audit_event_and_a_repeat_shows_it_again(world: World) -> None:
    person = await world.person(display_name="Ada Lovelace")
    await world.issue(person)
    first = await offboard(world, person)
    again = await offboard(world, person, reason="again")
    assert again == first | {"changed": False}
    receipt = parse_id(EVENT, first["receipt_id"])
    ((action, changes),) = await world.sql(
        "SELECT action, changes FROM audit_events WHERE id = :id", id=receipt
    )
    assert action == "identity.offboard"
    assert changes["revoked"] == first["revoked"]
    assert "left the company" not in str(changes)
    ((body,),) = await world.sql("SELECT body FROM offboarding_receipts WHERE id = :id", id=receipt)
    assert (body["reason"], body["revoked"]) == ("left the company", first["revoked"])
    assert await world.actions(person.id) == ["identity.offboard"]


async def test_a_dry_run_answers_the_same_and_changes_nothing(world: World) -> None:
    person = await world.person()
    agent = await world.agent(person)
    tokens = [await world.issue(person), await world.issue(agent)]
    answer = await world.api.post(url(person, "/offboard?dry_run=true"), json=REASON)
    dry = answer.json()
    assert dry["receipt_id"] is None
    assert dry["identity"]["status"] == "active"
    assert [(await world.read(token))["status"] for token in tokens] == ["active", "active"]
    assert await status(world, agent) == "active"
    assert await world.version(person.id) == 1
    real = await offboard(world, person)
    assert (dry["changed"], dry["revoked"]) == (True, real["revoked"])


async def test_a_preview_says_what_else_would_end_and_how_much_it_was_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, heir = await world.person(), await world.person()
    agent, group = await world.agent(person), Group(name="Engineers")
    grant = Grant(identity_id=person.id, servers=ALL, tools=ALL, resources=True, prompts=True)
    account = ServiceAccount(name="deploy", owner_id=person.id, role="issuer")
    await world.add(group)
    await world.add(grant)
    await world.add(GroupMember(group_id=group.id, identity_id=person.id), account, versioned=False)
    called = (
        "INSERT INTO audit_events (id, time, action, decision, actor_type, actor_id) "
        "VALUES (gen_random_uuid(), now() - make_interval(hours => :ago), :action, 'allow', 'identity', :actor)"
    )
    for actor, ago, action in (
        (person, 0, "tool.call"),
        (person, 23, "tool.call"),
        (person, 25, "tool.call"),
        (person, 1, "tools.list"),
        (agent, 1, "tool.call"),
        (heir, 1, "tool.call"),
    ):
        await world.sql(called, actor=actor.id, ago=ago, action=action)

    async def preview(**fields: Any) -> Any:
        answer = await world.api.post(url(person, "/offboard?dry_run=true"), json=REASON | fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["preview"]

    everything = {
        "grants": [format_id(GRANT, grant.id)],
        "groups": [format_id(GROUP, group.id)],
        "service_accounts": [format_id(SERVICE_ACCOUNT, account.id)],
        "calls_last_day": 3,
    }
    assert await preview() == everything
    assert await preview(effective_at=in_days(1)) == everything
    handed_over = await preview(transfer_agents_to=format_id(IDENTITY, heir.id))
    assert handed_over == everything | {"calls_last_day": 2}
    monkeypatch.setattr("app.features.offboarding.offboard.MAX_CALLS", 1)
    assert (await preview())["calls_last_day"] == 1
    assert (await offboard(world, person))["preview"] is None
    assert await preview() is None


async def test_handed_over_agents_and_their_own_tokens_live_on(world: World) -> None:
    person, heir = await world.person(), await world.person()
    agent = await world.agent(person)
    own = await world.issue(person)
    agents = await world.issue(agent)
    child = await world.issue(agent, parent_id=own["id"], expires_at=in_days(1))
    answer = await offboard(world, person, transfer_agents_to=format_id(IDENTITY, heir.id))
    assert answer["revoked"]["tokens"] == [own["id"], child["id"]]
    assert answer["revoked"]["agents"] == []
    assert (await world.read(agents))["status"] == "active"
    assert await world.sql("SELECT owner_id FROM identities WHERE id = :id", id=agent.id) == [(heir.id,)]
    assert await world.version(agent.id) == 2
    assert await world.actions(agent.id) == ["identity.update"]


@pytest.mark.parametrize("handed_over", [False, True])
async def test_a_service_account_of_an_agent_ends_with_the_person_unless_the_agent_is_handed_over(
    world: World, app: "Scopegate", peppers: Peppers, handed_over: bool
) -> None:
    person, heir = await world.person(), await world.person()
    agent = await world.agent(person)
    account = await make_account(world.sessions, peppers, "admin")
    await world.sql(
        "UPDATE service_accounts SET owner_id = :agent WHERE id = :id", agent=agent.id, id=account.id
    )
    async with client_of(app, account.bearer) as theirs:
        assert (await theirs.get("/api/v1/me")).status_code == 200
        extra = {"transfer_agents_to": format_id(IDENTITY, heir.id)} if handed_over else {}
        await offboard(world, person, **extra)
        assert (await theirs.get("/api/v1/me")).status_code == (200 if handed_over else 401)
        if not handed_over:
            # Nor when the agent is reinstated: an owner must first name a new owner of the account.
            for identity in (person, agent):
                answer = await world.api.post(url(identity, "/reinstate"))
                assert answer.status_code == 200, answer.text
            assert (await theirs.get("/api/v1/me")).status_code == 401


async def test_agents_go_to_another_active_person_only(world: World) -> None:
    person, suspended = await world.person(), await world.person(status="suspended")
    agent = await world.agent(person)
    heirs = [format_id(IDENTITY, id) for id in (person.id, suspended.id, agent.id, new_id())]
    for heir in [*heirs, format_id(TOKEN, new_id())]:
        answer = await world.api.post(url(person), json=REASON | {"transfer_agents_to": heir})
        assert pointers(answer) == {"/transfer_agents_to"}
    assert await status(world, person) == "active"


async def test_a_child_held_by_a_former_agent_ends_too(world: World) -> None:
    person, heir = await world.person(), await world.person()
    agent = await world.agent(person)
    parent = await world.issue(person)
    child = await world.issue(agent, parent_id=parent["id"], expires_at=in_days(1))
    await world.sql("UPDATE identities SET owner_id = :heir WHERE id = :id", heir=heir.id, id=agent.id)
    answer = await offboard(world, person)
    assert answer["revoked"]["tokens"] == [parent["id"], child["id"]]
    assert await status(world, agent) == "active"


async def test_an_agent_can_be_offboarded_by_itself(world: World) -> None:
    person = await world.person()
    agent = await world.agent(person)
    token, owners = await world.issue(agent), await world.issue(person)
    answer = await offboard(world, agent)
    assert answer["revoked"]["tokens"] == [token["id"]]
    assert (await world.read(owners))["status"] == "active"


async def test_offboarding_again_after_a_return_makes_a_new_receipt(world: World) -> None:
    person = await world.person()
    first = await offboard(world, person)
    await world.sql("UPDATE identities SET status = 'active', offboarded_at = NULL")
    token = await world.issue(person)
    second = await offboard(world, person)
    assert second["receipt_id"] != first["receipt_id"]
    assert second["revoked"]["tokens"] == [token["id"]]


async def test_a_name_outside_finds_whom_to_offboard(world: World) -> None:
    ada = await world.person(user_name="Ada", external_id="E-1")
    former = await world.person(user_name="bo", external_id="E-2", status="offboarded")
    bo = await world.person(user_name="Bo", external_id="E-2")
    by = "/api/v1/identities/offboard"
    answer = await world.api.post(f"{by}?external_id=E-1", json=REASON)
    assert answer.json()["identity"]["id"] == format_id(IDENTITY, ada.id)
    again = await world.api.post(f"{by}?user_name=aDA", json=REASON)
    assert (again.json()["changed"], again.json()["receipt_id"]) == (False, answer.json()["receipt_id"])
    # The active identity is meant, not the offboarded one.
    answer = await world.api.post(f"{by}?user_name=bo", json=REASON)
    assert answer.json()["identity"]["id"] == format_id(IDENTITY, bo.id)
    assert former.id != bo.id


async def test_a_name_outside_must_be_one_and_known(world: World) -> None:
    by = "/api/v1/identities/offboard"
    assert pointers(await world.api.post(by, json=REASON)) == {"?external_id"}
    assert pointers(await world.api.post(f"{by}?external_id=a&user_name=b", json=REASON)) == {"?external_id"}
    assert (await world.api.post(f"{by}?user_name=unknown", json=REASON)).status_code == 404
    nul = await world.api.post(by, params={"user_name": "a\x00"}, json=REASON)
    assert pointers(nul) == {"?user_name"}


async def test_delete_is_offboarding(world: World) -> None:
    person = await world.person()
    token = await world.issue(person)
    answer = await world.api.delete(url(person, ""))
    assert answer.status_code == 200
    assert answer.json()["revoked"]["tokens"] == [token["id"]]
    assert (await world.api.delete(url(person, ""))).json()["changed"] is False
    assert await status(world, person) == "offboarded"


async def test_who_is_not_there_is_404_and_a_bad_body_is_named(world: World) -> None:
    unknown = f"/api/v1/identities/{format_id(IDENTITY, new_id())}/offboard"
    assert (await world.api.post(unknown, json=REASON)).status_code == 404
    person = await world.person()
    assert pointers(await world.api.post(url(person), json={})) == {"/reason"}
    assert pointers(await world.api.post(url(person), json=REASON | {"force": True})) == {"/force"}


@pytest.mark.parametrize(
    ("role", "expected"), [("provisioner", 200), ("admin", 200), ("issuer", 403), ("auditor", 403)]
)
async def test_offboarding_needs_its_permission(
    world: World, api_as: ApiAs, role: str, expected: int
) -> None:
    person = await world.person()
    client = await api_as(role)
    assert (await client.post(url(person), json=REASON)).status_code == expected


async def test_a_request_that_is_repeated_after_the_offboarding_brings_nothing_back(world: World) -> None:
    person = await world.person()
    agent = {"kind": "agent", "user_name": "triage-bot", "owner_id": format_id(IDENTITY, person.id)}
    requests = [("/api/v1/tokens", world.order(person)), ("/api/v1/identities", agent)]
    first = [
        await world.api.post(path, json=body, headers={"Idempotency-Key": "k"}) for path, body in requests
    ]
    assert [answer.status_code for answer in first] == [201, 201]
    assert first[0].json()["secret"].startswith("sgt_")
    await offboard(world, person)
    for (path, body), before in zip(requests, first, strict=True):
        again = await world.api.post(path, json=body, headers={"Idempotency-Key": "k"})
        assert (again.status_code, again.headers["location"]) == (201, before.headers["location"])
        assert again.json().get("secret") is None
        assert (await world.api.post(path, json=body)).status_code in (409, 422)
    assert await world.sql("SELECT id FROM tokens WHERE revoked_at IS NULL") == []
    assert await world.sql("SELECT id FROM identities WHERE owner_id IS NOT NULL AND status = 'active'") == []


@pytest.mark.slow
async def test_whoever_owns_more_agents_than_a_statement_has_parameters_can_leave(world: World) -> None:
    person = await world.person()
    await world.sql(
        "INSERT INTO identities (id, kind, user_name, owner_id, status) "
        "SELECT gen_random_uuid(), 'agent', 'agent ' || number, :owner, 'suspended' "
        "FROM generate_series(1, 33000) AS number",
        owner=person.id,
    )
    assert (await offboard(world, person))["changed"] is True
