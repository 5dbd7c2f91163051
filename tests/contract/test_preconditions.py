"""``If-Match`` is honoured by everything that changes an object, and documented there."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.lib.ids import IDENTITY, parse_id
from tests.contract.things import Things
from tests.features.tokens.world import World

DOCUMENT = json.loads((Path(__file__).parents[2] / "openapi" / "openapi.json").read_text())
# What changes no one object that a caller could have read before.
WITHOUT = {
    *("bulk_revoke_tokens", "create_access_token", "create_break_glass_token"),
    *("render_policy_template", "test_policy", "simulate_policies", "explain_access", "preview_grant"),
    # They look, and change nothing.
    *("check_token", "check_own_token"),
    # The digest of a proposal names the revision of its grant.
    "apply_stale_access",
}
# What has somebody else do it first: who it asks is in the tests of signals.
ELSEWHERE = {"set_signal_stream", "delete_signal_stream", "verify_signal_stream"}
ENDING = ("delete", "remove", "revoke", "offboard", "erase", "disable", "roll_back", "unpublish", "deny")
REASON = {"reason": "left the company"}
BEARER = {"kind": "bearer", "token": "upstream-token"}


def changing() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Every operation that changes an object which was there before, by operationId."""
    return {
        operation["operationId"]: (method, path, operation)
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method in {"patch", "put", "delete"} or (method == "post" and "201" not in operation["responses"])
    }


def test_every_operation_that_changes_an_object_takes_if_match() -> None:
    found = changing()
    for name in found.keys() - WITHOUT:
        _, path, operation = found[name]
        headers = {p["name"].lower() for p in operation.get("parameters", []) if p["in"] == "header"}
        assert "if-match" in headers, f"{name} ({path}) takes no If-Match"
        assert "412" in operation["responses"], f"{name} ({path}) does not promise 412"


async def calls(things: Things) -> dict[str, tuple[str, str, Any, str]]:
    """A request for each operation: method, path, body, and the path that shows whether anything changed."""
    server, tool = await things.new_path("servers"), await things.new_path("tools")
    person, group = await things.new_path("identities"), await things.new_path("groups")
    grant, token = await things.new_path("grants"), await things.new_path("tokens")
    account, credential = await things.new_path("service-accounts"), await things.new_path("credentials")
    leaver = await things.new_path("identities")
    assert (await things.api.delete(leaver)).status_code == 200
    shown = (await things.api.get(person)).json()
    member = f"{group}/members/{shown['id']}"
    assert (await things.api.put(member)).status_code == 201
    own = f"{server}/credentials/{shown['id']}"
    for path in (f"{server}/credential", own):
        assert (await things.api.put(path, json=BEARER)).status_code == 200
    credentials = credential.rpartition("/")[0]
    approved, denied = await things.asked(), await things.asked()
    provider, policy = await things.new_path("identity-providers"), await things.new_path("policies")
    await World(things.api, things.sessions).link(
        parse_id(IDENTITY, (await things.api.get(token)).json()["identity_id"])
    )
    pickup = (await things.api.post(f"{token}/pickups", json={})).headers["Location"]
    digest = (await things.api.get(tool)).json()["definition_digest"]
    signals = await things.signals()
    hook = await things.new_path("webhooks")
    delivery = await things.delivery(hook)
    sink = await things.sink()
    scheduled = await things.scheduled(await things.new_path("identities"))
    claimed, invitation = await things.claimed(), await things.new_path("invitations")
    says = {"digest": await things.let_say(server, "Ask first.")}
    by_name = f"/api/v1/identities/offboard?user_name={shown['user_name']}"
    return {
        "update_server": ("PATCH", server, {"name": "x"}, server),
        "delete_server": ("DELETE", server, None, server),
        "sync_server": ("POST", f"{server}/sync", None, server),
        "approve_server_instructions": ("POST", f"{server}/instructions/approve", says, server),
        "set_server_credential": ("PUT", f"{server}/credential", BEARER, server),
        "delete_server_credential": ("DELETE", f"{server}/credential", None, server),
        "set_identity_credential": ("PUT", own, BEARER, server),
        "delete_identity_credential": ("DELETE", own, None, server),
        "update_tool": ("PATCH", tool, {"risk": "read"}, tool),
        "delete_tool": ("DELETE", tool, None, tool),
        "approve_tool": ("POST", f"{tool}/approve", {"definition_digest": digest}, tool),
        "update_identity": ("PATCH", person, {"display_name": "x"}, person),
        "suspend_identity": ("POST", f"{person}/suspend", None, person),
        "reinstate_identity": ("POST", f"{person}/reinstate", None, person),
        "offboard_identity": ("POST", f"{person}/offboard", REASON, person),
        "offboard_identity_by_name": ("POST", by_name, REASON, person),
        "delete_identity": ("DELETE", person, None, person),
        "erase_identity": ("POST", f"{leaver}/erase", None, leaver),
        "update_group": ("PATCH", group, {"name": "x"}, group),
        "delete_group": ("DELETE", group, None, group),
        "add_group_member": ("PUT", member, None, member),
        "remove_group_member": ("DELETE", member, None, member),
        "update_grant": ("PATCH", grant, {"reason": "x"}, grant),
        "delete_grant": ("DELETE", grant, None, grant),
        "narrow_token": ("PATCH", token, {"name": "x"}, token),
        "rotate_token": ("POST", f"{token}/rotate", {}, token),
        "cancel_token_pickup": ("DELETE", pickup, None, pickup),
        "revoke_token": ("POST", f"{token}/revoke", REASON, token),
        "update_service_account": ("PATCH", account, {"name": "x"}, account),
        "delete_service_account": ("DELETE", account, None, account),
        "update_policy": ("PATCH", policy, {"mode": "enforce"}, policy),
        "publish_policy": ("POST", f"{policy}/publish", None, policy),
        "roll_back_policy": ("POST", f"{policy}/rollback", {"version": 1}, policy),
        "unpublish_policy": ("POST", f"{policy}/unpublish", None, policy),
        "delete_policy": ("DELETE", policy, None, policy),
        "update_identity_provider": ("PATCH", provider, {"name": "x"}, provider),
        "delete_identity_provider": ("DELETE", provider, None, provider),
        "set_signal_credential": ("PUT", f"{signals}/credential", {"access_token": "x"}, signals),
        "set_signal_stream": ("POST", f"{signals}/stream", {}, signals),
        "delete_signal_stream": ("DELETE", f"{signals}/stream", None, signals),
        "verify_signal_stream": ("POST", f"{signals}/verify", None, signals),
        "approve_approval": ("POST", f"{approved}/approve", {}, approved),
        "deny_approval": ("POST", f"{denied}/deny", {}, denied),
        "confirm_invitation": ("POST", f"{claimed}/confirm", None, claimed),
        "revoke_invitation": ("DELETE", invitation, None, invitation),
        "cancel_scheduled_offboarding": ("DELETE", scheduled, None, scheduled),
        "update_webhook": ("PATCH", hook, {"name": "x"}, hook),
        "rotate_webhook": ("POST", f"{hook}/rotate", {}, hook),
        "retry_webhook_delivery": ("POST", f"{delivery}/retry", None, delivery),
        "delete_webhook": ("DELETE", hook, None, hook),
        "update_audit_sink": ("PATCH", sink, {"name": "x"}, sink),
        "test_audit_sink": ("POST", f"{sink}/test", None, sink),
        "delete_audit_sink": ("DELETE", sink, None, sink),
        "revoke_service_account_credential": ("DELETE", credential, None, credentials),
    }


