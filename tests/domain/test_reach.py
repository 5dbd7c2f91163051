"""The reach of an identity follows ``decide``, including policies, approvals and times."""

from math import inf

import pytest

from app.domain.access import PolicyContext
from app.domain.objects import Grant, Identity, IdentityStatus, Server, Tool, ToolState
from app.domain.policy import Effect, GrantedIsAllowed, PolicyInput, PolicyVerdict
from app.domain.reach import Reach, reach, stop_reason, tally
from app.domain.risk import Risk
from app.domain.scopes import (
    AllServers,
    AllTools,
    ServersByIds,
    ServersByLabels,
    ServerSelector,
    ToolsByNames,
)
from app.domain.visibility import make_directory
from app.lib.ids import new_id
from tests.domain.worlds import at_once

NOW = 1_000.0


class Cautious:
    """Requires approval for one tool and forbids another."""

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        name = None if request.tool is None else request.tool.name
        if name == "wipe":
            return PolicyVerdict(Effect.DENY, "forbidden_by_policy")
        if name == "change":
            return PolicyVerdict(Effect.REQUIRE_APPROVAL, "approval_needed")
        return GrantedIsAllowed().evaluate(request)


def tool(name: str, state: ToolState = ToolState.ACTIVE) -> Tool:
    return Tool(new_id(), name, Risk.READ, state, b"digest")


def server() -> Server:
    tools = (tool("look"), tool("change"), tool("wipe"), tool("new", ToolState.QUARANTINED))
    return Server(new_id(), 1, "notes", enabled=True, tools={one.name: one for one in tools})


def grant(tools: AllTools | ToolsByNames, not_before: float = -inf, expires_at: float = inf) -> Grant:
    return Grant(new_id(), 1, AllServers(), tools, False, False, not_before, expires_at)


def person(*grants: Grant, status: IdentityStatus = IdentityStatus.ACTIVE) -> Identity:
    return Identity(new_id(), 1, status, grants=grants)


def ask(identity: Identity, policies: GrantedIsAllowed | Cautious, at: float = NOW) -> Reach | None:
    return found(identity, server(), policies, at)


def found(
    identity: Identity, of: Server, policies: GrantedIsAllowed | Cautious, at: float = NOW
) -> Reach | None:
    return at_once(reach(identity, of, PolicyContext(1, 1, policies), at))


def test_policy_decides_as_for_a_call() -> None:
    reached = ask(person(grant(AllTools())), Cautious())
    assert reached is not None
    assert [(one.name, decision.effect, decision.reason_code) for one, decision in reached.tools] == [
        ("change", Effect.REQUIRE_APPROVAL, "approval_needed"),
        ("look", Effect.ALLOW, "granted"),
    ]


def test_the_grant_that_is_named_is_the_first_that_gives_it() -> None:
    first, second = grant(ToolsByNames(frozenset({"look"}))), grant(AllTools())
    reached = ask(person(first, second), GrantedIsAllowed())
    assert reached is not None
    assert {one.name: decision.grant_id for one, decision in reached.tools} == {
        "look": first.id, "change": second.id, "wipe": second.id,
    }  # fmt: skip


@pytest.mark.parametrize(("at", "within"), [(9.0, False), (10.0, True), (19.0, True), (20.0, False)])
def test_a_grant_counts_inside_its_window_alone(at: float, *, within: bool) -> None:
    reached = ask(person(grant(AllTools(), not_before=10.0, expires_at=20.0)), GrantedIsAllowed(), at)
    assert (reached is not None) is within


def test_a_server_that_is_switched_off_is_out_of_reach() -> None:
    off = Server(new_id(), 1, "notes", enabled=False, tools={"look": tool("look")})
    assert found(person(grant(AllTools())), off, GrantedIsAllowed()) is None


@pytest.mark.parametrize("status", [IdentityStatus.SUSPENDED, IdentityStatus.OFFBOARDED])
def test_a_stopped_identity_reaches_nothing(status: IdentityStatus) -> None:
    identity = person(grant(AllTools()), status=status)
    assert stop_reason(identity, NOW) == f"identity_{status}"
    assert ask(identity, GrantedIsAllowed()) is None
    assert stop_reason(person(), NOW) is None


@pytest.mark.parametrize("size", [3, 1_000])
def test_what_no_grant_names_is_what_is_out_of_reach(size: int) -> None:
    """So that in a large fleet only few servers are read and decided."""
    fleet = [
        Server(new_id(), 1, f"s-{n}", enabled=True, labels={"env": "prod" if n % 3 else "test"}, tools={})
        for n in range(size)
    ]
    directory = make_directory({one.id: one for one in fleet})
    of_ids, of_labels = ServersByIds(frozenset({fleet[0].id})), ServersByLabels(frozenset({("env", "test")}))
    nobody: tuple[ServerSelector, ...] = ()
    for selectors in (nobody, (of_ids,), (of_labels,), (of_ids, of_labels), (AllServers(),)):
        grants = [Grant(new_id(), 1, selector, AllTools(), True, True) for selector in selectors]
        somebody = person(*grants)
        context = PolicyContext(1, 1, GrantedIsAllowed())
        reached = {one.id for one in fleet if at_once(reach(somebody, one, context, NOW)) is not None}
        assert reached == {
            one.id for one in fleet if at_once(tally(somebody, one, context, NOW, most=1)).reached
        }
        assert {one.id for one in directory.named_by(selectors)} == reached
