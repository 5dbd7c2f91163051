"""An approval is decided once, by a person who may, and never by its requester."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import text

from app.http.authorization import Caller, Role
from app.lib.ids import APPROVAL, format_id, new_id
from app.models.identities import Identity, ServiceAccount
from tests.features.administrators.people import until_waiting
from tests.features.approvals.desk import PATH, Desk, path, shown
from tests.features.callers import a_person


async def test_a_member_of_the_group_reads_what_is_asked_and_approves(desk: Desk, database_url: str) -> None:
    asked, grace = await desk.asked(), a_person(desk.grace)
    answer = await desk.signed_in(grace).get(path(asked))
    assert answer.status_code == 200, answer.text
    seen = answer.json()
    assert (seen["state"], seen["may_decide"], seen["void"], answer.headers["etag"]) == (
        "pending", True, None, '"1"',
    )  # fmt: skip
    assert seen["identity"] == {"id": shown(desk.agent.id), "kind": "agent", "name": "Refunds bot"}
    assert seen["owner"] == {"id": shown(desk.ada.id), "name": "Ada"}
    assert (seen["token"]["name"], seen["server"]["slug"]) == ("the bot's token", desk.server.slug)
    assert (seen["tool"]["name"], seen["tool"]["risk"]) == ("refund", "destructive")
    assert [(one["version"], one["reason"]) for one in seen["policies"]] == [
        (2, "Large refunds need a second person.")
    ]
    assert (seen["approver_group"]["name"], seen["reason"]) == ("Finance leads", "Charged twice.")
    assert seen["url"].endswith(f"/console/approvals/{seen['id']}")

    notified: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(database_url)
    await listener.add_listener("scopegate_approvals", lambda *heard: notified.put_nowait(str(heard[-1])))
    answer = await desk.decide(grace, asked, reason="Agreed with the customer.")
    assert answer.status_code == 200, answer.text
    decided = answer.json()
    assert (decided["state"], decided["revision"], decided["may_decide"]) == ("approved", 2, False)
    assert decided["decided_by"] == {"type": "identity", "id": shown(desk.grace.id), "name": "Grace"}
    left = datetime.fromisoformat(decided["expires_at"]) - datetime.fromisoformat(decided["decided_at"])
    assert abs(left - timedelta(hours=1)) < timedelta(seconds=1)
    assert await asyncio.wait_for(notified.get(), 50) == asked.id.hex
    await listener.close()
    kept = await desk.world.sql(
        "SELECT content ->> 'state', valid_to IS NULL FROM object_versions WHERE object_id = :id", id=asked.id
    )
    assert [tuple(row) for row in kept] == [("approved", True)]
    (event,) = await desk.world.sql(
        "SELECT action, changes, actor_id, token_id, server_id, policy_ids FROM audit_events WHERE approval_id = :id",
        id=asked.id,
    )
    changes = {"state": {"from": "pending", "to": "approved"}, "decision_reason": {"personal": True}}
    assert tuple(event) == (
        "approval.approve", changes, desk.grace.id, asked.token_id, asked.server_id, [desk.policy.id]
    )  # fmt: skip


async def test_of_two_who_decide_at_once_one_does_and_the_other_gets_a_conflict(desk: Desk) -> None:
    other = await desk.world.person()
    await desk.join(other)
    for _ in range(5):
        asked = await desk.asked()
        answers = await asyncio.gather(
            desk.decide(a_person(desk.grace), asked), desk.decide(a_person(other), asked, "deny")
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        (lost,) = [answer.json() for answer in answers if answer.status_code == 409]
        assert lost["code"] == "approval_already_decided"
        (won,) = [answer.json() for answer in answers if answer.status_code == 200]
        assert await desk.state(asked) == won["state"]
        assert len(await desk.world.actions(asked.id)) == 1


async def test_no_one_decides_a_call_of_their_own_in_any_guise(desk: Desk) -> None:
    """Not as the person behind the agent, not by an agent or a service account of theirs, with any role."""
    ada, world = desk.ada, desk.world
    second = await world.agent(ada)
    await desk.join(ada, second, desk.agent)
    asked, person_asked = await desk.asked(), await desk.asked(identity_id=ada.id, token_id=None)
    account = ServiceAccount(name="theirs", owner_id=ada.id, role="owner")
    await world.add(account, versioned=False)
    guises = [
        a_person(ada),
        a_person(ada, Role.APPROVER),
        a_person(ada, Role.OWNER),
        a_person(desk.agent),
        a_person(second),
        Caller("service_account", account.id, frozenset({Role.OWNER}), ada.id),
    ]
    for guise in guises:
        for approval in (asked, person_asked):
            for verb in ("approve", "deny"):
                assert await desk.refused(guise, approval, verb) == (403, "own_approval")
            seen = (await desk.signed_in(guise).get(path(approval))).json()
            assert seen["may_decide"] is False
    assert [await desk.state(one) for one in (asked, person_asked)] == ["pending", "pending"]


async def test_an_agent_that_is_handed_over_to_ask_still_counts_for_its_last_owner(desk: Desk) -> None:
    """Since its token was created: its former owner may have kept it. A later token counts as the new owner's."""
    approver = await desk.world.person()
    owner, agents = a_person(approver, Role.OWNER), f"/api/v1/identities/{shown(desk.agent.id)}"

    async def hand_over_to(person: Identity) -> None:
        answer = await desk.signed_in(owner).patch(agents, json={"owner_id": shown(person.id)})
        assert answer.status_code == 200, answer.text

    await hand_over_to(approver)
    during = await desk.asked()
    await hand_over_to(desk.ada)
    after = await desk.asked()
    for asked in (during, after):
        assert await desk.refused(owner, asked) == (403, "own_approval")
    desk.token = await desk.world.issue(desk.agent)
    assert (await desk.decide(owner, await desk.asked())).status_code == 200


