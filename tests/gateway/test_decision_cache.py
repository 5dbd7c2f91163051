"""A cached decision is used only for the objects that it was made of."""

import gc
import weakref
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from math import inf
from typing import Any
from uuid import uuid4

import pytest

from app.access.policy.compiled import PublishedPolicy, compile_policy
from app.access.policy.evaluator import Evaluator
from app.admission.store import View
from app.domain.access import PolicyContext
from app.domain.objects import Grant, Identity, IdentityStatus, Server, Token, Tool, ToolState
from app.domain.policy import Effect, GrantedIsAllowed, PolicyInput, PolicyVerdict
from app.domain.risk import Risk
from app.domain.scopes import AllServers, AllTools, GrantsScope
from app.domain.token_format import Credential
from app.domain.visibility import make_directory
from app.gateway.access_check import MAX_DECISIONS, AccessCheck, DecisionCache

ASK = AccessCheck("tool.call", "files", None, "read", {"path": "/"})


def view(expires_at: float = 100.0, context: PolicyContext | None = None) -> View:
    grant = Grant(uuid4(), 1, AllServers(), AllTools(), resources=False, prompts=False)
    identity = Identity(uuid4(), 1, IdentityStatus.ACTIVE, grants=(grant,))
    token = Token(uuid4(), 1, identity, GrantsScope(), expires_at)
    tool = Tool(uuid4(), "read", Risk.READ, ToolState.ACTIVE, b"digest")
    servers = {"files": Server(uuid4(), 1, "files", enabled=True, tools={"read": tool})}
    here = context or PolicyContext(1, 1, GrantedIsAllowed())
    return View(token, here, servers, Credential("sgt", token.id, "x"), make_directory({}))


def test_an_allow_is_cached_for_the_same_token_and_tool() -> None:
    cache, here = DecisionCache(), view()
    first = ASK.decide(here, 1.0, cache)
    assert first.allowed
    again = replace(ASK, arguments={"path": "/etc"}).decide(here, 2.0, cache)
    assert again is first
    other = replace(ASK, tool="write").decide(here, 2.0, cache)
    assert not other.allowed


@pytest.mark.parametrize("part", ["token", "context", "servers"])
def test_a_cached_decision_is_not_used_after_a_new_read(part: str) -> None:
    cache, here = DecisionCache(), view()
    first = ASK.decide(here, 1.0, cache)
    old = getattr(here, part)
    new = (
        {slug: replace(server) for slug, server in old.items()} if isinstance(old, Mapping) else replace(old)
    )
    newer = View(here.token, here.context, here.servers, here.credential, here.directory)
    setattr(newer, part, new)
    again = ASK.decide(newer, 1.0, cache)
    assert again is not first


def test_a_cached_decision_is_not_used_outside_its_time_span() -> None:
    cache, here = DecisionCache(), view(expires_at=10.0)
    assert ASK.decide(here, 9.9, cache).allowed
    late = ASK.decide(here, 10.0, cache)
    assert (late.effect, late.reason_code) == (Effect.DENY, "token_expired")


def test_a_policy_that_reads_calls_is_evaluated_for_each_call() -> None:
    class NotThere:
        def evaluate(self, request: PolicyInput) -> PolicyVerdict:
            bad = request.arguments == {"path": "/etc"}
            return PolicyVerdict(Effect.DENY if bad else Effect.ALLOW, "path")

    cache, here = DecisionCache(), view(context=PolicyContext(1, 1, NotThere()))
    assert ASK.decide(here, 1.0, cache).allowed
    assert not replace(ASK, arguments={"path": "/etc"}).decide(here, 1.0, cache).allowed


def test_a_token_with_allowed_addresses_is_decided_each_time() -> None:
    cache, here = DecisionCache(), view()
    here.token = replace(here.token, ip_allow=(ip_network("192.0.2.0/24"),))
    inside = replace(ASK, address=ip_network("192.0.2.1/32").network_address)
    assert inside.decide(here, 1.0, cache).allowed
    assert not ASK.decide(here, 1.0, cache).allowed


def test_decisions_of_sessions_are_not_cached() -> None:
    cache, here, session = DecisionCache(), view(), uuid4()
    ASK.decide(here, 1.0, cache)
    decision = replace(ASK, session_id=session).decide(here, 1.0, cache)
    assert (session, 0) in decision.depends_on


@pytest.mark.parametrize("own", [{"session_id": uuid4()}, {"refused": "task_unknown"}])
def test_decisions_for_one_call_are_not_reusable(own: dict[str, Any]) -> None:
    cache, here = DecisionCache(), view()
    assert ASK.decide(here, 1.0, cache).for_any_call
    assert not replace(ASK, **own).decide(here, 1.0, cache).for_any_call
    assert ASK.decide(here, 1.0, cache).for_any_call


def test_the_cache_is_bounded_and_evicts_the_oldest() -> None:
    cache, here = DecisionCache(), view(expires_at=inf)
    decision = ASK.decide(here, 1.0)
    for number in range(MAX_DECISIONS + 1):
        cache.put(here, "files", str(number), decision)
    assert cache.get(here, "files", "0", 1.0) is None
    assert cache.get(here, "files", "1", 1.0) is decision
    assert cache.get(here, "files", str(MAX_DECISIONS), 1.0) is decision


def _judging(*texts: str) -> PolicyContext:
    policies = [compile_policy(PublishedPolicy(uuid4(), 1, text)) for text in texts]
    return PolicyContext(1, 1, Evaluator(policies))


def test_only_policies_are_evaluated_again_if_they_read_the_call() -> None:
    etc = 'forbid (principal, action, resource) when { context.arguments.path like "/etc/*" };'
    unseen = 'permit (principal, action, resource) when { context.arguments.path like "/tmp/*" };'
    cache, here = DecisionCache(), view(context=_judging(etc, unseen))
    first = ASK.decide(here, 1.0, cache)
    assert first.allowed
    assert not first.for_any_call
    assert replace(ASK, arguments={"path": "/home"}).decide(here, 2.0, cache) is first
    denied = replace(ASK, arguments={"path": "/etc/x"}).decide(here, 2.0, cache)
    assert denied.reason_code == "policy_denied"
    failed = replace(ASK, arguments={"path": 5}).decide(here, 2.0, cache)
    assert failed.reason_code == "policy_error"
    # Another policy decides this one, so its row is another's too.
    permitted = replace(ASK, arguments={"path": "/tmp/x"}).decide(here, 2.0, cache)
    assert len(permitted.policy_ids) == 1
    assert replace(ASK, arguments={"path": "/home"}).decide(here, 3.0, cache).policy_ids == ()


def test_decisions_with_quotas_are_not_cached() -> None:
    quota = '@quota("2 per day") forbid (principal, action == Action::"call_tool", resource);'
    cache, here = DecisionCache(), view(context=_judging(quota))
    first = ASK.decide(here, 1.0, cache)
    again = ASK.decide(here, 1.0, cache)
    assert first.allowed
    assert first.quotas
    assert again is not first


def test_the_cache_drops_old_compiled_policies() -> None:
    cache, policies = DecisionCache(), GrantedIsAllowed()
    compiled = weakref.ref(policies)
    old, new = (
        view(context=PolicyContext(1, 1, policies)),
        view(context=PolicyContext(1, 2, GrantedIsAllowed())),
    )
    del policies
    assert ASK.decide(old, 1.0, cache).allowed
    kept = ASK.decide(new, 1.0, cache)
    del old
    gc.collect()
    assert compiled() is None
    assert ASK.decide(new, 2.0, cache) is kept
