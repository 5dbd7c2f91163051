"""The published policies as one evaluator: what ``decide`` asks of every request.

``evaluator_of`` and ``compile_with`` make evaluators of other sets as well, such as the published set with a change.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache, reduce
from math import inf
from operator import or_
from uuid import UUID
from zoneinfo import ZoneInfo

from app.access.policy.analysis import Part, Reads, ruled_out
from app.access.policy.compiled import CompiledPolicy, Findings, PublishedPolicy, compile_policy
from app.access.policy.mapping import arguments_of, client_of, ip_of, time_of, token_of
from app.access.policy.selection import EngineInput, Numbers, Pace, Recent, Selection, Selector
from app.domain.policy import (
    Act,
    ApprovalDemand,
    Effect,
    PolicyEvaluator,
    PolicyInput,
    PolicyVerdict,
    QuotaDemand,
)

_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a deployment has settled for all policies: its zone of time, and whether grants alone permit."""

    zone: ZoneInfo = _UTC
    permits_by_default: bool = True

    def local(self, at: float) -> datetime:
        """The local time."""
        return datetime.fromtimestamp(at, self.zone)

    def day(self, at: float) -> tuple[float, float]:
        """The local day around a time, in Unix seconds; on two days of a year these are not 24 hours."""
        today = self.local(at).date()
        return self._midnight(today), self._midnight(today + timedelta(days=1))

    def _midnight(self, day: date) -> float:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()


@dataclass(frozen=True, slots=True)
class Validity:
    """When, and for which other requests, a verdict holds as well: see ``PolicyVerdict``."""

    reads_call: bool
    reads_groups: bool
    valid_from: float = -inf
    valid_until: float = inf


def verdict_of(
    policies: Sequence[CompiledPolicy],
    findings: Findings,
    request: PolicyInput,
    rules: Rules,
    validity: Validity,
) -> PolicyVerdict:
    """The verdict on a request with these findings."""
    if rules.permits_by_default and not findings.satisfied and not findings.failed:
        return PolicyVerdict(
            Effect.ALLOW,
            "granted",
            (),
            validity.valid_from,
            validity.valid_until,
            validity.reads_call,
            validity.reads_groups,
        )
    satisfied = [policies[number] for number in findings.satisfied]
    failed = [policies[number] for number in sorted(findings.failed)]
    effect, reason_code, deciding = _decided(
        [policy for policy in satisfied if policy.enforced],
        [policy for policy in failed if policy.enforced],
        rules.permits_by_default or any(_may_permit(policies[number]) for number in findings.aside),
    )
    observed = [policy for policy in failed if not policy.enforced]
    if effect is not Effect.DENY:
        observed += [policy for policy in satisfied if not policy.enforced and not policy.permits]
    asks, quotas = _demands(effect, satisfied, request, rules)
    return PolicyVerdict(
        effect,
        reason_code,
        _ids(deciding),
        validity.valid_from,
        validity.valid_until,
        validity.reads_call,
        validity.reads_groups,
        asks,
        quotas,
        _ids(observed),
        () if effect is Effect.ALLOW else _reasons(reason_code, deciding, policies, findings),
    )


def _may_permit(policy: CompiledPolicy) -> bool:
    return policy.enforced and policy.permits


def _decided(
    satisfied: list[CompiledPolicy], failed: list[CompiledPolicy], permitted: bool
) -> tuple[Effect, str, list[CompiledPolicy]]:
    """What the enforced policies make of it, and which of them do."""
    if failed:
        return Effect.DENY, "policy_error", failed
    denying = [policy for policy in satisfied if policy.denies]
    if denying:
        return Effect.DENY, "policy_denied", denying
    permitting = [policy for policy in satisfied if policy.permits]
    if not permitting and not permitted:
        return Effect.DENY, "policy_not_permitted", []
    asking = [policy for policy in satisfied if policy.group is not None]
    if asking:
        return Effect.REQUIRE_APPROVAL, "approval_required", asking
    return Effect.ALLOW, "granted", permitting + [policy for policy in satisfied if policy.quota is not None]