async def test_with_the_tag_of_another_revision_nothing_happens(things: Things) -> None:
    for name, (method, path, body, shown) in (await calls(things)).items():
        before = (await things.api.get(shown)).json()
        answer = await things.api.request(method, path, json=body, headers={"If-Match": '"999"'})
        assert (answer.status_code, answer.json()["code"]) == (412, "revision_mismatch"), name
        assert (await things.api.get(shown)).json() == before, name


def ends(name: str, path: str) -> tuple[bool, int]:
    """Sorts what ends an object behind everything else, and behind what ends a part of it."""
    return name.startswith(ENDING), -path.count("/")


async def test_with_the_tag_of_the_object_it_happens(things: Things) -> None:
    there = await calls(things)
    # What ends something comes after what needs it.
    for name in sorted(
        (name for name in there if name not in ELSEWHERE), key=lambda name: ends(name, there[name][1])
    ):
        method, path, body, shown = there[name]
        tag = (await things.api.get(shown)).headers.get("ETag", '"1"')
        answer = await things.api.request(method, path, json=body, headers={"If-Match": tag})
        assert answer.status_code in {200, 204}, f"{name}: {answer.text}"


async def test_a_dry_run_checks_the_tag_too(things: Things) -> None:
    person, token = await things.new_path("identities"), await things.new_path("tokens")
    for path in (f"{person}/offboard", f"{token}/revoke"):
        answer = await things.api.post(f"{path}?dry_run=true", json=REASON, headers={"If-Match": '"999"'})
        assert answer.status_code == 412, path


async def test_the_members_tag_is_of_this_membership_and_no_later_one(things: Things) -> None:
    group, person = await things.new_path("groups"), await things.id("identities")
    path = f"{group}/members/{person}"
    assert (await things.api.put(path, headers={"If-Match": "*"})).status_code == 412
    joined = await things.api.put(path)
    tag = joined.headers["ETag"]
    assert (await things.api.get(path)).headers["ETag"] == tag
    assert (await things.api.delete(path)).status_code == 204
    assert (await things.api.put(path)).headers["ETag"] != tag
    assert (await things.api.delete(path, headers={"If-Match": tag})).status_code == 412


@pytest.mark.parametrize(
    "kind",
    ["servers", "tools", "identities", "groups", "grants", "service-accounts", "identity-providers", "policies"],
)  # fmt: skip
async def test_what_creates_and_what_reads_name_the_same_tag(things: Things, kind: str) -> None:
    made = await things.make(kind)
    read = await things.api.get(made.headers["Location"])
    assert made.headers["ETag"] == read.headers["ETag"] == f'"{read.json()["revision"]}"'