async def test_a_call_with_an_attenuated_token_is_also_of_the_tokens_above_it(desk: Desk) -> None:
    above = await desk.world.issue(desk.ada)
    below = await desk.world.issue(desk.agent, parent_id=above["id"], expires_at=above["expires_at"])
    heir = await desk.world.person()
    await desk.world.sql(
        "UPDATE identities SET owner_id = :heir WHERE id = :id", heir=heir.id, id=desk.agent.id
    )
    desk.token = below
    asked = await desk.asked()
    await desk.join(desk.ada)
    assert await desk.refused(a_person(desk.ada), asked) == (403, "own_approval")


async def test_who_may_neither_see_nor_decide_learns_nothing(desk: Desk) -> None:
    asked, stranger = await desk.asked(), await desk.world.person()
    client = desk.signed_in(a_person(stranger))
    assert (await client.get(path(asked))).status_code == 404
    assert await desk.refused(a_person(stranger), asked) == (404, "not_found")
    provisioner = a_person(stranger, Role.PROVISIONER)
    assert (await desk.signed_in(provisioner).get(path(asked))).status_code == 404
    auditor = a_person(stranger, Role.AUDITOR)
    assert (await desk.signed_in(auditor).get(path(asked))).json()["may_decide"] is False
    assert await desk.refused(auditor, asked) == (403, "forbidden")
    assert (await desk.decide(a_person(stranger, Role.APPROVER), asked, "deny")).json()["state"] == "denied"


async def test_a_service_account_of_somebody_else_decides_and_the_local_administrator_does_not(
    desk: Desk,
) -> None:
    asked = await desk.asked()
    local = Caller("break_glass", new_id(), frozenset({Role.OWNER}))
    assert await desk.refused(local, asked) == (403, "forbidden")
    account = ServiceAccount(name="decides", owner_id=desk.grace.id, role="approver")
    await desk.world.add(account, versioned=False)
    caller = Caller("service_account", account.id, frozenset({Role.APPROVER}), desk.grace.id)
    decided = (await desk.decide(caller, asked)).json()
    assert (decided["state"], decided["decided_by"]["name"]) == ("approved", "decides")


async def test_a_program_is_no_member_of_the_groups_of_its_owner(desk: Desk) -> None:
    asked = await desk.asked(identity_id=desk.ada.id)
    account = ServiceAccount(name="deploys", owner_id=desk.grace.id, role="issuer")
    await desk.world.add(account, versioned=False)
    issuer = Caller("service_account", account.id, frozenset({Role.ISSUER}), desk.grace.id)
    assert (await desk.signed_in(issuer).get(path(asked))).json()["may_decide"] is False
    assert (await desk.signed_in(issuer).get(f"{path(asked)}/arguments")).status_code == 403
    assert await desk.refused(issuer, asked) == (403, "forbidden")
    provisioner = Caller("service_account", account.id, frozenset({Role.PROVISIONER}), desk.grace.id)
    assert (await desk.signed_in(provisioner).get(path(asked))).status_code == 404
    assert (await desk.decide(a_person(desk.grace), asked)).json()["state"] == "approved"


async def test_who_left_the_group_decides_no_more(desk: Desk) -> None:
    """A member who leaves at the same moment does not decide either: the decision waits for the change."""
    asked, leave = await desk.asked(), text("DELETE FROM group_members WHERE identity_id = :id")
    async with desk.world.sessions() as session:
        await session.execute(leave, {"id": desk.grace.id})
        deciding = asyncio.create_task(desk.refused(a_person(desk.grace), asked))
        await until_waiting(desk.world.sessions)
        await session.commit()
    assert await deciding == (403, "forbidden")
    assert await desk.refused(a_person(desk.grace), asked) == (404, "not_found")


