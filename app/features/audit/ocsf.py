"""Convert audit events to OCSF 1.9.0.

Classes, activities and attributes are those of https://schema.ocsf.io/1.9.0: API Activity for calls, Authentication for
sign-ins, User and Group Management for people, agents and groups (Account Change is deprecated since 1.9), Entity
Management for everything else. Data that OCSF has no attribute for is in ``unmapped`` under Scopegate's names.
"""

import json
from collections.abc import Sequence
from typing import Any

from app import __version__
from app.features.audit.schemas import AuditEventView

VERSION = "1.9.0"
AUTHENTICATION, API_ACTIVITY = 3002, 6003
ENTITY_MANAGEMENT, GROUP_MANAGEMENT, USER_MANAGEMENT = 3004, 3006, 3007
OTHER = 99
"""An activity without a name in the class; ``activity_name`` is then the action."""

_SIGN_INS = {
    "administrator.sign_in": 1, "break_glass.sign_in": 1, "credential.refused": 1, "service_account.sign_in": 1,
    "session.open": 1, "token.refused": 1, "session.end": 2,
}  # fmt: skip
# Here create is 1, read 2, update 3 and delete 4. No event says whether a tool call reads or writes.
_CALLS = {
    "completion.complete": 2, "mcp.discover": 2, "mcp.end_session": 4, "mcp.initialize": 1, "mcp.listen": 2,
    "mcp.resume": 2, "mcp.set_level": 3, "prompt.get": 2, "prompts.list": 2, "resource.read": 2,
    "resource.subscribe": 1, "resource.unsubscribe": 4, "resources.list": 2, "task.cancel": 4, "task.get": 2,
    "task.result": 2, "task.update": 3, "tools.list": 2, "tool.call": OTHER, "tool.result": OTHER,
    "break_glass.use": OTHER,
}  # fmt: skip
_CALLED = frozenset(
    {"completion", "mcp", "prompt", "prompts", "resource", "resources", "scim", "signal", "task", "tools"}
)
# Calls that the gateway forwards: the outcome of each admitted one is an event of its own.
_CARRIED = _CALLED - {"scim", "signal"}
_USERS = frozenset({"administrator", "identity", "service_account"})
_OF_USERS = {
    "create": 1, "update": 2, "delete": 3, "offboard": 3, "enable": 4, "reinstate": 4, "disable": 5, "suspend": 5,
    "credential_create": 18, "credential_revoke": 19,
}  # fmt: skip
_OF_GROUPS = {"add_member": 3, "remove_member": 4, "end": 5, "create": 6, "update": 9, "change_members": 9}
_OF_ENTITIES = {
    "create": 1, "issue": 1, "request": 1, "pickup_create": 1, "read": 2, "check": 2, "simulate": 2, "pick_up": 2,
    "pickup_refused": 2, "update": 3, "set": 3, "sync": 3, "rotate": 3, "approve": 3, "approve_instructions": 3,
    "deny": 3, "rollback": 3, "claim": 3, "confirm": 3,
    "delete": 4, "end": 4, "revoke": 4, "cancel": 4, "drop": 4, "pickup_cancel": 4,
    "publish": 8, "unpublish": 9,
}  # fmt: skip
# Unknown, user, admin, system, service.
_USER_TYPES = {
    "identity": 1,
    "administrator": 2,
    "break_glass": 2,
    "system": 3,
    "gateway": 3,
    "service_account": 4,
}
_STATUS = {0: "Unknown", 1: "Success", 2: "Failure", OTHER: "Other"}
_STATUS_OF = {"success": 1, "error": 2, "denied": 2, "not_forwarded": 2, "cancelled": 2}
_SEVERITY = {1: "Informational", 2: "Low", 3: "Medium"}
# Events that need attention, regardless of their outcome.
_NOTABLE = frozenset({"break_glass.sign_in", "break_glass.use", "token.pickup_refused"})
_PRODUCT = {"name": "Scopegate", "vendor_name": "Scopegate", "version": __version__}
_IP_ADDRESS, _USER_UID = 2, 31
"""Types of observables."""
_UNMAPPED = (
    "on_behalf_of", "grant_id", "approval_id", "observed_policy_ids", "arguments_digest", "changes", "duration_ms",
    "call_id",
)  # fmt: skip
_UNMAPPED_OF_CHANGES = ("server", "tool", "method", "trace_id")
_UNMAPPED_OF = dict.fromkeys((USER_MANAGEMENT, GROUP_MANAGEMENT, ENTITY_MANAGEMENT), _UNMAPPED_OF_CHANGES) | {
    AUTHENTICATION: ("object", *_UNMAPPED_OF_CHANGES)
}


