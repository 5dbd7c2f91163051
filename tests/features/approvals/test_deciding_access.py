"""Requested access is granted by deciders of the server, never to themselves, and never more than requested."""

import asyncio
from typing import Any

from sqlalchemy import text

from app.http.authorization import Caller, Role
from app.lib.ids import GROUP, format_id, new_id, parse_id
from app.models.identities import Group, ServiceAccount
from tests.features import principals
from tests.features.administrators.people import until_waiting
from tests.features.approvals.desk import PATH, Desk, shown
from tests.features.approvals.requests import REFUND, a_member, answer_to, ask, asked_for, open_up
from tests.features.approvals.test_asking_for_access import add_tool
from tests.features.callers import a_person
from tests.features.principals import fresh, pointers
from tests.features.tokens.world import in_days


async def grants(desk: Desk) -> list[dict[str, Any]]:
    """All grants, as the API shows them."""
    items: list[dict[str, Any]] = (await desk.world.api.get("/api/v1/grants")).json()["items"]
    return items


async def refusal(desk: Desk, caller: Caller, seen: dict[str, Any], verb: str = "approve") -> tuple[int, str]:
    """Status and code of a refused decision."""
    answer = await answer_to(desk, caller, seen, verb)
    return answer.status_code, answer.json()["code"]


async def test_who_owns_the_server_agrees_and_it_is_a_grant_at_once(desk: Desk) -> None:
    await open_up(desk)
    hook = {"name": "h", "url": "https://hooks.invalid/", "events": ["approval.approved", "grant.created"]}
    assert (await desk.world.api.post("/api/v1/webhooks", json=hook)).status_code == 201
    seen = await asked_for(desk)
    before = await desk.world.version(desk.ada.id)
    mine = (await desk.signed_in(a_person(desk.grace)).get(f"{PATH}?kind=access&state=pending")).json()[
        "items"
    ]
    assert [(each["id"], each["may_decide"]) for each in mine] == [(seen["id"], True)]
    answer = await answer_to(desk, a_person(desk.grace), seen, reason="Welcome.")
    assert answer.status_code == 200, answer.text
    decided = answer.json()
    (grant,) = await grants(desk)
    assert (decided["state"], decided["expires_at"], decided["may_decide"]) == ("approved", None, False)
    assert decided["access"]["granted"] == {
        "tools": REFUND, "expires_at": seen["access"]["expires_at"], "grant_id": grant["id"]
    }  # fmt: skip
    assert grant["principal"] == {"type": "identity", "id": shown(desk.ada.id)}
    assert (grant["servers"]["ids"], grant["tools"]) == ([seen["server"]["id"]], REFUND)
    assert (grant["resources"], grant["prompts"]) == (False, False)
    assert (grant["expires_at"], grant["reason"]) == (seen["access"]["expires_at"], "On call.")
    assert grant["approval_id"] == seen["id"]
    assert await desk.world.version(desk.ada.id) == before + 1
    events = await desk.world.sql(
        "SELECT action, actor_id, changes ->> 'grant_id' FROM audit_events WHERE approval_id = :id ORDER BY seq",
        id=parse_id("apr", seen["id"]),
    )
    assert [tuple(event) for event in events] == [
        ("approval.request", desk.ada.id, None),
        ("grant.create", desk.grace.id, None),
        ("approval.approve", desk.grace.id, grant["id"]),
    ]
    deliveries = await desk.world.sql(
        "SELECT type, data ->> 'group_id' FROM webhook_deliveries ORDER BY type"
    )
    assert [tuple(each) for each in deliveries] == [
        ("approval.approved", format_id(GROUP, desk.group.id)), ("grant.created", None)
    ]  # fmt: skip
    kept = await desk.world.sql(
        "SELECT content ->> 'state' FROM object_versions WHERE kind = 'approval' ORDER BY version"
    )
    assert [row[0] for row in kept] == ["pending", "approved"]


async def test_a_denial_gives_nothing_and_another_request_may_follow(desk: Desk) -> None:
    await open_up(desk)
    seen = await asked_for(desk)
    denied = await answer_to(desk, a_person(desk.grace), seen, "deny", reason="Ask in spring.")
    assert (denied.json()["state"], denied.json()["access"]["granted"]) == ("denied", None)
    assert await grants(desk) == []
    assert await refusal(desk, a_person(desk.grace), seen) == (409, "approval_already_decided")
    await asked_for(desk)


