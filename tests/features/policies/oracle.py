"""The verdict of Cedar itself, policy by policy over the whole set and context."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import cedarpy

from app.access.policy.compiled import Mode, PublishedPolicy
from app.access.policy.mapping import arguments_of, client_of, entities_json, ip_of, named, time_of, token_of
from app.domain.policy import Act, Effect, PolicyInput

Found = dict[PublishedPolicy, str]


def found_by_cedar(policies: Sequence[PublishedPolicy], request: PolicyInput, zone: ZoneInfo) -> Found:
    """For each policy ``satisfied``, ``failed`` or nothing, as the engine finds it alone."""
    context: dict[str, Any] = {
        "time": time_of(datetime.fromtimestamp(request.at, zone)),
        "client": client_of(request.program),
        "token": token_of(request.token),
    }
    if request.arguments is not None and request.act is not Act.USE_SERVER:
        context["arguments"] = arguments_of(request.act, request.tool, request.arguments, None)[0]
    if request.address is not None:
        context["ip"] = ip_of(request.address)
    identity, server, tool = request.token.identity, request.server, request.tool
    asked = {**named(request.act, identity, server, tool), "context": json.dumps(context)}
    entities = entities_json(identity, server, tool)
    parsed = cedarpy.Entities.from_json_str(entities)
    return {policy: _found(policy, asked, parsed) for policy in policies}


@lru_cache(maxsize=64)
def _parsed(text: str) -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_str(text)


def _found(policy: PublishedPolicy, asked: dict[str, Any], entities: cedarpy.Entities) -> str:
    result = cedarpy.is_authorized(asked, _parsed(policy.text), entities)
    assert result.decision is not cedarpy.Decision.NoDecision, result.diagnostics.errors
    return "failed" if result.diagnostics.errors else "satisfied" if result.diagnostics.reasons else ""


def reads_arguments(policy: PublishedPolicy, name: str = "") -> bool:
    """Whether a text may concern arguments, or the one with this name."""
    whole = ("context.arguments == ", "{a: context}", "context.nothing")
    named = (f"arguments.{name}", f'arguments["{name}"]', f"arguments has {name}")
    return any(each in policy.text for each in whole + named) or (
        not name and "context.arguments" in policy.text
    )


def verdict_of(found: Found, *, permits: bool) -> tuple[Effect, str, frozenset[Any], frozenset[Any]]:
    """Effect, reason code, deciding policies and observed ones, by the rules."""
    enforced = {policy: how for policy, how in found.items() if policy.mode is Mode.ENFORCE}
    failed = _that(enforced, "failed")
    satisfied = _that(enforced, "satisfied")
    permitting = {policy for policy in satisfied if " permit " in policy.text}
    asking = {policy for policy in satisfied if "@require_approval" in policy.text}
    counting = {policy for policy in satisfied if "@quota" in policy.text}
    denying = satisfied - permitting - asking - counting
    observed = {policy for policy in found if policy.mode is Mode.OBSERVE and found[policy] == "failed"}
    if failed:
        return Effect.DENY, "policy_error", _ids(failed), _ids(observed)
    if denying:
        return Effect.DENY, "policy_denied", _ids(denying), _ids(observed)
    if not permits and not permitting:
        return Effect.DENY, "policy_not_permitted", frozenset(), _ids(observed)
    stricter = _that(found, "satisfied") - satisfied
    observed |= {policy for policy in stricter if " permit " not in policy.text}
    if asking:
        return Effect.REQUIRE_APPROVAL, "approval_required", _ids(asking), _ids(observed)
    return Effect.ALLOW, "granted", _ids(permitting | counting), _ids(observed)


def _that(found: Found, how: str) -> set[PublishedPolicy]:
    return {policy for policy, each in found.items() if each == how}


def _ids(policies: set[PublishedPolicy]) -> frozenset[Any]:
    return frozenset(policy.id for policy in policies)