def ocsf_lines(events: Sequence[AuditEventView]) -> bytes:
    """Write events as OCSF events, one per line, each with its line end."""
    return b"".join(
        json.dumps(ocsf_of(event), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        for event in events
    )


def class_of(action: str) -> tuple[int, int]:
    """The ``class_uid`` and ``activity_id`` of an action. An unknown action is an activity of an entity."""
    kind, _, verb = action.partition(".")
    if action in _SIGN_INS:
        return AUTHENTICATION, _SIGN_INS[action]
    if kind in _CALLED or action in _CALLS:
        return API_ACTIVITY, _CALLS.get(action, OTHER)
    if kind in _USERS:
        return USER_MANAGEMENT, _OF_USERS.get(verb, OTHER)
    if kind == "group":
        return GROUP_MANAGEMENT, _OF_GROUPS.get(verb, OTHER)
    return ENTITY_MANAGEMENT, _OF_ENTITIES.get(verb, OTHER)


def ocsf_of(event: AuditEventView) -> dict[str, Any]:
    """Convert an audit event to an OCSF event of its class, without loss."""
    fields: dict[str, Any] = event.model_dump(mode="json", exclude_none=True)
    uid, activity = class_of(event.action)
    if "outcome" in fields:
        status = _STATUS_OF.get(fields["outcome"], 0)
    else:
        # Unknown for an admitted call, whose outcome is an event of its own.
        status = 2 if fields.get("decision") in ("deny", "require_approval") else 0
    severity = 3 if event.action in _NOTABLE else 2 if status == 2 else 1
    program = fields.get("client", {})
    unmapped = {name: fields[name] for name in (*_UNMAPPED, *_UNMAPPED_OF.get(uid, ())) if name in fields}
    event_fields: dict[str, Any] = {
        "activity_id": activity,
        "category_uid": uid // 1000,
        "class_uid": uid,
        "type_uid": uid * 100 + activity,
        "time": int(event.time.timestamp() * 1000),
        "severity_id": severity,
        "severity": _SEVERITY[severity],
        "status_id": status,
        "status": _STATUS[status],
        "message": _message(fields),
        "metadata": _metadata(fields),
        "actor": {"user": _caller(fields)} | ({"app_name": program["name"]} if "name" in program else {}),
    }
    if activity == OTHER:
        event_fields["activity_name"] = event.action
    for attribute, name in (("status_detail", "reason_code"), ("status_code", "outcome"), ("count", "count")):
        if name in fields:
            event_fields[attribute] = fields[name]
    if "version" in program:
        unmapped["client"] = {"version": program["version"]}
    where = {"ip": program["ip"]} if "ip" in program else {"name": "unknown"}
    http = {"uid": fields.get("request_id"), "user_agent": program.get("user_agent")}
    http = {name: value for name, value in http.items() if value}
    source = {"src_endpoint": where} | ({"http_request": http} if http else {})
    event_fields |= _decision(fields) | source | _of_class(uid, fields)
    event_fields["observables"] = _observables(event_fields)
    return event_fields | ({"unmapped": unmapped} if unmapped else {})


def _message(fields: dict[str, Any]) -> str:
    what = [fields["action"], fields.get("tool")]
    how = fields.get("reason_code") or fields.get("outcome")
    return " ".join(part for part in what if part) + (f": {how}" if how else "")


def _metadata(fields: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "version": VERSION,
        "product": _PRODUCT,
        "uid": fields["id"],
        "log_name": "audit",
        "event_code": fields["action"],
    }
    if fields["action"].partition(".")[0] in _CARRIED or fields["action"] in ("tool.call", "tool.result"):
        # Shared by a call and its outcome.
        metadata["correlation_uid"] = fields.get("call_id", fields["id"])
    profiles = ["security_control"] if "decision" in fields else []
    if "trace_id" in fields and class_of(fields["action"])[0] == API_ACTIVITY:
        profiles.append("trace")
    return metadata | ({"profiles": profiles} if profiles else {})


def _user(kind: str, uid: str | None, name: str | None = None) -> dict[str, Any]:
    """A user; OCSF requires a uid or a name (constraint ``at_least_one``)."""
    user = {"uid": uid, "name": name if uid else name or kind}
    named = {key: value for key, value in user.items() if value}
    return named | {"type": kind, "type_id": _USER_TYPES.get(kind, 0)}


def _caller(fields: dict[str, Any]) -> dict[str, Any]:
    actor = fields["actor"]
    user = _user(actor["type"], actor.get("id"), actor.get("name"))
    if "token_id" in fields:
        user["programmatic_credentials"] = [{"uid": fields["token_id"], "type": "scoped_token"}]
    return user


def _decision(fields: dict[str, Any]) -> dict[str, Any]:
    """The profile ``security_control``. A call that waits for an approval was not forwarded: denied so far."""
    decision = fields.get("decision")
    if decision is None:
        return {}
    action = 1 if decision == "allow" else 2
    policies = [{"policy": {"uid": uid}} for uid in fields.get("policy_ids", ())] or [{}]
    return {
        "action_id": action,
        "disposition_id": action,
        "authorizations": [{"decision": decision, **policy} for policy in policies],
    }


def _of_class(uid: int, fields: dict[str, Any]) -> dict[str, Any]:
    """The attributes that only this class has."""
    if uid == API_ACTIVITY:
        return _as_call(fields)
    if uid == AUTHENTICATION:
        return {"user": _caller(fields), "service": {"name": "scopegate"}, "is_remote": True}
    if uid == USER_MANAGEMENT:
        whom = fields.get("object", {"type": "unknown"})
        return {"user": _user(whom["type"], whom.get("id"))}
    return {"group" if uid == GROUP_MANAGEMENT else "entity": _entity(fields)}


def _as_call(fields: dict[str, Any]) -> dict[str, Any]:
    api: dict[str, Any] = {"operation": fields.get("method", fields["action"])}
    if "request_id" in fields:
        api["request"] = {"uid": fields["request_id"]}
    server = fields.get("server")
    api["service"] = (
        {"uid": server["id"], "name": server.get("slug", server["id"])} if server else {"name": "scopegate"}
    )
    resources = [{"name": fields["tool"], "type": "tool"}] if "tool" in fields else []
    if "object" in fields:
        resources.append(_entity(fields))
    trace = {"trace": {"uid": fields["trace_id"]}} if "trace_id" in fields else {}
    return {"api": api} | trace | ({"resources": resources} if resources else {})


def _entity(fields: dict[str, Any]) -> dict[str, Any]:
    what = fields.get("object", {"type": fields["action"].partition(".")[0]})
    return ({"uid": what["id"]} if "id" in what else {"name": what["type"]}) | {"type": what["type"]}


def _observables(event_fields: dict[str, Any]) -> list[dict[str, Any]]:
    values = (
        ("src_endpoint.ip", _IP_ADDRESS, event_fields["src_endpoint"].get("ip")),
        ("actor.user.uid", _USER_UID, event_fields["actor"]["user"].get("uid")),
    )
    return [{"name": name, "type_id": type_id, "value": value} for name, type_id, value in values if value]