async def test_no_one_gives_access_to_themselves_or_to_an_agent_of_theirs(desk: Desk) -> None:
    """Not through a service account or agent, with any role, and not by transferring the agent in between."""
    await open_up(desk)
    await desk.join(desk.ada)
    agent = await principals.agent(desk.world.api, {"id": shown(desk.ada.id)})
    own, agents = await asked_for(desk), await asked_for(desk, identity_id=agent["id"])
    account = ServiceAccount(name="theirs", owner_id=desk.ada.id, role="owner")
    await desk.world.add(account, versioned=False)
    guises = (
        a_person(desk.ada),
        a_person(desk.ada, Role.OWNER),
        a_person(await desk.world.agent(desk.ada), Role.OWNER),
        Caller("service_account", account.id, frozenset({Role.OWNER}), desk.ada.id),
    )
    for guise in guises:
        for seen in (own, agents):
            for verb in ("approve", "deny"):
                assert await refusal(desk, guise, seen, verb) == (403, "own_approval")
    handed = await desk.world.api.patch(
        f"/api/v1/identities/{agent['id']}", json={"owner_id": shown(desk.grace.id)}
    )
    assert handed.status_code == 200, handed.text
    for caller in (a_person(desk.ada, Role.OWNER), a_person(desk.grace)):
        assert await refusal(desk, caller, agents) == (403, "own_approval")
    assert await grants(desk) == []
    assert (await answer_to(desk, a_person(desk.grace), own)).status_code == 200


async def test_who_decides_is_who_owns_the_server_now(desk: Desk) -> None:
    await open_up(desk)
    later, other = Group(name=fresh("others")), await desk.world.person()
    await desk.world.add(later)
    joined = await desk.world.api.put(
        f"/api/v1/groups/{format_id(GROUP, later.id)}/members/{shown(other.id)}"
    )
    assert joined.status_code == 201
    seen = await asked_for(desk)
    assert await refusal(desk, a_person(other), seen) == (404, "not_found")
    await open_up(desk, owner_group_id=later.id)
    assert await refusal(desk, a_person(desk.grace), seen) == (404, "not_found")
    for caller, found in ((a_person(other), 1), (a_person(desk.grace), 0)):
        assert len((await desk.signed_in(caller).get(PATH)).json()["items"]) == found
    by_group = f"{PATH}?approver_group={format_id(GROUP, later.id)}"
    assert len((await desk.world.api.get(by_group)).json()["items"]) == 1
    program = Caller("service_account", new_id(), frozenset(), other.id)
    assert await refusal(desk, program, seen) == (404, "not_found")
    for role, refused in ((Role.AUDITOR, (403, "forbidden")), (Role.ISSUER, (403, "forbidden"))):
        assert await refusal(desk, a_person(desk.grace, role), seen) == refused
    assert (await answer_to(desk, a_person(other), seen)).status_code == 200
    await open_up(desk, owner_group_id=None)
    nobodys = await asked_for(desk)
    assert nobodys["approver_group"] is None
    assert await refusal(desk, a_person(other, Role.AUDITOR), nobodys) == (403, "forbidden")
    assert (await answer_to(desk, a_person(other, Role.APPROVER), nobodys)).status_code == 200


async def test_who_leaves_the_group_in_that_very_moment_gives_nothing(desk: Desk) -> None:
    await open_up(desk)
    seen, leave = await asked_for(desk), text("DELETE FROM group_members WHERE identity_id = :id")
    async with desk.world.sessions() as session:
        await session.execute(leave, {"id": desk.grace.id})
        deciding = asyncio.create_task(refusal(desk, a_person(desk.grace), seen))
        await until_waiting(desk.world.sessions)
        await session.commit()
    assert await deciding == (403, "forbidden")
    assert await grants(desk) == []