def _demands(
    effect: Effect, satisfied: list[CompiledPolicy], request: PolicyInput, rules: Rules
) -> tuple[tuple[ApprovalDemand, ...], tuple[QuotaDemand, ...]]:
    """What has to be had before the call runs: of what is denied, nothing."""
    demanding = () if effect is Effect.DENY else tuple(policy for policy in satisfied if policy.enforced)
    asks = tuple(
        ApprovalDemand(policy.published.id, policy.published.version, policy.group, policy.reason)
        for policy in demanding
        if policy.group is not None
    )
    counting = [policy for policy in demanding if policy.quota is not None]
    return asks, tuple(_quota(policy, request, rules) for policy in counting)


def _quota(policy: CompiledPolicy, request: PolicyInput, rules: Rules) -> QuotaDemand:
    used = request.server.id if request.tool is None else request.tool.id
    key = f"{policy.published.id}/{request.token.identity.id}/{used}"
    return QuotaDemand(policy.published.id, key, policy.quota or 0, *rules.day(request.at), policy.reason)


def _ids(policies: Iterable[CompiledPolicy]) -> tuple[UUID, ...]:
    return tuple(policy.published.id for policy in policies)


def _reasons(
    reason_code: str, deciding: list[CompiledPolicy], policies: Sequence[CompiledPolicy], findings: Findings
) -> tuple[str, ...]:
    if reason_code != "policy_error":
        return tuple(policy.reason for policy in deciding if policy.reason is not None)
    messages = (findings.failed[number] for number in sorted(findings.failed) if policies[number].enforced)
    return tuple(dict.fromkeys(messages))


_SELECTIONS = 4096
_PACES = 64
_READS = 512
_FOUND = 2048
_FEW = 4
_MINUTE_S = 60
_DEFAULT_RULES = Rules()


class Outcome(StrEnum):
    """What a policy did about a request, or what kept it from doing anything."""

    PRINCIPAL = "principal"
    ACTION = "action"
    RESOURCE = "resource"
    CONDITION = "condition"
    ARGUMENTS_UNKNOWN = "arguments_unknown"
    SATISFIED = "satisfied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Considered:
    """One policy of the set and what became of it. ``message`` says why it failed."""

    policy: CompiledPolicy
    outcome: Outcome
    message: str | None = None


