"""People request access to requestable servers, for themselves and their agents, and see no other servers."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.http.authorization import Caller, Role
from app.lib.ids import EVENT, SERVER, format_id, new_id, parse_id
from app.models.identities import ServiceAccount
from app.models.servers import Tool
from tests.features.approvals.desk import DIGEST, PATH, Desk, shown
from tests.features.approvals.requests import REFUND, SERVERS, answer_to, ask, asked_for, open_up
from tests.features.callers import a_person
from tests.features.principals import pointers
from tests.features.tokens.world import in_days


async def add_tool(desk: Desk, name: str, state: str = "active", risk: str = "read") -> None:
    row = Tool(
        server_id=desk.server.id, name=name, input_schema={}, risk=risk, assessed_risk=risk, state=state,
        definition_digest=DIGEST,
    )  # fmt: skip
    await desk.world.add(row, versioned=False)


async def test_what_can_be_asked_for_is_shown_by_name_and_risk_and_nothing_else_is(desk: Desk) -> None:
    await desk.world.server(requestable=False)
    await add_tool(desk, "hidden", "quarantined")
    await add_tool(desk, "balance")
    visitor = desk.signed_in(a_person(await desk.world.person()))
    assert (await visitor.get(SERVERS)).json() == {"items": [], "next_cursor": None}
    await open_up(desk)
    (item,) = (await visitor.get(SERVERS)).json()["items"]
    assert item == {
        "id": format_id(SERVER, desk.server.id), "slug": desk.server.slug, "name": "Payments", "description": None,
        "tools": [
            {"name": "balance", "title": None, "risk": "read"},
            {"name": "refund", "title": "Refund", "risk": "destructive"},
        ],
    }  # fmt: skip
    for text, found in (("paym", 1), ("BALANCE", 1), ("Refund", 1), ("hidden", 0), ("%", 0)):
        assert len((await visitor.get(SERVERS, params={"q": text})).json()["items"]) == found
    for name, value in (("status", "disabled"), ("requestable", False)):
        await open_up(desk, **{name: value})
        assert (await visitor.get(SERVERS)).json()["items"] == []


async def test_a_request_waits_with_all_that_was_asked_and_gives_nothing(desk: Desk) -> None:
    await open_up(desk)
    hook = {"name": "h", "url": "https://hooks.invalid/", "events": ["approval.requested"]}
    assert (await desk.world.api.post("/api/v1/webhooks", json=hook)).status_code == 201
    until = in_days(30)
    answer = await ask(desk, expires_at=until)
    assert answer.status_code == 201, answer.text
    seen = answer.json()
    assert answer.headers["location"] == f"{PATH}/{seen['id']}"
    assert (seen["kind"], seen["state"], seen["identity"]["id"]) == ("access", "pending", shown(desk.ada.id))
    assert (seen["server"]["slug"], seen["tool"], seen["token"]) == (desk.server.slug, None, None)
    assert (seen["access"]["tools"], seen["access"]["granted"]) == (REFUND, None)
    assert seen["access"]["expires_at"][:19] == until[:19]
    assert (seen["reason"], seen["approver_group"]["name"]) == ("On call.", desk.group.name)
    assert (seen["may_decide"], seen["void"]) == (False, None)
    (left,) = await desk.world.sql("SELECT expires_at - created_at FROM approvals")
    assert abs(left[0] - timedelta(days=7)) < timedelta(seconds=1)
    assert await desk.world.sql("SELECT 1 FROM grants") == []
    (event,) = await desk.world.sql(
        "SELECT id, approval_id, server_id, changes FROM audit_events WHERE action = 'approval.request'"
    )
    assert format_id(EVENT, event[0]) == seen["event_id"]
    assert tuple(event[1:3]) == (parse_id("apr", seen["id"]), desk.server.id)
    assert event[3]["reason"] == {"personal": True}
    assert event[3]["tools"] == REFUND
    (delivery,) = await desk.world.sql("SELECT data FROM webhook_deliveries")
    assert delivery[0].keys() == {"approval_id", "event_id", "identity_id", "server_id", "group_id"}
    soon = await asked_for(
        desk, tools={"kind": "all"}, server=format_id(SERVER, desk.server.id), expires_at=in_days(1)
    )
    assert soon["expires_at"] == soon["access"]["expires_at"]


async def test_what_cannot_be_asked_for_is_refused_like_what_is_not_there(desk: Desk) -> None:
    closed = desk.server.slug
    answers = [(await ask(desk, server=name)).json() for name in (closed, "nowhere")]
    assert answers[0]["errors"] == answers[1]["errors"]
    assert answers[0]["detail"] == answers[1]["detail"]
    for server in (format_id(SERVER, desk.server.id), format_id(SERVER, new_id()), "srv_x", ""):
        assert pointers(await ask(desk, server=server)) == {("/server", "not_requestable")}
    await open_up(desk)
    other = await desk.world.person()
    agents_of_others = await desk.world.agent(other)
    for fields, expected in (
        ({"tools": {"kind": "names", "names": ["refund", "nope"]}}, ("/tools/names/1", "not_found")),
        ({"expires_at": in_days(-1)}, ("/expires_at", "in_the_past")),
        ({"expires_at": in_days(400)}, ("/expires_at", "too_late")),
        ({"identity_id": shown(other.id)}, ("/identity_id", "not_yours")),
        ({"identity_id": shown(agents_of_others.id)}, ("/identity_id", "not_yours")),
        ({"identity_id": shown(new_id())}, ("/identity_id", "not_yours")),
    ):  # fmt: skip
        assert pointers(await ask(desk, **fields)) == {expected}
    for fields in (
        {"tools": {"kind": "names", "names": []}},
        {"tools": {"kind": "risk", "risk": []}},
        {"reason": ""},
    ):
        assert (await ask(desk, **fields)).status_code == 422
    assert await desk.world.sql("SELECT 1 FROM approvals") == []


async def test_an_agent_is_asked_for_by_whoever_answers_for_it(desk: Desk) -> None:
    await open_up(desk)
    seen = await asked_for(desk, identity_id=shown(desk.agent.id))
    assert (seen["identity"]["kind"], seen["owner"]["id"]) == ("agent", shown(desk.ada.id))
    await desk.world.sql("UPDATE identities SET status = 'suspended' WHERE id = :id", id=desk.agent.id)
    refused = await ask(desk, identity_id=shown(desk.agent.id), tools={"kind": "all"})
    assert pointers(refused) == {("/identity_id", "not_active")}
    account = ServiceAccount(name="portal", owner_id=desk.ada.id, role="owner")
    await desk.world.add(account, versioned=False)
    # No one requests access in the name of another person.
    program = Caller("service_account", account.id, frozenset({Role.OWNER}), desk.ada.id)
    local = Caller("break_glass", new_id(), frozenset({Role.OWNER}))
    for caller in (program, local):
        assert (await ask(desk, caller)).status_code == 403
        assert (await answer_to(desk, caller, seen, "withdraw")).status_code == 403


async def test_the_same_is_asked_for_once_and_again_when_that_is_over(desk: Desk) -> None:
    await open_up(desk)
    await add_tool(desk, "balance")
    both = {"kind": "names", "names": ["refund", "balance"]}
    answers = await asyncio.gather(*(ask(desk, tools=both) for _ in range(4)))
    assert sorted(each.status_code for each in answers) == [201, 409, 409, 409]
    (first,) = [each.json() for each in answers if each.status_code == 201]
    turned = await ask(desk, tools={"kind": "names", "names": ["balance", "refund"]}, reason="Please.")
    assert (turned.status_code, turned.json()["code"]) == (409, "access_already_requested")
    assert first["id"] in turned.json()["detail"]
    await asked_for(desk)
    await desk.world.sql("UPDATE approvals SET expires_at = now()")
    again = await asked_for(desk, tools=both)
    rows = await desk.world.sql("SELECT state FROM approvals WHERE id = :id", id=parse_id("apr", first["id"]))
    assert rows[0][0] == "expired"
    taken_back = await answer_to(desk, a_person(desk.ada), again, "withdraw")
    assert (taken_back.status_code, taken_back.json()["state"]) == (200, "cancelled")
    await asked_for(desk, tools=both)


async def test_one_person_asks_for_so_much_at_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.features.approvals.service.MAX_PENDING", 3)
    await open_up(desk)
    for name in "abcdef":
        await add_tool(desk, name)
    wanted: list[dict[str, Any]] = [{"tools": {"kind": "names", "names": [name]}} for name in "abcdef"]
    wanted[1]["identity_id"] = shown(desk.agent.id)
    answers = await asyncio.gather(*(ask(desk, **each) for each in wanted))
    assert sorted(each.status_code for each in answers) == [201, 201, 201, 409, 409, 409]
    assert {each.json()["code"] for each in answers if each.status_code == 409} == {
        "too_many_access_requests"
    }
    assert (await ask(desk, a_person(desk.grace), tools={"kind": "all"})).status_code == 201
    await desk.world.sql("UPDATE approvals SET state = 'denied' WHERE identity_id <> :id", id=desk.grace.id)
    await asked_for(desk)


async def test_only_whoever_asked_withdraws_and_only_while_it_waits(desk: Desk) -> None:
    await open_up(desk)
    await desk.join(desk.ada)
    seen = await asked_for(desk, identity_id=shown(desk.agent.id))
    stranger = await desk.world.person()
    for caller, status in ((a_person(desk.grace), 403), (a_person(stranger), 404)):
        assert (await answer_to(desk, caller, seen, "withdraw")).status_code == status
    call = await desk.asked()
    assert await desk.refused(a_person(desk.ada), call, "withdraw") == (403, "forbidden")
    assert (await answer_to(desk, a_person(desk.ada), seen, "withdraw")).json()["state"] == "cancelled"
    again = await answer_to(desk, a_person(desk.ada), seen, "withdraw")
    assert (again.status_code, again.json()["code"]) == (409, "approval_already_decided")
    events = await desk.world.sql("SELECT changes FROM audit_events WHERE action = 'approval.cancel'")
    assert [row[0] for row in events] == [{"because": "withdrawn"}]
    assert (await answer_to(desk, a_person(desk.grace), seen)).json()["code"] == "approval_already_decided"