async def test_less_can_be_given_than_was_asked_for_and_no_more(desk: Desk) -> None:
    await open_up(desk)
    for name, risk in (("balance", "read"), ("list", "read"), ("void", "destructive")):
        await add_tool(desk, name, risk=risk)
    grace, sooner = a_person(desk.grace), in_days(3)

    def names(*tools: str) -> dict[str, Any]:
        return {"kind": "names", "names": list(tools)}

    def risks(*of: str) -> dict[str, Any]:
        return {"kind": "risk", "risk": list(of)}

    everything = {"kind": "all"}
    for asked, too_much, less in (
        (names("balance", "list"), (everything, names("balance", "void"), risks("read")), names("list")),
        (
            risks("read"),
            (everything, names("void"), names("nope"), risks("read", "destructive")),
            names("balance"),
        ),
        (everything, (), risks("read")),
    ):
        seen = await asked_for(desk, tools=asked)
        for tools in too_much:
            answer = await answer_to(desk, grace, seen, access={"tools": tools})
            assert pointers(answer) == {("/access/tools", "wider")}
        late = await answer_to(desk, grace, seen, access={"expires_at": in_days(31)})
        assert pointers(late) == {("/access/expires_at", "later")}
        over = await answer_to(desk, grace, seen, access={"expires_at": in_days(-1)})
        assert pointers(over) == {("/access/expires_at", "in_the_past")}
        assert (await answer_to(desk, grace, seen, access={"tools": names()})).status_code == 422
        given = await answer_to(desk, grace, seen, access={"tools": less, "expires_at": sooner})
        assert given.status_code == 200, given.text
        grant = (await grants(desk))[0]
        assert given.json()["access"]["granted"]["grant_id"] == grant["id"]
        assert given.json()["access"]["tools"] == asked
        assert (grant["tools"], grant["expires_at"][:19], grant["resources"]) == (less, sooner[:19], False)
    assert len(await grants(desk)) == 3
    call = await desk.asked()
    body = {"access": {"tools": names("refund")}}
    refused = await desk.signed_in(grace).post(f"{PATH}/{format_id('apr', call.id)}/approve", json=body)
    assert pointers(refused) == {("/access", "not_access")}
    assert await desk.state(call) == "pending"


async def test_what_cannot_be_asked_for_any_more_is_given_to_nobody(desk: Desk) -> None:
    await open_up(desk)
    seen = await asked_for(desk)
    for name, value in (("requestable", False), ("ended_at", seen_now := "now")):
        if value == seen_now:
            await desk.world.sql("UPDATE servers SET ended_at = now() WHERE id = :id", id=desk.server.id)
        else:
            await open_up(desk, **{name: value})
        approver = a_person(await desk.world.person(), Role.APPROVER)
        assert (await desk.signed_in(approver).get(f"{PATH}/{seen['id']}")).json()[
            "void"
        ] == "not_requestable"
        assert await refusal(desk, approver, seen) == (409, "approval_void")
        await open_up(desk)
    await desk.world.sql("UPDATE servers SET ended_at = NULL")
    await desk.world.sql("UPDATE approvals SET expires_at = now()")
    assert await refusal(desk, a_person(desk.grace), seen) == (409, "approval_expired")
    assert await grants(desk) == []


