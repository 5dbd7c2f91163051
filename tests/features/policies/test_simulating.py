"""The numbers of a simulation agree with an independent recount, call by call."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

import httpx2
import pytest
from sqlalchemy import text

from app.features.policies import simulate
from app.http.authorization import Role
from app.lib.ids import POLICY, format_id, new_id
from tests.api import ApiAs
from tests.features.access.recorded import record_call
from tests.features.access.test_explaining import REFUNDS, V1, billing, published, token_of
from tests.features.principals import Json, Sessions, agent, made, person

NOT_OVER_500 = """forbid (principal, action == Action::"call_tool", resource == Tool::"billing/refund")
when { context.arguments.amount > 500 };"""
TWICE_A_DAY = """@quota("2 per day")
forbid (principal, action == Action::"call_tool", resource == Tool::"billing/refund");"""
NOT_FROM_BOTS = """forbid (principal, action == Action::"call_tool", resource == Tool::"billing/list")
when { context.client has name && context.client.name == "bot" };"""


async def simulated(api: httpx2.AsyncClient, *changes: Json, **more: object) -> Json:
    answer = await api.post(f"{V1}/policies/simulate", json={"changes": list(changes), "days": 1, **more})
    assert answer.status_code == 200, answer.text
    shown: Json = answer.json()
    return shown


@dataclass(frozen=True)
class Made:
    """A call as the test remembers it."""

    who: str
    tool: str
    amount: int | None
    kept: bool
    client: str | None = None


CALLS = [
    Made("ada", "refund", 50, True), Made("ada", "refund", 150, True), Made("bea", "refund", 900, True),
    Made("ada", "refund", 600, True), Made("bot", "refund", 900, False), Made("bot", "refund", 10, True),
    Made("bot", "refund", 20, True), Made("bot", "refund", 30, True), Made("bea", "refund", 70, True),
    Made("bot", "list", None, True, "bot"), Made("bot", "list", 1, False, "bot"),
    Made("ada", "list", 1, False, "desk"), Made("bea", "list", None, True),
    Made("ada", "refund", 101, True), Made("ada", "refund", 100, True), Made("ada", "refund", 7, True),
]  # fmt: skip


def before(call: Made, _used: dict[str, int]) -> str:
    return "require_approval" if call.tool == "refund" and (call.amount or 0) > 100 else "allow"


def after(call: Made, used: dict[str, int]) -> str:
    """The rule: over 500 denied, over 100 with approval, otherwise twice a day; no lists for bots."""
    if call.tool == "list":
        return "deny" if call.client == "bot" else "allow"
    amount = call.amount or 0
    if amount > 500:
        return "deny"
    if amount > 100:
        return "require_approval"
    used[call.who] = used.get(call.who, 0) + 1
    return "deny" if used[call.who] > 2 else "allow"


def recount(rule: Callable[[Made, dict[str, int]], str]) -> tuple[list[tuple[int, str, str]], int]:
    """(place, before, after) of the changed calls, and the number of undecidable ones."""
    used: dict[str, int] = {}
    changed, untold = [], 0
    for place, call in enumerate(CALLS):
        if call.tool == "refund" and not call.kept:
            untold += 1
            continue
        was, is_now = before(call, {}), rule(call, used)
        if was != is_now:
            changed.append((place, was, is_now))
    return changed, untold


async def made_calls(api: httpx2.AsyncClient, sessions: Sessions, server: Json) -> dict[str, int]:
    """Make the calls; return their places by event id."""
    ada, bea = await person(api), await person(api)
    people = {"ada": ada, "bea": bea, "bot": await agent(api, ada)}
    tokens = {name: await token_of(api, one) for name, one in people.items()}
    places = {}
    for place, call in enumerate(CALLS):
        client_id = None
        if call.client is not None:
            client_id = new_id()
            async with sessions() as session:
                insert = text("INSERT INTO audit_clients (id, name) VALUES (:id, :name)")
                await session.execute(insert, {"id": client_id, "name": call.client})
                await session.commit()
        arguments = None if call.amount is None else {"amount": call.amount}
        event = await record_call(
            sessions, tokens[call.who], server, call.tool, arguments, kept=call.kept, client_id=client_id
        )
        places[event] = place
    # Calls that grants denied are of no use, and a removed tool is not replayable.
    await record_call(
        sessions, tokens["ada"], server, "refund", None, decision="deny", reason_code="no_grant"
    )
    await record_call(sessions, tokens["ada"], server, "gone", None)
    return places


async def test_its_figures_are_those_of_a_recount_by_hand(
    api: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate, "_CALLS_REPLAYED_AT_ONCE", 5)
    server, _ = await billing(api)
    await made(
        api, "tools",
        {"server_id": server["id"], "name": "list", "input_schema": {"type": "object"}, "risk": "read"},
    )  # fmt: skip
    asking = await published(api, "Large refunds", REFUNDS)
    draft = await made(api, "policies", {"name": "Not over 500", "text": NOT_OVER_500})
    places = await made_calls(api, sessions, server)
    found = await simulated(api, {"policy_id": draft["id"]}, {"text": TWICE_A_DAY}, {"text": NOT_FROM_BOTS})
    changed, untold = recount(after)
    listed = [
        (places[call["event_id"]], call["before"]["decision"], call["after"]["decision"])
        for call in found["calls"]
    ]
    assert listed == changed[::-1], "newest first"
    figures = {"deny": found["newly_denied"], "allow": found["newly_allowed"]}
    for decision, shown in (*figures.items(), ("require_approval", found["newly_requiring_approval"])):
        newly = [CALLS[place] for place, _, is_now in changed if is_now == decision]
        assert shown == {"calls": len(newly), "identities": len({call.who for call in newly})}, decision
    assert (found["newly_denied"]["calls"], found["newly_denied"]["identities"]) == (6, 3)
    assert found["not_replayable"] == {"calls": untold + 1, "arguments_not_kept": untold, "gone": 1}
    assert (found["replayed"], found["complete"]) == (len(CALLS) - untold, True)
    assert found["summary"].startswith(f"Of {len(CALLS) - untold} calls: newly denied 6 by 3")
    why = {places[call["event_id"]]: call["after"] for call in found["calls"]}
    assert why[2]["policy_ids"] == [draft["id"]]
    assert (why[9]["changes"], why[9]["policy_ids"]) == ([2], [])
    assert why[15]["reason_code"] == "quota_exceeded"
    # Removing the policy that requires approval allows all calls that waited.
    without = await simulated(api, {"policy_id": asking["id"], "remove": True}, limit=2)
    asked = [call for call in CALLS if before(call, {}) == "require_approval" and call.kept]
    assert without["newly_allowed"] == {"calls": len(asked), "identities": len({call.who for call in asked})}
    assert (len(without["calls"]), without["omitted"]) == (2, len(asked) - 2)
    assert without["newly_denied"]["calls"] == 0
    # Nothing was published, and the reading of many calls is audited.
    assert [one["status"] for one in (await api.get(f"{V1}/policies")).json()["items"]] == [
        "draft",
        "published",
    ]
    events = (
        await api.get(f"{V1}/audit-events", params={"action": "policy.simulate", "since": _ago(1)})
    ).json()
    assert [event["changes"]["replayed"] for event in events["items"]] == [len(CALLS) - untold] * 2
    # With too many calls, the newest are replayed, and the answer says so.
    monkeypatch.setattr(simulate, "MAX_CALLS", 4)
    part = await simulated(api, {"policy_id": draft["id"]})
    assert (part["complete"], part["replayed"] + part["not_replayable"]["calls"]) == (False, 4)
    assert part["first"] > found["first"]
    # The same with a time limit, the oldest first.
    monkeypatch.setattr(simulate, "_CALLS_REPLAYED_AT_ONCE", 2)
    monkeypatch.setattr(simulate, "monotonic", count(step=simulate.MAX_DURATION_S * 0.6).__next__)
    short = await simulated(api, {"policy_id": draft["id"]})
    assert (short["complete"], short["first"]) == (False, part["first"])
    assert short["replayed"] + short["not_replayable"]["calls"] == 2


async def test_a_change_that_could_not_be_published_is_refused_where_it_stands(
    api: httpx2.AsyncClient,
) -> None:
    policy = await made(api, "policies", {"name": "Not over 500", "text": NOT_FROM_BOTS})
    unknown = format_id(POLICY, new_id())
    cases: list[tuple[Json, str]] = [
        ({"changes": [{"text": NOT_FROM_BOTS}, {"text": "forbid (principal"}], "days": 1}, "/changes/1/text"),
        ({"changes": [{"policy_id": unknown}], "days": 1}, "/changes/0/policy_id"),
        ({"changes": [{"policy_id": policy["id"]}] * 2, "days": 1}, "/changes/1/policy_id"),
        ({"changes": [{"text": NOT_FROM_BOTS}], "since": _ago(40)}, "/since"),
        ({"changes": [{"text": NOT_FROM_BOTS}], "since": _ago(-1)}, "/since"),
        ({"changes": [{"text": NOT_FROM_BOTS}]}, ""),
        ({"changes": [{"remove": True}], "days": 1}, "/changes/0"),
        ({"changes": [{"text": NOT_FROM_BOTS}], "days": 32}, "/days"),
        ({"changes": [{"text": NOT_FROM_BOTS}], "days": True}, "/days"),
        ({"changes": [{"text": NOT_FROM_BOTS}], "days": "7"}, "/days"),
        ({"changes": [{"text": NOT_FROM_BOTS}], "days": 7, "limit": False}, "/limit"),
        ({"changes": [{"policy_id": policy["id"], "remove": "yes"}], "days": 7}, "/changes/0/remove"),
    ]
    for body, pointer in cases:
        answer = await api.post(f"{V1}/policies/simulate", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_one_simulation_runs_at_a_time_for_those_who_may_write_policies(
    api: httpx2.AsyncClient, api_as: ApiAs
) -> None:
    body = {"changes": [{"text": NOT_FROM_BOTS}], "days": 1}
    async with simulate._ONE_AT_A_TIME:
        busy = await api.post(f"{V1}/policies/simulate", json=body)
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "5")
    denied = await (await api_as(Role.AUDITOR)).post(f"{V1}/policies/simulate", json=body)
    assert (denied.status_code, "policies.write" in denied.json()["detail"]) == (403, True)


def _ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()