class Evaluator:
    """A compiled policy set. It answers from its input alone; what it keeps only saves asking the engine again."""

    def __init__(self, policies: Iterable[CompiledPolicy], rules: Rules = _DEFAULT_RULES) -> None:
        self.policies = tuple(policies)
        self._rules = rules
        self._selector = Selector(self.policies)
        self._selections: Recent[tuple[int, int, int, Act], Selection] = Recent(_SELECTIONS)
        self._reads: Recent[Numbers, Reads] = Recent(_READS)
        self._found: Recent[tuple[EngineInput | None, Numbers, str], Findings] = Recent(_FOUND)
        self._minute = -inf
        self._times: dict[frozenset[str] | None, dict[str, object]] = {}

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        """Decide one request. An error inside a policy is a deny with ``policy_error``, never a permit."""
        selection = self._selection(request)
        findings, verdict = self._settled(selection, request)
        if verdict is not None:
            return verdict
        findings += self._asked(selection.engine_input, selection.calling, request)
        return self._judged(selection, findings, request)

    def reads_arguments(self, request: PolicyInput) -> bool:
        """Whether a policy that concerns a request like this one reads the arguments, whatever they are."""
        return Part.ARGUMENTS in self._read_by(self._selection(request).calling).parts

    def consider(self, request: PolicyInput) -> list[Considered]:
        """What each policy of the set did about a request, or what kept it from doing anything."""
        selection = self._selection(request)
        found = self._settled(selection, request)[0]
        found += self._asked(selection.engine_input, selection.calling, request)
        outcomes = {
            **dict.fromkeys(self._selector.concerned(request), Outcome.CONDITION),
            **dict.fromkeys(found.aside, Outcome.ARGUMENTS_UNKNOWN),
            **dict.fromkeys(found.satisfied, Outcome.SATISFIED),
            **dict.fromkeys(found.failed, Outcome.FAILED),
        }
        return [
            Considered(policy, outcomes.get(number) or _kept_out(policy, request), found.failed.get(number))
            for number, policy in enumerate(self.policies)
        ]

    def _selection(self, request: PolicyInput) -> Selection:
        key = (id(request.token.identity), id(request.server), id(request.tool), request.act)
        selection = self._selections.get(key)
        if selection is None:
            selection = self._selector.select(request)
            self._selections.put(key, selection)
        return selection

    def _settled(self, selection: Selection, request: PolicyInput) -> tuple[Findings, PolicyVerdict | None]:
        """What holds in this minute for this token; the verdict, where nothing reads more than that."""
        pace = self._pace(selection.paced, request)
        settled = selection.by_pace.get(pace)
        if settled is None:
            findings = selection.settled + self._asked(selection.engine_input, selection.paced, request)
            verdict = None if selection.calling else self._judged(selection, findings, request)
            if len(selection.by_pace) >= _PACES:
                selection.by_pace.clear()
            settled = selection.by_pace[pace] = findings, verdict
        return settled

    def _pace(self, paced: Numbers, request: PolicyInput) -> Pace:
        if not paced:
            return None, None
        parts = self._read_by(paced).parts
        return (
            request.at // _MINUTE_S if Part.TIME in parts else None,
            request.token.id if Part.TOKEN in parts else None,
        )

    def _judged(self, selection: Selection, findings: Findings, request: PolicyInput) -> PolicyVerdict:
        """The verdict: the very same one for calls of which the same was found, so that more need not be compared."""
        start, end = -inf, inf
        if Part.TIME in self._read_by(selection.paced + selection.calling).parts:
            start = request.at // _MINUTE_S * _MINUTE_S
            end = start + _MINUTE_S
        found = start, findings.satisfied, findings.aside
        verdict = None if findings.failed else selection.verdicts.get(found)
        if verdict is None:
            validity = Validity(bool(selection.calling), selection.reads_groups, start, end)
            verdict = verdict_of(self.policies, findings, request, self._rules, validity)
            if not findings.failed:
                if len(selection.verdicts) >= _PACES:
                    selection.verdicts.clear()
                selection.verdicts[found] = verdict
        return verdict

    def _asked(self, engine_input: EngineInput | None, numbers: Numbers, request: PolicyInput) -> Findings:
        """What these policies find, read with as much of the context as they read."""
        arguments = None if request.act is Act.USE_SERVER else request.arguments
        aside: Numbers = ()
        if arguments is None and Part.ARGUMENTS in self._read_by(numbers).parts:
            aside = tuple(number for number in numbers if self.policies[number].reads_arguments)
            numbers = tuple(number for number in numbers if not self.policies[number].reads_arguments)
        reads = self._read_by(numbers)
        mapped: Mapping[str, object] = {}
        faults: Mapping[str, str] = {}
        if arguments is not None and Part.ARGUMENTS in reads.parts:
            mapped, faults = arguments_of(request.act, request.tool, arguments, reads.of(Part.ARGUMENTS))
        context = self._context(reads, mapped, request)
        left = tuple(number for number in numbers if not ruled_out(self.policies[number].checks, context))
        if 0 < len(left) < len(numbers):
            # A few alone; of more there would be too many sets to keep.
            left = left if len(left) <= _FEW else numbers
            context = self._part_of(context, self._read_by(left))
        found = self._found_by_engine(engine_input, left, context)
        failed = {**found.failed, **self._unreadable(numbers, faults)} if faults else found.failed
        satisfied = tuple(number for number in found.satisfied if number not in failed)
        return Findings(satisfied, failed, aside)

    def _found_by_engine(
        self, engine_input: EngineInput | None, numbers: Numbers, context: Mapping[str, object]
    ) -> Findings:
        """What the engine finds: it goes by these alone, so that the same of them is asked once."""
        if not numbers:
            return Findings()
        asked = engine_input, numbers, json.dumps(context)
        if Part.ARGUMENTS in context:
            # They seldom come again, and are not ours to keep.
            return self._selector.ask(*asked)
        found = self._found.get(asked)
        if found is None:
            found = self._selector.ask(*asked)
            self._found.put(asked, found)
        return found

    def _unreadable(self, numbers: Numbers, faults: Mapping[str, str]) -> dict[int, str]:
        """The policies that read an argument which cannot be given to them, with why."""
        failed = {}
        for number in numbers:
            policy = self.policies[number]
            if not policy.reads_arguments:
                continue
            names = policy.reads.of(Part.ARGUMENTS)
            for name, fault in faults.items():
                if names is None or name in names:
                    failed[number] = f"it reads the argument `{name}`: {fault}"
        return failed

    def _context(
        self, reads: Reads, arguments: Mapping[str, object], request: PolicyInput
    ) -> dict[str, object]:
        parts = reads.parts
        context: dict[str, object] = {}
        if Part.ARGUMENTS in parts:
            context["arguments"] = arguments
        if Part.TIME in parts:
            context["time"] = self._time(request.at, reads.of(Part.TIME))
        if Part.CLIENT in parts:
            context["client"] = client_of(request.program, reads.of(Part.CLIENT))
        if Part.IP in parts and request.address is not None:
            context["ip"] = ip_of(request.address)
        if Part.TOKEN in parts:
            context["token"] = token_of(request.token)
        return context

    def _part_of(self, context: Mapping[str, object], reads: Reads) -> dict[str, object]:
        """As much of a context as is read: the engine takes its time over each member."""
        part = {name: context[name] for name in reads.parts if name in context}
        names = reads.of(Part.ARGUMENTS)
        arguments = part.get(Part.ARGUMENTS)
        if names is not None and isinstance(arguments, dict):
            part[Part.ARGUMENTS] = {name: value for name, value in arguments.items() if name in names}
        return {str(name): value for name, value in part.items()}

    def _time(self, at: float, names: frozenset[str] | None) -> dict[str, object]:
        """``context.time`` with the members that are read: the engine takes its time over each."""
        minute = at // _MINUTE_S
        if self._minute != minute:
            self._minute, self._times = minute, {}
        found = self._times.get(names)
        if found is None:
            found = self._times[names] = time_of(self._rules.local(minute * _MINUTE_S), names)
        return found

    def _read_by(self, numbers: Numbers) -> Reads:
        """What these policies read together."""
        reads = self._reads.get(numbers)
        if reads is None:
            reads = reduce(or_, (self.policies[number].reads for number in numbers), Reads())
            self._reads.put(numbers, reads)
        return reads


