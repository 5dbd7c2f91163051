"""Test cases of policies run at every publish, with those of all other published policies."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx2

from app.access.policy.compiled import Mode, PublishedPolicy
from app.access.policy.evaluator import Rules
from app.features.policies.testing import run_own
from app.lib.ids import new_id
from tests.features.policies.test_policies import CALL, EVERYTHING, PATH, policy, shop, tag
from tests.features.principals import Json, Sessions, agent, events, group, person, pointers

REFUND = {"server": "shop", "tool": "refund"}


def case(expect: str, **request: Any) -> Json:
    return {"name": f"{expect} {len(request)}", "request": {**REFUND, **request}, "expect": expect}


async def decided(sessions: Sessions, text: str, request: Json, mode: str = "enforce") -> str:
    """The decision of a single policy on a test request."""
    async with sessions() as session:
        published = PublishedPolicy(new_id(), 1, text, Mode(mode))
        [result] = await run_own(session, Rules(), datetime.now(UTC), published, [case("allow", **request)])
    return result.decision


async def test_a_publish_runs_the_tests_of_all_and_changes_nothing_when_one_fails(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    slug = await shop(sessions)
    large = {"server": slug, "arguments": {"amount": 101}}
    first = await policy(
        api,
        f"{CALL.replace('{slug}', slug)} when {{ context.arguments.amount > 100 }};",
        tests=[case("deny", **large), case("allow", server=slug, arguments={"amount": 100})],
    )
    path = f"{PATH}/{first['id']}"
    report = (await api.post(f"{path}/test")).json()
    assert [(one["decision"], one["reason_code"], one["policy_ids"]) for one in report["results"]] == [
        ("deny", "policy_denied", [first["id"]]),
        ("allow", "granted", []),
    ]
    assert report["passed"] is True
    assert (await api.post(f"{path}/publish", headers=tag(1))).json()["changed"] is True

    # Another policy would break a test of the first.
    second = await policy(api, tests=[case("allow")], mode="observe")
    other = f"{PATH}/{second['id']}"
    own = await api.post(f"{other}/publish", headers=tag(1))
    assert own.json()["code"] == "policy_tests_failed"
    assert pointers(own) == {("/tests/0", "test_failed")}
    await api.patch(other, json={"tests": [case("deny")], "mode": "enforce"}, headers=tag(1))
    refused = await api.post(f"{other}/publish", headers=tag(2))
    assert pointers(refused) == {(f"/policies/{first['id']}/tests/1", "test_failed")}
    assert first["name"] in refused.json()["errors"][0]["detail"]
    assert (await api.get(other)).json()["status"] == "draft"
    forced = await api.post(f"{other}/publish", params={"ignore_failed_tests": True}, headers=tag(2))
    assert (forced.json()["changed"], forced.json()["failed_tests"]) == (True, 1)
    assert (await events(sessions, second))[-1][1]["failed_tests"] == 1
    # The published tests count, not those of the draft.
    await api.patch(path, json={"tests": []}, headers=tag(2))
    await api.patch(other, json={"text": f"// All.\n{EVERYTHING}"}, headers=tag(3))
    assert (await api.post(f"{other}/publish", headers=tag(4))).json()["code"] == "policy_tests_failed"
    await api.post(f"{path}/publish", headers=tag(3))
    assert (await api.post(f"{other}/publish", headers=tag(4))).json()["changed"] is True
    # A rollback runs the tests of that version, not those that it replaces.
    await api.patch(other, json={"mode": "observe", "tests": [case("deny", tool="x")]}, headers=tag(5))
    await api.post(f"{other}/publish", headers=tag(6))
    back = await api.post(f"{other}/rollback", json={"version": 1}, headers=tag(7))
    assert [test["name"] for test in back.json()["policy"]["tests"]] == ["deny 0"]


async def test_of_two_that_are_published_at_once_none_breaks_what_the_other_promises(
    api: httpx2.AsyncClient,
) -> None:
    """Each passes all tests without the other."""
    promises = await policy(
        api, EVERYTHING.replace("resource)", 'resource == Tool::"a/b")'), tests=[case("allow")]
    )
    breaks = await policy(api)
    paths = [f"{PATH}/{each['id']}/publish" for each in (promises, breaks)]
    answers = await asyncio.gather(*(api.post(path, headers=tag(1)) for path in paths))
    assert sorted(answer.status_code for answer in answers) == [200, 422]


async def test_a_request_of_a_test_is_what_policies_read(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    slug = await shop(sessions)
    team = await group(api)
    ada = await person(api, attributes={"department": "finance"})
    await api.put(f"/api/v1/groups/{team['id']}/members/{ada['id']}")
    robot = await agent(api, ada)
    in_team = f'forbid (principal in Group::"{team["id"]}", action, resource);'
    scope = 'forbid (principal, action == Action::"call_tool", resource)'
    finance = (
        f'{scope} when {{ principal.hasTag("department") && principal.getTag("department") == "finance" }};'
    )
    of_agent = 'principal.kind == "agent" && principal has owner'
    owned = f'{scope} when {{ {of_agent} && principal.owner in Group::"{team["id"]}" }};'
    evening = f'{scope} when {{ context.time.hour >= 20 && context.time.weekday == "sunday" }};'
    inside = f'{scope} when {{ context has ip && context.ip.isInRange(ip("10.0.0.0/8")) }};'
    program = f'{scope} when {{ context.client has name && context.client.name == "x" && context.token.depth == 2 }};'
    prod = f'{scope} when {{ resource.hasTag("env") && resource.getTag("env") == "prod" && resource.risk == "write" }};'
    destructive = f'{scope} when {{ resource.risk == "destructive" && context.arguments.amount > 1 }};'
    reading = (
        'forbid (principal, action == Action::"use_resources", resource) when { context.arguments has uri };'
    )
    refused: list[tuple[str, Json]] = [
        (in_team, {"identity": {"id": ada["id"]}}),
        (in_team, {"identity": {"groups": [team["id"]]}}),
        (finance, {"identity": {"id": ada["id"]}}),
        (finance, {"identity": {"attributes": {"department": "finance"}}}),
        (owned, {"identity": {"id": robot["id"]}}),
        (owned, {"identity": {"kind": "agent", "owner": {"id": ada["id"]}}}),
        (owned, {"identity": {"kind": "agent", "owner": {"groups": [team["id"]]}}}),
        (evening, {"time": "2026-11-29T20:00:00Z"}),
        (inside, {"ip": "10.1.2.3"}),
        (program, {"client": {"name": "x"}, "token_depth": 2}),
        (prod, {"labels": {"env": "prod"}, "risk": "write"}),
        (destructive, {"server": slug, "arguments": {"amount": 2}}),
        (reading, {"action": "use_resources", "tool": None, "arguments": {"uri": "file:///x"}}),
    ]
    for text, request in refused:
        assert await decided(sessions, text, request) == "deny", (text, request)
        assert await decided(sessions, text, request, "observe") == "deny", (
            "on trial it counts as enforced here"
        )
        assert await decided(sessions, text, {"time": "2026-11-29T19:59:00Z"}) == "allow", text
    # Values that cannot be passed to a policy deny, as at the gateway.
    assert await decided(sessions, destructive, {"server": slug, "arguments": {"amount": "2"}}) == "deny"


async def test_a_test_that_says_no_request_is_refused(api: httpx2.AsyncClient) -> None:
    ada = "idn_01jdpnwz00e008000000000000"
    for request, pointer in (
        ({**REFUND, "tool": None}, "/tests/0/request"),
        ({"server": "shop", "tool": "x", "action": "use_server"}, "/tests/0/request"),
        ({**REFUND, "identity": {"id": ada, "kind": "agent"}}, "/tests/0/request/identity"),
        ({**REFUND, "arguments": {"a": "x" * 20_000}}, "/tests/0/request/arguments"),
        ({**REFUND, "ip": "10.0.0.0/8"}, "/tests/0/request/ip"),
        ({**REFUND, "time": "9999-12-31T23:59:59Z"}, "/tests/0/request/time"),
        ({**REFUND, "time": "0001-01-01T00:00:00Z"}, "/tests/0/request/time"),
        ({**REFUND, "token_depth": 6}, "/tests/0/request/token_depth"),
    ):
        body = {
            "name": "x",
            "text": EVERYTHING,
            "tests": [{"name": "t", "request": request, "expect": "deny"}],
        }
        found = pointers(await api.post(PATH, json=body))
        assert any(where.startswith(pointer) for where, _ in found), (request, found)
    deep = '{"a": ' + "[" * 70 + "]" * 70 + "}"
    for bad, status in (('{"a": NaN}', 400), ('{"a": 1e400}', 400), (deep, 422)):
        asked = '{"server": "shop", "tool": "x", "arguments": ' + bad + "}"
        tests = '[{"name": "t", "expect": "deny", "request": ' + asked + "}]"
        content = f'{{"name": "x", "text": {json.dumps(EVERYTHING)}, "tests": {tests}}}'
        answer = await api.post(PATH, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, bad
