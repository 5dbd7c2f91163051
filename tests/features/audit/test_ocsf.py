"""Audit events in OCSF: every recorded action maps to a class, valid by the schema."""

import json
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from app.features.audit.ocsf import USER_MANAGEMENT, class_of, ocsf_lines, ocsf_of
from app.features.audit.schemas import AuditEventView

RELEASED = "1.8.0"
# The objects of an event of class 3007.
OBJECTS = {
    "actor": "actor", "http_request": "http_request", "metadata": "metadata", "src_endpoint": "network_endpoint",
    "user": "user",
}  # fmt: skip
# The next one has more activities; which, ``SCHEMA`` says.
NEWER = {"activity_id", "type_uid"}
SCHEMA = json.loads(Path(__file__).with_name("ocsf_1_9_0.json").read_text())
REFERENCE = (Path(__file__).parents[3] / "docs/reference/audit-events.md").read_text()
ACTIONS = sorted(
    action
    for row in re.findall(r"^\| ((?:`[a-z_]+\.[a-z_]+`(?:, )?)+) \|", REFERENCE, re.MULTILINE)
    for action in re.findall(r"`([a-z_.]+)`", row)
)
TIME = datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)
Json = dict[str, Any]


def event(action: str, **fields: Any) -> AuditEventView:
    nothing: Json = dict.fromkeys(AuditEventView.model_fields)
    known = {"id": "evt_01jdpnwz00e008000000000000", "time": TIME, "action": action}
    return AuditEventView.model_validate(nothing | known | {"actor": actor("identity")} | fields)


def actor(kind: str, id: str | None = "idn_01jdpnwz00e008000000000000", name: str | None = None) -> Json:
    return {"type": kind, "id": id, "name": name}


FULL: Json = {
    "decision": "deny",
    "reason_code": "policy_denied",
    "outcome": "denied",
    "actor": actor("identity", name="Ada"),
    "on_behalf_of": "idn_01jdpnwz00e00800000000000a",
    "token_id": "tok_01jdpnwz00e008000000000000",
    "server": {"id": "srv_01jdpnwz00e008000000000000", "slug": "git"},
    "tool": "git_log",
    "object": {"type": "grant", "id": "grant_01jdpnwz00e008000000000000"},
    "grant_id": "grant_01jdpnwz00e008000000000000",
    "policy_ids": ["pol_01jdpnwz00e008000000000000"],
    "observed_policy_ids": ["pol_01jdpnwz00e00800000000000a"],
    "approval_id": "apr_01jdpnwz00e008000000000000",
    "client": {"name": "code", "version": "2.1", "ip": "203.0.113.7", "user_agent": "code/2.1"},
    "method": "tools/call",
    "arguments_digest": "9f86d081" * 8,
    "changes": {"reason": {"personal": True}},
    "duration_ms": 12,
    "count": 3,
    "call_id": "evt_01jdpnwz00e00800000000000a",
    "request_id": "req_1",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
}


def faults(said: Json) -> list[str]:
    """The violations of the schema."""
    every, own = SCHEMA["every_class"], SCHEMA["classes"].get(str(said["class_uid"]))
    if own is None:
        return ["class_uid"]
    found = [name for name in every["required"] + own["required"] if name not in said]
    found += sorted(set(said) - set(every["attributes"]) - set(own["attributes"]))
    for name, allowed in {**every, **own}.items():
        if name.endswith("_id") and name in said and said[name] not in allowed:
            found.append(name)
    if "at_least_one" in own and not said.keys() & set(own["at_least_one"]):
        found.append("at_least_one")
    if said["category_uid"] != own["category_uid"]:
        found.append("category_uid")
    if said["type_uid"] != said["class_uid"] * 100 + said["activity_id"]:
        found.append("type_uid")
    if (said["activity_id"] == 99) != ("activity_name" in said):
        found.append("activity_name")
    for path, rules in SCHEMA["objects"].items():
        found += [path for fault in object_faults(said, path, rules) if fault]
    return found


def object_faults(said: Json, path: str, rules: Json) -> list[bool]:
    value: Any = said
    for part in path.split("."):
        value = value.get(part) if value is not None else None
    if value is None:
        return []
    one = rules.get("at_least_one")
    return [
        not set(rules.get("required", ())) <= value.keys(),
        one is not None and not value.keys() & set(one),
        "type_id" in rules and value["type_id"] not in rules["type_id"],
    ]


@cache
def released() -> OcsfJsonSchemaEmbedded:
    """The newest packaged schema. Class 3007 came with the next one, whose shape is in ``SCHEMA``."""
    return OcsfJsonSchemaEmbedded(get_ocsf_schema(version=RELEASED))


@cache
def judge(kind: str, name: str, profiles: tuple[str, ...] = ()) -> jsonschema_rs.Validator:
    """The validator of a published class or object, which rejects unknown attributes."""
    find = released().get_class_schema if kind == "class" else released().get_object_schema
    return jsonschema_rs.validator_for(find(name, profiles=list(profiles)))


def complaints(said: Json) -> list[str]:
    """The violations of the published schema."""
    profiles = tuple(said["metadata"].get("profiles", ()))
    if said["class_uid"] != USER_MANAGEMENT:
        name = released().lookup_class_name_from_uid(class_uid=said["class_uid"])
        faults = list(judge("class", name, profiles).iter_errors(said))
        return [
            str(fault) for fault in faults if not fault.instance_path or fault.instance_path[0] not in NEWER
        ]
    objects = [(OBJECTS[key], value) for key, value in said.items() if key in OBJECTS]
    return [
        str(fault) for name, value in objects for fault in judge("object", name, profiles).iter_errors(value)
    ]


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_is_an_event_that_the_published_schema_takes(action: str) -> None:
    for one in (event(action, actor=actor("system", None)), event(action, **FULL)):
        said = ocsf_of(one)
        assert complaints(said) == []
        assert said.keys() <= {
            *SCHEMA["every_class"]["attributes"],
            *SCHEMA["classes"][str(said["class_uid"])]["attributes"],
        }