def _kept_out(policy: CompiledPolicy, request: PolicyInput) -> Outcome:
    found = policy.scope.refuses(request.act, request.token.identity, request.server, request.tool)
    return Outcome.CONDITION if found is None else Outcome(found)


_KEPT = 4096
Changes = Mapping[UUID, PublishedPolicy | None]
"""By policy: what is published of it instead, or that nothing is."""


def changed_set(published: Sequence[PublishedPolicy], changes: Changes) -> list[PublishedPolicy]:
    """What is published, with these changes."""
    kept = [changes.get(policy.id, policy) for policy in published]
    known = {policy.id for policy in published}
    added = [policy for id, policy in changes.items() if id not in known]
    return [policy for policy in [*kept, *added] if policy is not None]


def compile_with(published: Sequence[PublishedPolicy], changes: Changes, rules: Rules) -> PolicyEvaluator:
    """An evaluator of what is published, with these changes. Takes its time over many policies: not on the loop.

    The texts of changes must have been checked, as those that are kept are.
    """
    return evaluator_of(changed_set(published, changes), rules)


def evaluator_of(policies: Iterable[PublishedPolicy], rules: Rules) -> PolicyEvaluator:
    """An evaluator of these policies."""
    return Evaluator(map(_compiled, policies), rules)


@lru_cache(maxsize=_KEPT)
def _compiled(policy: PublishedPolicy) -> CompiledPolicy:
    return compile_policy(policy)