async def test_of_two_who_agree_at_once_one_does_and_there_is_one_grant(desk: Desk) -> None:
    await open_up(desk)
    other = await a_member(desk)
    for day in range(1, 6):
        seen = await asked_for(desk, expires_at=in_days(day))
        answers = await asyncio.gather(
            answer_to(desk, a_person(desk.grace), seen), answer_to(desk, a_person(other), seen, "approve")
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert len(await grants(desk)) == day


async def test_an_offboarding_ends_what_waits_and_leaves_what_was_decided(desk: Desk) -> None:
    await open_up(desk)
    given = await asked_for(desk)
    assert (await answer_to(desk, a_person(desk.grace), given)).status_code == 200
    bots = await asked_for(desk, identity_id=shown(desk.agent.id))
    assert (await answer_to(desk, a_person(desk.grace), bots, reason="For Ada.")).status_code == 200
    waiting = [
        await asked_for(desk, tools={"kind": "all"}),
        await asked_for(desk, identity_id=shown(desk.agent.id)),
    ]
    left = await desk.world.api.post(
        f"/api/v1/identities/{shown(desk.ada.id)}/offboard", json={"reason": "left"}
    )
    assert left.json()["revoked"]["approvals"] == 2
    states = {row[0]: row[1] for row in await desk.world.sql("SELECT id, state FROM approvals")}
    assert states[parse_id("apr", given["id"])] == "approved"
    for seen in waiting:
        assert states[parse_id("apr", seen["id"])] == "cancelled"
        assert await refusal(desk, a_person(desk.grace), seen) == (409, "approval_already_decided")
    # The agent's grant is its own, and stopped with its owner.
    assert [grant["principal"]["id"] for grant in await grants(desk)] == [shown(desk.agent.id)]
    erased = await desk.world.api.post(
        f"/api/v1/identities/{shown(desk.ada.id)}/erase", json={"reason": "asked"}
    )
    assert erased.status_code == 200, erased.text
    assert await desk.world.sql("SELECT 1 FROM grants WHERE reason IS NOT NULL") == []
    kept = await desk.world.sql("SELECT coalesce(reason, decision_reason) FROM approvals")
    assert {row[0] for row in kept} == {None}
    history = "SELECT content ->> 'reason' FROM object_versions WHERE kind = 'grant'"
    assert {row[0] for row in await desk.world.sql(history)} == {None}


async def test_an_offboarding_that_meets_a_decision_leaves_no_live_grant(desk: Desk) -> None:
    await open_up(desk)
    for _ in range(5):
        leaver = await desk.world.person()
        seen = await asked_for(desk, a_person(leaver))
        given, left = await asyncio.gather(
            answer_to(desk, a_person(desk.grace), seen),
            desk.world.api.post(f"/api/v1/identities/{shown(leaver.id)}/offboard", json={"reason": "left"}),
        )
        assert left.status_code == 200, left.text
        assert given.status_code in {200, 409}, given.text
        assert await grants(desk) == []


async def test_a_decision_waits_for_an_offboarding_before_it_holds_anything_of_its(desk: Desk) -> None:
    """Otherwise the two would deadlock, on the person and on the request."""
    await open_up(desk)
    seen = await asked_for(desk)
    async with desk.world.sessions() as session:
        hold = text("SELECT 1 FROM identities WHERE id = :id FOR NO KEY UPDATE")
        await session.execute(hold, {"id": desk.ada.id})
        deciding = asyncio.create_task(answer_to(desk, a_person(desk.grace), seen))
        await until_waiting(desk.world.sessions)
        held = text("SELECT 1 FROM approvals WHERE id = :id FOR UPDATE NOWAIT")
        await session.execute(held, {"id": parse_id("apr", seen["id"])})
        await session.commit()
    assert (await deciding).status_code == 200


async def test_joining_the_group_that_decides_is_for_those_who_may_grant(desk: Desk) -> None:
    """Otherwise a group administrator could have any access approved."""
    newcomer = await desk.world.person()
    member = f"/api/v1/groups/{format_id(GROUP, desk.group.id)}/members/{shown(newcomer.id)}"
    keeper = desk.signed_in(a_person(await desk.world.person(), Role.PROVISIONER))
    await desk.world.sql("UPDATE policies SET status = 'draft'")
    assert (await keeper.put(member)).status_code == 201
    assert (await keeper.delete(member)).status_code == 204
    await open_up(desk)
    refused = await keeper.put(member)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "grants.write" in refused.json()["detail"]
    assert (await keeper.delete(f"/api/v1/groups/{format_id(GROUP, desk.group.id)}")).status_code == 403
    assert (await desk.world.api.put(member)).status_code == 201


async def test_a_request_leaves_nothing_of_its_maker_with_a_key(desk: Desk) -> None:
    """The stored response for an Idempotency-Key names the requester, and is erased with them."""
    await open_up(desk)
    client = desk.signed_in(a_person(desk.ada))
    body = {
        "kind": "access", "server": desk.server.slug, "tools": REFUND, "expires_at": in_days(1), "reason": "x",
        "identity_id": shown(desk.agent.id),
    }  # fmt: skip
    first = await client.post(PATH, json=body, headers={"Idempotency-Key": "k"})
    again = await client.post(PATH, json=body, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.json()["id"]) == (201, first.json()["id"])
    ada = f"/api/v1/identities/{shown(desk.ada.id)}"
    assert (await desk.world.api.post(f"{ada}/offboard", json={"reason": "left"})).status_code == 200
    assert (await desk.world.api.post(f"{ada}/erase", json={"reason": "asked"})).status_code == 200
    assert await desk.world.sql("SELECT 1 FROM idempotency_keys WHERE body IS NOT NULL") == []


async def test_a_grant_of_no_request_says_so(desk: Desk) -> None:
    body = {
        "principal": {"type": "identity", "id": shown(desk.ada.id)}, "servers": {"kind": "all"},
        "tools": {"kind": "all"},
    }  # fmt: skip
    made = (await desk.world.api.post("/api/v1/grants", json=body)).json()
    assert made["approval_id"] is None
    assert (await desk.world.api.post("/api/v1/grants", json=body | {"approval_id": None})).status_code == 422
    assert (await ask(desk)).status_code == 422