def test_the_published_schema_knows_no_other_attributes() -> None:
    for action in ("tool.call", "identity.create"):
        said = ocsf_of(event(action, **FULL))
        said["actor"]["application"] = {"name": "code", "version": "2.1"}
        assert "application" in " ".join(complaints(said))


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_is_an_event_of_a_class_with_all_that_it_demands(action: str) -> None:
    bare = event(action, actor=actor("unknown", None))
    nameless = event(action, actor=actor("system", None), object={"type": "policy", "id": None})
    for one in (bare, nameless, event(action, **FULL), event(action, **(FULL | {"decision": "allow"}))):
        assert faults(ocsf_of(one)) == []


def test_the_reference_names_the_actions_that_this_looks_at() -> None:
    assert len(ACTIONS) > 90
    assert {"tool.call", "token.refused", "group.change_members", "webhook.retry"} <= set(ACTIONS)


@pytest.mark.parametrize(
    ("action", "uid", "activity"),
    [
        ("tools.list", 6003, 2), ("tool.call", 6003, 99), ("tool.create", 3004, 1), ("mcp.initialize", 6003, 1),
        ("scim.request", 6003, 99), ("administrator.sign_in", 3002, 1), ("session.end", 3002, 2),
        ("token.refused", 3002, 1),
        ("identity.create", 3007, 1), ("identity.suspend", 3007, 5), ("identity.offboard", 3007, 3),
        ("identity.erase", 3007, 99), ("service_account.credential_create", 3007, 18),
        ("administrator.enable", 3007, 4), ("group.create", 3006, 6), ("group.add_member", 3006, 3),
        ("grant.end", 3004, 4), ("token.issue", 3004, 1), ("token.revoke", 3004, 4), ("policy.publish", 3004, 8),
        ("arguments.read", 3004, 2), ("unknown.action", 3004, 99),
    ],
)  # fmt: skip
def test_actions_are_of_the_class_and_activity_that_fit(action: str, uid: int, activity: int) -> None:
    assert class_of(action) == (uid, activity)


def test_a_call_that_was_refused_says_who_asked_what_of_whom_and_why_not() -> None:
    said = ocsf_of(event("tool.call", **(FULL | {"call_id": None, "object": None})))
    assert said["time"] == 1_770_091_506_789
    assert (said["action_id"], said["disposition_id"], said["severity_id"], said["status"]) == (
        2,
        2,
        2,
        "Failure",
    )
    assert (said["status_code"], said["status_detail"], said["count"]) == ("denied", "policy_denied", 3)
    assert said["actor"] == {
        "user": {
            "uid": "idn_01jdpnwz00e008000000000000", "name": "Ada", "type": "identity", "type_id": 1,
            "programmatic_credentials": [{"uid": "tok_01jdpnwz00e008000000000000", "type": "scoped_token"}],
        },
        "app_name": "code",
    }  # fmt: skip
    assert said["api"] == {
        "operation": "tools/call",
        "request": {"uid": "req_1"},
        "service": {"uid": "srv_01jdpnwz00e008000000000000", "name": "git"},
    }
    assert said["resources"] == [{"name": "git_log", "type": "tool"}]
    assert said["src_endpoint"] == {"ip": "203.0.113.7"}
    assert said["http_request"] == {"uid": "req_1", "user_agent": "code/2.1"}
    assert said["authorizations"] == [
        {"decision": "deny", "policy": {"uid": "pol_01jdpnwz00e008000000000000"}}
    ]
    assert said["trace"] == {"uid": "0af7651916cd43dd8448eb211c80319c"}
    assert said["metadata"]["profiles"] == ["security_control", "trace"]
    assert said["metadata"]["uid"] == said["metadata"]["correlation_uid"] == "evt_01jdpnwz00e008000000000000"


@pytest.mark.parametrize(
    "action", ["tool.call", "administrator.sign_in", "identity.update", "group.update", "grant.create"]
)
def test_nothing_of_an_event_is_lost(action: str) -> None:
    def words(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set().union(*(words(one) for one in value.values()))
        if isinstance(value, list):
            return set().union(*(words(one) for one in value))
        return {str(value)}

    whole = event(action, **FULL)
    kept = words(whole.model_dump(mode="json", exclude={"time"}))
    assert kept - words(ocsf_of(whole)) <= {"grant"}


@pytest.mark.parametrize(
    "action", ["tool.call", "prompt.get", "resource.read", "tools.list", "task.get", "mcp.listen"]
)
def test_a_call_and_its_outcome_are_told_to_belong_together(action: str) -> None:
    call = ocsf_of(event(action, decision="allow"))
    result = ocsf_of(event("tool.result", call_id="evt_01jdpnwz00e008000000000000", outcome="success"))
    assert call["metadata"]["correlation_uid"] == result["metadata"]["correlation_uid"]
    assert (call["status"], result["status"]) == ("Unknown", "Success")
    assert ocsf_of(event("tool.result", outcome="cancelled"))["status_id"] == 2


def test_lines_hold_one_event_each_whatever_it_says() -> None:
    hostile = event("tool.call", tool='a\n"}\u2028', actor=actor("identity", name="Zoë\x00"))
    lines = ocsf_lines([hostile, hostile]).split(b"\n")
    assert (len(lines), lines[2]) == (3, b"")
    assert json.loads(lines[0])["resources"][0]["name"] == 'a\n"}\u2028'
