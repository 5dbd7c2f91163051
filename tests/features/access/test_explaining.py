"""An explanation has the decision and everything that was considered, with what is missing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from app.http.authorization import Role
from app.lib.ids import EVENT, TOKEN, format_id, new_id
from tests.api import ApiAs
from tests.features.access.recorded import record_call
from tests.features.principals import Json, Sessions, grant, group, made, member_path, person, plain, pointers

V1 = "/api/v1"
REFUNDS = """@reason("Ask before a refund over 100.")
@require_approval("finance leads")
forbid (principal, action == Action::"call_tool", resource == Tool::"billing/refund")
when { context.arguments.amount > 100 };"""
ODD = """forbid (principal, action == Action::"call_tool", resource)
when { context.time.hour < 0 || context.arguments.amount == 7 };"""
SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "integer"}},
    "required": ["amount"],
}


async def explained(api: httpx2.AsyncClient, **body: Any) -> Json:
    answer = await api.post(f"{V1}/access/explain", json=body)
    assert answer.status_code == 200, answer.text
    shown: Json = answer.json()
    return shown


async def published(api: httpx2.AsyncClient, name: str, text: str, **fields: Any) -> Json:
    policy = await made(api, "policies", {"name": name, "text": text, **fields})
    answer = await api.post(f"{V1}/policies/{policy['id']}/publish", headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    return policy


async def billing(api: httpx2.AsyncClient) -> tuple[Json, Json]:
    """Create a server with a refund tool."""
    server = await made(api, "servers", {"slug": "billing", "url": "https://mcp.example.com/"})
    body = {"server_id": server["id"], "name": "refund", "input_schema": SCHEMA, "risk": "write"}
    return server, await made(api, "tools", body)


async def token_of(api: httpx2.AsyncClient, identity: Json, **fields: Any) -> Json:
    expires_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    body = {
        "identity_id": identity["id"], "name": "laptop", "scope": {"kind": "grants"}, "expires_at": expires_at,
    }  # fmt: skip
    answer = await api.post(f"{V1}/tokens", json=body | fields)
    assert answer.status_code == 201, answer.text
    token: Json = answer.json()["token"]
    return token


async def test_the_grant_that_is_missing_can_be_made_as_it_is_told_and_then_the_call_is_allowed(
    api: httpx2.AsyncClient,
) -> None:
    server, _ = await billing(api)
    ada = await person(api)
    team = await group(api, ada)
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    scheduled = await grant(api, ada, not_before=later)
    reads = await grant(api, team, tools={"kind": "risk", "risk": ["read"]})
    question = {"identity_id": ada["id"], "server": "billing", "tool": "refund"}
    result = await explained(api, **question)
    assert (result["decision"], result["reason_code"], result["server_id"]) == (
        "deny",
        "no_grant",
        server["id"],
    )
    [link] = result["considered"]
    assert (link["stopped"], link["in_scope"], link["entries"]) == (None, True, None)
    assert [(one["grant_id"], one["group_id"], one["gives"], one["faults"]) for one in link["grants"]] == [
        (scheduled["id"], None, False, ["not_started"]),
        (reads["id"], team["id"], False, ["tool_not_covered"]),
    ]
    [missing] = result["missing_grants"]
    made_one = await made(api, "grants", missing)
    again = await explained(api, **question)
    assert (again["decision"], again["grant_id"], again["missing_grants"]) == ("allow", made_one["id"], [])
    # A future time is decided by the current rules.
    tomorrow = await explained(api, **question, at=(datetime.now(UTC) + timedelta(days=2)).isoformat())
    assert tomorrow["grant_id"] == scheduled["id"]
    by_id = await explained(api, identity_id=ada["id"], server=server["id"], part="prompts")
    assert (by_id["reason_code"], by_id["missing_grants"][0]["prompts"]) == ("no_grant", True)
    unknown = await explained(api, identity_id=ada["id"], server="nowhere", tool="refund")
    assert (unknown["reason_code"], unknown["missing_grants"]) == ("server_unknown", [])


async def test_of_a_token_its_scope_and_those_that_it_was_attenuated_from_are_told(
    api: httpx2.AsyncClient,
) -> None:
    server, _ = await billing(api)
    ada = await person(api)
    await grant(api, ada)
    entries = [
        {"servers": {"kind": "all"}, "tools": {"kind": "names", "names": ["other"]}},
        {"servers": {"kind": "labels", "labels": {"env": "prod"}}, "tools": {"kind": "all"}},
    ]
    parent = await token_of(api, ada)
    child = await token_of(
        api,
        ada,
        expires_at=parent["expires_at"],
        parent_id=parent["id"],
        scope={"kind": "listed", "entries": entries},
        ip_allow=["192.0.2.0/24"],
    )
    question = {"token_id": child["id"], "server": server["id"], "tool": "refund", "ip": "192.0.2.7"}
    result = await explained(api, **question)
    assert (result["decision"], result["reason_code"]) == ("deny", "outside_scope")
    mine, above = result["considered"]
    assert [one["faults"] for one in mine["entries"]] == [["tool_not_covered"], ["server_not_covered"]]
    assert (mine["token_id"], mine["in_scope"], mine["stopped"]) == (child["id"], False, None)
    assert (above["token_id"], above["in_scope"], above["entries"]) == (parent["id"], True, None)
    elsewhere = await explained(api, **question | {"ip": "198.51.100.1"})
    assert (elsewhere["reason_code"], elsewhere["considered"][0]["stopped"]) == ("address_not_allowed",) * 2
    assert (await api.post(f"{V1}/tokens/{parent['id']}/revoke", json={"reason": "lost"})).status_code == 200
    assert (await explained(api, **question))["considered"][1]["stopped"] == "token_revoked"


async def test_what_is_missing_is_said_in_full_with_a_remedy_that_works(api: httpx2.AsyncClient) -> None:
    await billing(api)
    ada = await person(api)
    listed = {"kind": "listed", "entries": []}
    token = await token_of(api, ada, scope=listed)
    question = {"token_id": token["id"], "server": "billing", "tool": "refund"}
    found = await explained(api, **question)
    assert found["reason_code"] == "outside_scope"
    assert found["summary"] == (
        "The scope of the token does not reach it. No live grant of the identity or its groups reaches it."
    )
    assert found["remedy"] == (
        "Make a grant that gives it, then issue a new token with a scope that reaches it, since a token cannot be "
        "widened."
    )
    await made(api, "grants", found["missing_grants"][0])
    found = await explained(api, **question)
    assert found["summary"] == "A grant reaches it, but the scope of the token does not reach it."
    assert found["remedy"].startswith("Issue a new token with a scope that reaches it")
    works = {"token_id": (await token_of(api, ada))["id"], "server": "billing", "tool": "refund"}
    found = await explained(api, **works)
    assert (found["decision"], found["remedy"]) == ("allow", None)
    # If a new token would be refused too, that reason comes first.
    await published(api, "Nothing", "forbid (principal, action, resource);")
    found = await explained(api, **question)
    assert "Once that is done, it is still denied: a policy forbids it." in found["summary"]
    assert found["remedy"].startswith("First: The explanation names the policy")
    unknown = await explained(api, token_id=token["id"], server="nowhere", tool="refund")
    assert unknown["summary"] == "There is no such server."


async def test_each_policy_is_told_with_what_it_did_and_what_an_approval_is_needed_for(
    api: httpx2.AsyncClient,
) -> None:
    await billing(api)
    ada = await person(api)
    await grant(api, ada)
    asking = await published(api, "Large refunds", REFUNDS)
    other = await published(
        api, "Elsewhere", 'forbid (principal, action, resource == Tool::"billing/other");'
    )
    trial = await published(api, "On trial", "forbid (principal, action, resource);", mode="observe")
    question = {"identity_id": ada["id"], "server": "billing", "tool": "refund"}

    async def outcomes(**more: Any) -> tuple[Json, Json]:
        result = await explained(api, **question, **more)
        [link] = result["considered"]
        return result, {one["policy_id"]: (one["outcome"], one["message"]) for one in link["policies"]}

    asked, found = await outcomes(arguments={"amount": 250})
    assert (asked["decision"], asked["policy_ids"]) == ("require_approval", [asking["id"]])
    assert asked["approvals"] == [
        {
            "policy_id": asking["id"], "version": 1, "group": "finance leads",
            "reason": "Ask before a refund over 100.",
        }
    ]  # fmt: skip
    assert asked["observed_policy_ids"] == [trial["id"]]
    assert found == {
        asking["id"]: ("satisfied", None), other["id"]: ("resource", None), trial["id"]: ("satisfied", None),
    }  # fmt: skip
    small, found = await outcomes(arguments={"amount": 1})
    assert (small["decision"], found[asking["id"]]) == ("allow", ("condition", None))
    wrong, found = await outcomes(arguments={"amount": "250"})
    assert (wrong["reason_code"], found[asking["id"]][0]) == ("policy_error", "failed")
    assert found[asking["id"]][1]
    unknown, found = await outcomes()
    assert (unknown["decision"], found[asking["id"]]) == ("allow", ("arguments_unknown", None))
    reached = (await api.get(f"{V1}/identities/{ada['id']}/access")).json()["items"]
    tool = reached[0]["tools"][0]
    assert (tool["decision"], tool["unconditional"]) == ("allow", False), "its arguments are not known yet"


async def test_a_past_event_is_decided_again_as_of_its_time_with_its_arguments_where_they_were_kept(
    api: httpx2.AsyncClient, api_as: ApiAs, sessions: Sessions
) -> None:
    server, _ = await billing(api)
    ada = await person(api)
    team = await group(api, ada)
    ours = await grant(api, team)
    token = await token_of(api, ada)
    asking = await published(api, "Large refunds", REFUNDS)
    asked = {
        "decision": "require_approval", "reason_code": "approval_required", "policy_ids": [plain(asking)],
    }  # fmt: skip
    kept = await record_call(sessions, token, server, "refund", {"amount": 250}, **asked)
    bare = await record_call(sessions, token, server, "refund", {"amount": 250}, kept=False, **asked)
    # Then everything changes.
    assert (await api.delete(member_path(team, ada))).status_code == 204
    assert (
        await api.post(f"{V1}/policies/{asking['id']}/unpublish", headers={"If-Match": "*"})
    ).status_code == 200
    assert (await api.post(f"{V1}/tokens/{token['id']}/revoke", json={"reason": "lost"})).status_code == 200
    result = await explained(api, event_id=kept)
    assert (result["decision"], result["arguments"]) == ("require_approval", "kept")
    assert (result["grant_id"], result["policy_ids"]) == (ours["id"], [asking["id"]])
    assert (result["recorded"]["event_id"], result["recorded"]["policy_ids"]) == (kept, [asking["id"]])
    without = await explained(api, event_id=bare)
    assert (without["decision"], without["arguments"]) == ("allow", "not_kept")
    issuer = await explained(await api_as(Role.ISSUER), event_id=kept)
    assert (issuer["decision"], issuer["arguments"]) == ("allow", "not_permitted")
    now = await explained(api, token_id=token["id"], server="billing", tool="refund")
    assert now["reason_code"] == "token_revoked"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"token_id": format_id(TOKEN, new_id()), "server": "billing"}, 404),
        ({"event_id": format_id(EVENT, new_id())}, 404),
        ({"event_id": format_id(EVENT, new_id()), "server": "billing"}, 422),
        ({"token_id": format_id(TOKEN, new_id())}, 422),
        ({"token_id": format_id(TOKEN, new_id()), "server": "b", "tool": "a", "part": "prompts"}, 422),
    ],
)
async def test_a_question_that_cannot_be_answered_is_refused(
    api: httpx2.AsyncClient, body: Json, status: int
) -> None:
    assert (await api.post(f"{V1}/access/explain", json=body)).status_code == status


async def test_arguments_that_no_gateway_lets_through_are_refused_or_fail_the_policies_that_read_them(
    api: httpx2.AsyncClient,
) -> None:
    await billing(api)
    ada = await person(api)
    await grant(api, ada)
    await published(api, "Large refunds", REFUNDS)
    await published(api, "All of it", ODD)
    body = (
        '{"identity_id": "'
        + ada["id"]
        + '", "server": "billing", "tool": "refund", "arguments": {"amount": %s}'
    )
    for odd in (
        "NaN",
        "1e400",
        "-Infinity",
        r'"\ud800"',
        r'{"\ud800": 1}',
        "1" * 500,
        "[" * 80 + "]" * 80,
        "1.5e300",
    ):
        answer = await api.post(
            f"{V1}/access/explain",
            content=(body % odd + "}").encode(),
            headers={"Content-Type": "application/json"},
        )
        result = answer.json()
        assert answer.status_code in {400, 422} or result["reason_code"] == "policy_error", (odd, answer.text)
    question = {"identity_id": ada["id"], "server": "billing", "tool": "refund"}
    for at, code in (("9999-12-31T23:59:59Z", "too_late"), ("2020-01-01T00:00:00Z", "before_history")):
        answer = await api.post(f"{V1}/access/explain", json=question | {"at": at})
        assert (answer.status_code, pointers(answer)) == (422, {("/at", code)})


async def test_it_needs_the_permission_to_explain(api: httpx2.AsyncClient, api_as: ApiAs) -> None:
    answer = await (await api_as(Role.PROVISIONER)).post(f"{V1}/access/explain", json={})
    assert (answer.status_code, "access.explain" in answer.json()["detail"]) == (403, True)
