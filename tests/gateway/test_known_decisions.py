"""A decision is used again for what it was made of, and for nothing else."""

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
from app.domain.directory import make_directory
from app.domain.objects import Grant, Identity, IdentityStatus, Server, Token, Tool, ToolState
from app.domain.policy import Effect, GrantedIsAllowed, PolicyInput, PolicyVerdict
from app.domain.risk import Risk
from app.domain.scopes import AllServers, AllTools, GrantsScope
from app.domain.token_format import Credential
from app.gateway.access_request import MAX_KNOWN, AccessRequest, KnownDecisions

ASK = AccessRequest("tool.call", "files", None, "read", {"path": "/"})


def view(expires_at: float = 100.0, context: PolicyContext | None = None) -> View:
    grant = Grant(uuid4(), 1, AllServers(), AllTools(), resources=False, prompts=False)
    identity = Identity(uuid4(), 1, IdentityStatus.ACTIVE, grants=(grant,))
    token = Token(uuid4(), 1, identity, GrantsScope(), expires_at)
    tool = Tool(uuid4(), "read", Risk.READ, ToolState.ACTIVE, b"digest")
    servers = {"files": Server(uuid4(), 1, "files", enabled=True, tools={"read": tool})}
    here = context or PolicyContext(1, 1, GrantedIsAllowed())
    return View(token, here, servers, Credential("sgt", token.id, "x"), make_directory({}))


def test_an_allow_is_found_again_for_the_same_tool_of_the_same_token() -> None:
    known, here = KnownDecisions(), view()
    first = ASK.decide(here, 1.0, known)
    assert first.allowed
    again = replace(ASK, arguments={"path": "/etc"}).decide(here, 2.0, known)
    assert again is first
    other = replace(ASK, tool="write").decide(here, 2.0, known)
    assert not other.allowed


@pytest.mark.parametrize("part", ["token", "context", "servers"])
def test_it_is_not_found_once_anything_was_read_anew(part: str) -> None:
    known, here = KnownDecisions(), view()
    first = ASK.decide(here, 1.0, known)
    old = getattr(here, part)
    new = (
        {slug: replace(server) for slug, server in old.items()} if isinstance(old, Mapping) else replace(old)
    )
    anew = View(here.token, here.context, here.servers, here.credential, here.directory)
    setattr(anew, part, new)
    again = ASK.decide(anew, 1.0, known)
    assert again is not first


def test_it_is_not_found_outside_its_span() -> None:
    known, here = KnownDecisions(), view(expires_at=10.0)
    assert ASK.decide(here, 9.9, known).allowed
    late = ASK.decide(here, 10.0, known)
    assert (late.effect, late.reason_code) == (Effect.DENY, "token_expired")


def test_a_policy_that_reads_calls_is_asked_about_each() -> None:
    class NotThere:
        def evaluate(self, request: PolicyInput) -> PolicyVerdict:
            bad = request.arguments == {"path": "/etc"}
            return PolicyVerdict(Effect.DENY if bad else Effect.ALLOW, "path")

    known, here = KnownDecisions(), view(context=PolicyContext(1, 1, NotThere()))
    assert ASK.decide(here, 1.0, known).allowed
    assert not replace(ASK, arguments={"path": "/etc"}).decide(here, 1.0, known).allowed


def test_a_token_that_is_bound_to_addresses_is_looked_at_each_time() -> None:
    known, here = KnownDecisions(), view()
    here.token = replace(here.token, ip_allow=(ip_network("192.0.2.0/24"),))
    inside = replace(ASK, address=ip_network("192.0.2.1/32").network_address)
    assert inside.decide(here, 1.0, known).allowed
    assert not ASK.decide(here, 1.0, known).allowed


def test_an_ended_session_is_part_of_what_a_known_decision_rests_on() -> None:
    known, here, session = KnownDecisions(), view(), uuid4()
    ASK.decide(here, 1.0, known)
    decision = replace(ASK, session_id=session).decide(here, 1.0, known)
    assert (session, 0) in decision.depends_on


@pytest.mark.parametrize("own", [{"session_id": uuid4()}, {"refused": "task_unknown"}])
def test_what_is_true_of_one_call_alone_says_so(own: dict[str, Any]) -> None:
    known, here = KnownDecisions(), view()
    assert ASK.decide(here, 1.0, known).for_any_call
    assert not replace(ASK, **own).decide(here, 1.0, known).for_any_call
    assert ASK.decide(here, 1.0, known).for_any_call


def test_no_more_is_kept_than_there_is_room_for_and_the_oldest_goes() -> None:
    known, here = KnownDecisions(), view(expires_at=inf)
    decision = ASK.decide(here, 1.0)
    for number in range(MAX_KNOWN + 1):
        known.keep(here, "files", str(number), decision)
    assert known.find(here, "files", "0", 1.0) is None
    assert known.find(here, "files", "1", 1.0) is decision
    assert known.find(here, "files", str(MAX_KNOWN), 1.0) is decision


def _judging(*texts: str) -> PolicyContext:
    policies = [compile_policy(PublishedPolicy(uuid4(), 1, text)) for text in texts]
    return PolicyContext(1, 1, Evaluator(policies))


def test_where_policy_reads_the_call_it_is_asked_of_each_and_the_rest_is_found_again() -> None:
    etc = 'forbid (principal, action, resource) when { context.arguments.path like "/etc/*" };'
    unseen = 'permit (principal, action, resource) when { context.arguments.path like "/tmp/*" };'
    known, here = KnownDecisions(), view(context=_judging(etc, unseen))
    first = ASK.decide(here, 1.0, known)
    assert first.allowed
    assert not first.for_any_call
    assert replace(ASK, arguments={"path": "/home"}).decide(here, 2.0, known) is first
    denied = replace(ASK, arguments={"path": "/etc/x"}).decide(here, 2.0, known)
    assert denied.reason_code == "policy_denied"
    failed = replace(ASK, arguments={"path": 5}).decide(here, 2.0, known)
    assert failed.reason_code == "policy_error"
    # Another policy decides this one, so its row is another's too.
    permitted = replace(ASK, arguments={"path": "/tmp/x"}).decide(here, 2.0, known)
    assert len(permitted.policy_ids) == 1
    assert replace(ASK, arguments={"path": "/home"}).decide(here, 3.0, known).policy_ids == ()


def test_what_has_to_be_had_for_each_call_is_never_found_again() -> None:
    quota = '@quota("2 per day") forbid (principal, action == Action::"call_tool", resource);'
    known, here = KnownDecisions(), view(context=_judging(quota))
    first = ASK.decide(here, 1.0, known)
    again = ASK.decide(here, 1.0, known)
    assert first.allowed
    assert first.quotas
    assert again is not first


def test_nothing_is_kept_alive_that_policies_were_compiled_to_before_the_last_change() -> None:
    known, policies = KnownDecisions(), GrantedIsAllowed()
    compiled = weakref.ref(policies)
    old, new = (
        view(context=PolicyContext(1, 1, policies)),
        view(context=PolicyContext(1, 2, GrantedIsAllowed())),
    )
    del policies
    assert ASK.decide(old, 1.0, known).allowed
    kept = ASK.decide(new, 1.0, known)
    del old
    gc.collect()
    assert compiled() is None
    assert ASK.decide(new, 2.0, known) is kept
