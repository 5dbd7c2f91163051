"""The evaluator agrees with Cedar over the whole set, also for values made to evade policies."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.access.policy.compiled import Mode, PublishedPolicy, compile_policy
from app.access.policy.evaluator import Evaluator, Outcome, Rules, Selector, engine_input_of
from app.domain.policy import (
    Act,
    ApprovalDemand,
    CallerProgram,
    Effect,
    PolicyInput,
    PolicyVerdict,
    QuotaDemand,
)
from app.lib.ids import GROUP, TOKEN, format_id
from tests.features.policies.oracle import found_by_cedar, reads_arguments, verdict_of
from tests.features.policies.worlds import (
    GROUPS,
    NOON,
    PEOPLE,
    SERVERS,
    TOKENS,
    TRICKS,
    VALUES,
    Drawn,
    call,
    person,
    policy,
    token_of,
)  # fmt: skip

FORBID = "forbid (principal, action, resource)"
BERLIN = ZoneInfo("Europe/Berlin")
PAY = SERVERS[0]


def evaluator(*policies: PublishedPolicy | str, permits: bool = True, zone: ZoneInfo = BERLIN) -> Evaluator:
    found = [policy(each) if isinstance(each, str) else each for each in policies]
    return Evaluator(map(compile_policy, found), Rules(zone, permits))


def _result_of(verdict: PolicyVerdict) -> tuple[object, ...]:
    return verdict.effect, verdict.reason_code, frozenset(verdict.policy_ids), frozenset(verdict.observed)


@given(st.integers(0, 2**64), st.booleans())
@settings(max_examples=25, deadline=None)
def test_no_call_is_decided_otherwise_than_by_cedar_over_the_whole_set(seed: int, permits: bool) -> None:
    _compare(Drawn(random.Random(seed)), permits=permits)


@pytest.mark.slow
def test_no_call_of_many_is_decided_otherwise_than_by_cedar_over_the_whole_set() -> None:
    for seed in range(300):
        _compare(Drawn(random.Random(seed)), permits=seed % 2 == 0)


def _compare(drawn: Drawn, *, permits: bool) -> None:
    policies = [drawn.policy() for _ in range(8)]
    tested = evaluator(*policies, permits=permits)
    requests = [drawn.request() for _ in range(8)]
    # In any order and repeated, since results for one call may be reused for another.
    for request in (*requests, *drawn.random.sample(requests, 8)):
        if request.arguments is None and any(map(reads_arguments, policies)):
            _shown_where_some_call_is_not_denied(tested, request)
            continue
        found = found_by_cedar(policies, request, BERLIN)
        verdict = tested.evaluate(request)
        assert _result_of(verdict) == verdict_of(found, permits=permits)
        considered = {each.policy.published: each.outcome for each in tested.consider(request)}
        for each, how in found.items():
            assert (considered[each] is Outcome.SATISFIED) == (how == "satisfied")
            assert (considered[each] is Outcome.FAILED) == (how == "failed")


def _shown_where_some_call_is_not_denied(tested: Evaluator, request: PolicyInput) -> None:
    if tested.evaluate(request).effect is Effect.DENY and request.act is not Act.USE_SERVER:
        for number in range(3):
            arguments = {name: values[number % len(values)] for name, values in VALUES.items()}
            assert tested.evaluate(replace(request, arguments=arguments)).effect is Effect.DENY


@given(st.integers(0, 2**64))
@settings(max_examples=25, deadline=None)
def test_no_value_that_cannot_be_represented_slips_past_a_policy_that_reads_it(seed: int) -> None:
    drawn = Drawn(random.Random(seed))
    policies = [drawn.policy() for _ in range(6)]
    tested = evaluator(*policies)
    for _ in range(6):
        request = drawn.request(tricks=True)
        if request.arguments is None:
            continue
        text_warnings = [name for name, value in request.arguments.items() if _is_odd(name, value)]
        found = found_by_cedar(policies, request, BERLIN)
        verdict = tested.evaluate(request)
        concerned = [each for each in policies if any(reads_arguments(each, name) for name in text_warnings)]
        if not concerned:
            assert _result_of(verdict) == verdict_of(found, permits=True)
        elif any(found[each] == "failed" and each.mode is Mode.ENFORCE for each in policies):
            # Without the value a policy fails, so any given value must be evaluated.
            assert verdict.reason_code == "policy_error"


def _is_odd(name: str, value: object) -> bool:
    return not any(value is each for each in VALUES[name])


def _sees(condition: str, arguments: Any, **more: Any) -> str:
    """The result of a policy with this condition for a call: denied, error, or nothing."""
    on = call(PEOPLE[1], PAY, arguments=arguments, **more)
    verdict = evaluator(f"forbid (principal, action, resource) when {{ {condition} }};").evaluate(on)
    return {"policy_denied": "met", "policy_error": "error", "granted": "not met"}[verdict.reason_code]


@pytest.mark.parametrize("value", TRICKS, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("name", ["amount", "fee", "path", "tags", "to", "free"])
def test_a_value_of_another_type_than_the_schema_declares_denies(name: str, value: object) -> None:
    fits = {"fee": ("5.5",), "path": ("'5'",), "free": ("True", "'5'")}
    if repr(value) in fits.get(name, ()):
        return
    condition = f"context.arguments has {name}"
    assert _sees(condition, {name: value}) == "error"
    # Policies that do not read it are decided as usual.
    assert _sees("context.arguments has other", {name: value}) == "not met"
    assert _sees("context.arguments == {}", {name: value}) == "error"


@pytest.mark.parametrize(
    ("condition", "arguments", "seen"),
    [
        ("context.arguments.amount > 100", {"amount": 101}, "met"),
        ("context.arguments.amount > 100", {"amount": None}, "error"),
        ("context.arguments.amount > 100", {}, "error"),
        ("context.arguments has amount", {"amount": None}, "not met"),
        ("context.arguments.amount == 9223372036854775807", {"amount": 2**63 - 1}, "met"),
        ("context.arguments.amount == -9223372036854775808", {"amount": -(2**63)}, "met"),
        ('context.arguments.fee == decimal("5.0")', {"fee": 5}, "met"),
        ('context.arguments.fee == decimal("0.1")', {"fee": 0.1}, "met"),
        ('context.arguments.fee == decimal("-0.0001")', {"fee": -0.0001}, "met"),
        ('context.arguments.fee == decimal("0.0")', {"fee": -0.0}, "met"),
        ('context.arguments.fee == decimal("922337203685477.5807")', {"fee": 922337203685477.5}, "not met"),
        ("context.arguments has fee", {"fee": 922337203685478}, "error"),
        ("context.arguments has fee", {"fee": float("nan")}, "error"),
        ('context.arguments.tags.containsAll(["a", "b"])', {"tags": ["b", "a", "b"]}, "met"),
        ("context.arguments.tags.isEmpty()", {"tags": []}, "met"),
        ('context.arguments.to == {iban: "DE"}', {"to": {"iban": "DE", "note": None}}, "met"),
        ("context.arguments.to.more == [1, 2]", {"to": {"more": [2, 1]}}, "met"),
        ('context.arguments["__entity"] == "x"', {"__entity": "x"}, "error"),
        ('context.arguments.path == "a\\u{0}\\"\\u{1F600}"', {"path": 'a\0"\U0001f600'}, "met"),
        ("context.arguments has amount", {"amount": 1, "free": 1.5}, "met"),
        ('context.ip == ip("10.0.0.1")', {}, "error"),
        # Decided without the engine where it is false.
        ('context.arguments.path like "*aa*aa*"', {"path": "aaa"}, "not met"),
        ('context.arguments.path like "*aa*aa*"', {"path": "aaaa"}, "met"),
        ('context.arguments.path like "a*a"', {"path": "a"}, "not met"),
        ('context.arguments.path like "*"', {"path": ""}, "met"),
        ('context.arguments.path like "a\\*b*"', {"path": "axb"}, "not met"),
        ('context.arguments.path like "a\\*b*"', {"path": "a*b"}, "met"),
        ('context.arguments.fee["__extn"]["fn"] == "x"', {"fee": 1}, "error"),
        ("context.arguments.fee has fn", {"fee": 1}, "error"),
        ("context.arguments.free == 1", {"free": True}, "not met"),
        ("context.arguments.free == 1 || context.arguments.amount > 1", {"free": "1"}, "error"),
        ("false && context.arguments.amount > 1 || context.arguments.path < 1", {"path": "x"}, "error"),
    ],
)
def test_arguments_are_read_exactly_as_they_were_sent(condition: str, arguments: Any, seen: str) -> None:
    assert _sees(condition, arguments) == seen


def test_an_object_in_an_argument_is_no_entity() -> None:
    forged = {"__entity": {"type": "Group", "id": format_id(GROUP, GROUPS[0])}}
    for name in ("free", "to"):
        assert (
            _sees(f"context.arguments has {name} && context.arguments.{name} != 1", {name: forged}) == "error"
        )
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert _sees("context.arguments has free", {"free": deep}) == "error"


def test_an_observed_policy_never_decides_and_tells_what_it_would_have_made_stricter() -> None:
    denying = policy(
        "forbid (principal, action, resource) when { context.arguments.amount > 1 };", Mode.OBSERVE
    )
    asking = policy(
        '@require_approval("leads") forbid (principal, action == Action::"call_tool", resource);',
        Mode.OBSERVE,
    )
    permit = policy("permit (principal, action, resource);", Mode.OBSERVE)
    tested = evaluator(denying, asking, permit)
    for arguments, observed in (
        ({"amount": 2}, (denying, asking)),
        ({"amount": 1}, (asking,)),
        ({"amount": "2"}, (denying, asking)),
        (None, (asking,)),
    ):
        verdict = tested.evaluate(call(PEOPLE[0], PAY, arguments=arguments))
        assert (verdict.effect, set(verdict.observed)) == (Effect.ALLOW, {each.id for each in observed})
    absent = policy(f"{FORBID} unless {{ context.arguments has amount }};", Mode.OBSERVE)
    verdict = evaluator(absent).evaluate(call(PEOPLE[0], PAY, arguments={"amount": "2"}))
    assert (verdict.effect, verdict.observed) == (Effect.ALLOW, (absent.id,))
    # Nothing overrides a denial; an observed permit permits nothing.
    strict = evaluator(denying, asking, permit, permits=False).evaluate(
        call(PEOPLE[0], PAY, arguments={"amount": 2})
    )
    assert (strict.reason_code, strict.observed) == ("policy_not_permitted", ())


def test_the_verdict_tells_what_is_demanded_and_why() -> None:
    ask = policy(
        '@reason("big") @require_approval("leads") forbid (principal, action == Action::"call_tool", resource);'
    )
    quota = policy(
        '@quota("2 per day") @reason("few") forbid (principal, action == Action::"call_tool", resource);'
    )
    broken = policy('forbid (principal, action, resource) when { principal.getTag("x") == "y" };')
    request = call(PEOPLE[0], PAY, arguments={})
    verdict = evaluator(ask, quota).evaluate(request)
    key = f"{quota.id}/{PEOPLE[0].id}/{PAY.tools['pay'].id}"
    # On the day when summer time begins: 23 hours.
    start = datetime(2026, 3, 28, 23, tzinfo=UTC).timestamp()
    assert verdict.asks == (ApprovalDemand(ask.id, 1, "leads", "big"),)
    assert verdict.quotas == (QuotaDemand(quota.id, key, 2, start, start + 23 * 3600, "few"),)
    assert (verdict.effect, verdict.policy_ids, verdict.reasons) == (
        Effect.REQUIRE_APPROVAL,
        (ask.id,),
        ("big",),
    )
    assert evaluator(quota).evaluate(request).policy_ids == (quota.id,)
    denied = evaluator(ask, quota, broken).evaluate(request)
    assert (denied.reason_code, denied.policy_ids, denied.asks, denied.quotas) == (
        "policy_error",
        (broken.id,),
        (),
        (),
    )
    assert "does not have the tag `x`" in denied.reasons[0]


def test_what_a_failure_tells_holds_no_value_of_the_call() -> None:
    for condition, value in (
        ("ip(context.arguments.path).isIpv4()", {"path": "sw0rdfish"}),
        ("context.arguments.amount * 2 > 1", {"amount": 9123456789012345678}),
        ("context.arguments.path > 1", {"path": "sw0rdfish"}),
    ):
        tested = evaluator(f"forbid (principal, action, resource) when {{ {condition} }};")
        request = call(PEOPLE[0], PAY, arguments=value)
        text = f"{tested.evaluate(request)} {tested.consider(request)[0].message}"
        assert "error" in text
        assert "sw0rdfish" not in text
        assert "9123456789012345678" not in text


def test_where_grants_alone_do_not_permit_a_policy_has_to() -> None:
    permit = (
        'permit (principal, action == Action::"call_tool", resource) when { context.arguments.amount < 5 };'
    )
    tested = evaluator(permit, permits=False)
    codes = [
        tested.evaluate(call(PEOPLE[0], PAY, arguments=arguments)).reason_code
        for arguments in ({"amount": 4}, {"amount": 5}, None)
    ]
    assert codes == ["granted", "policy_not_permitted", "granted"]
    assert (
        tested.evaluate(call(PEOPLE[0], PAY, act=Act.USE_SERVER, tool=None)).reason_code
        == "policy_not_permitted"
    )


def test_a_policy_that_does_not_compile_denies_all_that_it_could_be_about() -> None:
    for text in ("forbid (principal, action, resource) when { context.novel ?? 1 };", "",
                 "permit (principal, action, resource);" * 2,
                 '@quota("many") forbid (principal, action == Action::"call_tool", resource);',
                 '@require_approval("x") permit (principal, action == Action::"call_tool", resource);',
                 f"{FORBID} when {{ {'(' * 3000}true{')' * 3000} }};", f"{FORBID} when {{ {'!' * 4000}true }};",
                 "forbid (principal == ?principal, action, resource);"):  # fmt: skip
        tested = evaluator(text, "permit (principal, action, resource);")
        for request in (call(PEOPLE[0], PAY), call(PEOPLE[0], PAY, act=Act.USE_SERVER, tool=None)):
            assert tested.evaluate(request).reason_code == "policy_error"
            assert tested.consider(request)[0].outcome is Outcome.FAILED
        assert evaluator(policy(text, Mode.OBSERVE)).evaluate(request).effect is Effect.ALLOW


def test_a_verdict_says_for_which_calls_and_how_long_it_holds() -> None:
    group = format_id(GROUP, GROUPS[1])
    for text, reads_call, reads_groups, timed in (
        ("forbid (principal, action, resource);", False, False, False),
        (f'forbid (principal in Group::"{group}", action, resource);', False, True, False),
        (f'forbid (principal, action, resource) unless {{ principal in Group::"{group}" }};', False, True, False),
        (f'forbid (principal in Group::"{format_id(GROUP, GROUPS[2])}", action, resource);', False, False, False),
        ("forbid (principal, action, resource) when { context.time.hour > 25 };", False, False, True),
        ("forbid (principal, action, resource) when { context.token.depth > 9 };", False, False, False),
        ("forbid (principal, action, resource) when { context has ip };", True, False, False),
        (f'{FORBID} when {{ principal.kind == "agent" && context has ip }};', False, False, False),
        (f'{FORBID} unless {{ principal.kind == "person" || context has ip }};', False, False, False),
        (f"{FORBID} when {{ context.arguments.amount > context.time.hour }};", True, False, True),
        ('@quota("2 per day") forbid (principal, action == Action::"call_tool", resource);', False, False, True),
    ):  # fmt: skip
        verdict = evaluator(text).evaluate(call(PEOPLE[2], PAY, arguments={}, at=NOON + 90))
        assert (verdict.reads_call, verdict.reads_groups) == (reads_call, reads_groups), text
        assert (verdict.valid_from, verdict.valid_until) == (
            (NOON + 60, NOON + 120) if timed else (-float("inf"), float("inf"))
        )


@pytest.mark.parametrize(
    ("zone", "at", "local"),
    [
        ("Europe/Berlin", datetime(2026, 3, 29, 0, 59, tzinfo=UTC), (1, 59, "sunday", "2026-03-29")),
        ("Europe/Berlin", datetime(2026, 3, 29, 1, 0, tzinfo=UTC), (3, 0, "sunday", "2026-03-29")),
        ("Europe/Berlin", datetime(2026, 10, 25, 0, 30, tzinfo=UTC), (2, 30, "sunday", "2026-10-25")),
        ("Europe/Berlin", datetime(2026, 10, 25, 1, 30, tzinfo=UTC), (2, 30, "sunday", "2026-10-25")),
        ("Pacific/Auckland", datetime(2026, 12, 31, 11, 0, tzinfo=UTC), (0, 0, "friday", "2027-01-01")),
        ("Asia/Kathmandu", datetime(2026, 6, 1, 18, 15, 59, tzinfo=UTC), (0, 0, "tuesday", "2026-06-02")),
    ],
)
def test_time_is_that_of_the_named_zone(zone: str, at: datetime, local: tuple[int, int, str, str]) -> None:
    hour, minute, weekday, date = local
    text = f"""forbid (principal, action, resource) when {{
        context.time.hour == {hour} && context.time.minute == {minute} && context.time.weekday == "{weekday}"
        && context.time.minute_of_day == {hour * 60 + minute} && context.time.date == datetime("{date}") }};"""
    tested = evaluator(text, zone=ZoneInfo(zone))
    assert tested.evaluate(call(PEOPLE[0], PAY, at=at.timestamp())).reason_code == "policy_denied"
    assert tested.evaluate(call(PEOPLE[0], PAY, at=at.timestamp() + 60)).reason_code == "granted"


def test_quotas_and_days_follow_the_clock_of_the_zone_through_its_changes() -> None:
    for zone, hours in (("Europe/Berlin", {23, 24, 25}), ("Africa/Cairo", {23, 24, 25}), ("UTC", {24})):
        rules = Rules(ZoneInfo(zone))
        day, lengths = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone)).timestamp(), set()
        for _ in range(365):
            start, end = rules.day(day)
            assert start == day
            lengths.add((end - start) / 3600)
            assert rules.day(end - 1) == (start, end)
            day = end
        assert lengths == hours


def test_it_rests_on_the_groups_of_an_owner_where_a_policy_names_one_of_them() -> None:
    agent = PEOPLE[3]
    for number, rests in ((0, False), (1, True)):
        group = format_id(GROUP, GROUPS[number])
        text = f'{FORBID} when {{ principal has owner && principal.owner in Group::"{group}" }};'
        verdict = evaluator(text).evaluate(call(agent, PAY))
        assert (verdict.reads_groups, verdict.effect is Effect.DENY) == (rests, rests)


def test_a_request_that_the_engine_cannot_take_fails_every_policy_it_was_asked_about() -> None:
    compiled = [compile_policy(policy(f"{FORBID} when {{ context.x == {number} }};")) for number in range(2)]
    selector, request = Selector(compiled), call(PEOPLE[0], PAY)
    for context in ('{"x": null}', '{"x": 1.5}', "no json", '{"x": {"__expr": "1"}}'):
        assert selector.ask(engine_input_of(request), (0, 1), context).failed.keys() == {0, 1}
    assert selector.ask(engine_input_of(request), (0, 1), '{"x": 1}').satisfied == (1,)


def test_an_attenuated_token_is_judged_by_its_own_depth_and_id() -> None:
    parent = token_of(PEOPLE[0])
    child = token_of(PEOPLE[0], parent)
    is_parent = f'context.token.id == "{format_id(TOKEN, parent.id)}"'
    tested = evaluator(f"{FORBID} when {{ context.token.depth > 0 && !({is_parent}) }};")
    for _ in range(2):
        assert tested.evaluate(call(child, PAY)).effect is Effect.DENY
        assert tested.evaluate(call(parent, PAY)).effect is Effect.ALLOW


def test_what_was_found_for_one_version_of_an_object_is_not_used_for_another() -> None:
    group = format_id(GROUP, GROUPS[0])
    tested = evaluator(
        f'forbid (principal in Group::"{group}", action, resource);',
        'forbid (principal, action, resource) when { resource is Tool && resource.risk == "destructive" };',
    )
    before = person()
    joined = replace(before, version=2, groups=((GROUPS[0], 1),))
    riskier = replace(PAY, version=2, tools={"pay": PAY.tools["drop"]})
    for _ in range(2):
        assert tested.evaluate(call(before, PAY)).effect is Effect.ALLOW
        assert tested.evaluate(call(joined, PAY)).effect is Effect.DENY
        assert tested.evaluate(call(before, riskier)).effect is Effect.DENY


def test_the_engine_is_asked_again_for_whatever_a_policy_reads_that_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    ask = Selector.ask

    def counted(self: Selector, engine_input: Any, numbers: Any, context: str, **others: Any) -> Any:
        asked.append(context)
        return ask(self, engine_input, numbers, context, **others)

    monkeypatch.setattr(Selector, "ask", counted)
    home = 'context has ip && context.ip.isInRange(ip("10.0.0.0/8"))'
    named = 'context.client has name && context.client.name like "c*" && context.client has version'
    tested = evaluator(f"{FORBID} unless {{ {home} && ({named} || context.time.hour > 5) }};")
    night = NOON - 9 * 3600
    inside, outside = ip_address("10.1.2.3"), ip_address("192.0.2.1")
    cases = [
        (call(TOKENS[0], PAY, address=inside), Effect.ALLOW),
        (call(TOKENS[0], PAY, address=outside), Effect.DENY),
        (call(TOKENS[0], PAY), Effect.DENY),
        (call(TOKENS[0], PAY, address=inside, at=night), Effect.DENY),
        (call(TOKENS[0], PAY, address=inside, at=night, program=CallerProgram("c", "1")), Effect.ALLOW),
        (call(TOKENS[0], PAY, address=inside, at=night, program=CallerProgram("d", "1")), Effect.DENY),
        (call(TOKENS[1], PAY, address=inside), Effect.ALLOW),
        (call(TOKENS[0], SERVERS[1], address=inside), Effect.ALLOW),
    ]
    for request, effect in cases:
        assert tested.evaluate(request).effect is effect
    once = len(asked)
    assert once >= len(cases)
    for request, effect in reversed(cases):
        assert tested.evaluate(request).effect is effect
    assert len(asked) == once

    of_some = evaluator(f'{FORBID} when {{ context has ip && principal.hasTag("department") }};')
    for _ in range(2):
        assert of_some.evaluate(call(TOKENS[0], PAY, address=inside)).effect is Effect.ALLOW
        assert of_some.evaluate(call(TOKENS[1], PAY, address=inside)).effect is Effect.DENY

    theirs = 'principal.hasTag("department") && context.arguments.path == principal.getTag("department")'
    reading = evaluator(f"{FORBID} when {{ {theirs} }};")
    for _ in range(2):
        assert reading.evaluate(call(TOKENS[1], PAY, arguments={"path": "finance"})).effect is Effect.DENY
        assert reading.evaluate(call(TOKENS[1], PAY, arguments={"path": "x"})).effect is Effect.ALLOW
    assert len([context for context in asked if "arguments" in context]) == 4