@pytest.mark.parametrize("verb", ["approve", "deny"])
async def test_what_is_decided_expired_or_another_revision_stays_as_it_is(desk: Desk, verb: str) -> None:
    grace = a_person(desk.grace)
    past = datetime.now(UTC) - timedelta(seconds=1)
    for state in ("approved", "denied", "cancelled", "consumed"):
        assert await desk.refused(grace, await desk.asked(state=state), verb) == (
            409,
            "approval_already_decided",
        )
    late = await desk.asked(expires_at=past)
    assert await desk.refused(grace, late, verb) == (409, "approval_expired")
    unused = await desk.asked(state="approved", expires_at=past)
    assert await desk.refused(grace, unused, verb) == (409, "approval_expired")
    asked = await desk.asked()
    answer = await desk.decide(grace, asked, verb, **{"If-Match": '"7"'})
    assert (answer.status_code, answer.json()["code"]) == (412, "revision_mismatch")
    assert await desk.state(asked) == "pending"
    assert (await desk.decide(grace, asked, verb, **{"If-Match": '"1"'})).status_code == 200


async def test_what_no_call_can_use_any_more_is_shown_and_not_approved(desk: Desk) -> None:
    grace, world = a_person(desk.grace), desk.world
    asked = await desk.asked(tool_risk="destructive")

    async def void() -> object:
        return (await desk.signed_in(grace).get(path(asked))).json()["void"]

    for spoil, repair, why in (
        ("UPDATE policies SET version = 3", "UPDATE policies SET version = 2", "policies_changed"),
        ("UPDATE policies SET published_mode = 'observe'", "UPDATE policies SET published_mode = 'enforce'",
         "policies_changed"),
        ("UPDATE policies SET status = 'draft'", "UPDATE policies SET status = 'published'", "policies_changed"),
        ("UPDATE tools SET state = 'quarantined'", "UPDATE tools SET state = 'active'", "definition_changed"),
        ("UPDATE tools SET approved_digest = 'x'", "UPDATE tools SET approved_digest = definition_digest",
         "definition_changed"),
        ("UPDATE tools SET risk = 'read'", "UPDATE tools SET risk = 'destructive'", "risk_changed"),
        ("UPDATE servers SET ended_at = now()", "UPDATE servers SET ended_at = NULL", "definition_changed"),
        ("UPDATE tokens SET revoked_at = now()", "UPDATE tokens SET revoked_at = NULL", "token_ended"),
        ("UPDATE tokens SET expires_at = now()", "UPDATE tokens SET expires_at = now() + interval '1 day'",
         "token_ended"),
    ):  # fmt: skip
        await world.sql(spoil)
        assert await void() == why
        assert await desk.refused(grace, asked) == (409, "approval_void")
        await world.sql(repair)
        assert await void() is None
    assert (await desk.decide(grace, asked)).status_code == 200


async def test_lists_show_what_the_caller_may_see_by_every_filter(desk: Desk) -> None:
    world = desk.world
    other = await world.person()
    mine, theirs = await desk.asked(), await desk.asked(identity_id=other.id, token_id=None, tool="void")
    elsewhere = await desk.asked(approver_group_id=None, state="approved")
    late = await desk.asked(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    everything = {format_id(APPROVAL, one.id) for one in (mine, theirs, elsewhere, late)}

    async def listed(caller: Caller, query: str = "") -> set[str]:
        answer = await desk.signed_in(caller).get(PATH + query)
        assert answer.status_code == 200, answer.text
        return {item["id"] for item in answer.json()["items"]}

    def ids(*approvals: object) -> set[str]:
        return {format_id(APPROVAL, one.id) for one in approvals}  # type: ignore[attr-defined]

    auditor, grace = a_person(other, Role.AUDITOR), a_person(desk.grace)
    assert await listed(auditor) == everything
    assert await listed(grace) == ids(mine, theirs, late)
    assert await listed(a_person(desk.ada)) == ids(mine, elsewhere, late)
    assert await listed(a_person(other)) == ids(theirs)
    assert await listed(a_person(await world.person())) == set()
    assert await listed(auditor, "?state=pending") == ids(mine, theirs)
    assert await listed(auditor, "?state=expired&state=approved") == ids(elsewhere, late)
    assert await listed(auditor, "?tool=void") == ids(theirs)
    assert await listed(auditor, f"?identity_id={shown(other.id)}") == ids(theirs)
    token = desk.token["id"]
    assert await listed(auditor, f"?token_id={token}&state=pending") == ids(mine)
    page = await desk.signed_in(auditor).get(f"{PATH}?limit=1")
    assert page.json()["next_cursor"] is not None
