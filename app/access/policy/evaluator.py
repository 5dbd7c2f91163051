"""The evaluator of a policy set, which ``decide`` uses.

``evaluator_of`` and ``compile_with`` create evaluators of other sets too, such as the published set with a change.

Few of many policies apply to a call, and most of those have the same result for every call, so they are evaluated once.
For each call, the engine evaluates only policies that read the call and whose leading conditions hold.
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache, reduce
from math import inf
from operator import or_
from typing import Generic, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import cedarpy

from app.access.policy.analysis import Part, Reads, ruled_out
from app.access.policy.compiled import (
    CompiledPolicy,
    Findings,
    PublishedPolicy,
    compile_policy,
    engine_set,
    run,
)
from app.access.policy.mapping import arguments_of, client_of, entities_json, ip_of, named, time_of, token_of
from app.access.policy.scope import ScopeIndex
from app.domain.objects import Identity, Server, Tool
from app.domain.policy import (
    Act,
    ApprovalDemand,
    Effect,
    PolicyEvaluator,
    PolicyInput,
    PolicyVerdict,
    QuotaDemand,
)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class RecentCache(Generic[Key, Value]):
    """A cache of at most twice ``most`` values. It drops values that are not read while ``most`` others are added."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """The cached value, if any."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Cache a value."""
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[key] = value


_KEPT_SETS = 512
Numbers = tuple[int, ...]
Minute = tuple[float | None, UUID | None]


@dataclass(frozen=True, slots=True, eq=False)
class EngineInput:
    """The engine's input for a request, except the context. Compared by identity, like the results cached for it."""

    named: Mapping[str, Mapping[str, str]]
    """Principal, action and resource, as Cedar entity ids."""
    entities: cedarpy.Entities


@dataclass(slots=True)
class Selection:
    """The policies that apply to one identity, server and tool, by how often they must be evaluated.

    ``settled`` holds for every call. ``per_minute`` policies have the same result within a minute for one token.
    ``per_call`` policies can differ for each call. The objects of the key are kept, because the cache uses their ids,
    which could be reused otherwise.
    """

    identity: Identity
    server: Server
    tool: Tool | None
    engine_input: EngineInput | None
    settled: Findings
    per_minute: Numbers
    per_call: Numbers
    reads_groups: bool
    by_minute: dict[Minute, tuple[Findings, PolicyVerdict | None]] = field(default_factory=dict)
    verdicts: dict[tuple[float, Numbers, Numbers], PolicyVerdict] = field(default_factory=dict)


class Selector:
    """Selects among the policies of one set."""

    def __init__(self, policies: Sequence[CompiledPolicy]) -> None:
        self._policies = policies
        self._index = ScopeIndex(policy.scope for policy in policies)
        self._sets: RecentCache[tuple[bool, Numbers], cedarpy.PolicySet] = RecentCache(_KEPT_SETS)

    def concerned(self, request: PolicyInput) -> Numbers:
        """The policies whose scopes match a request."""
        return self._index.matching(request.act, request.token.identity, request.server, request.tool)

    def select(self, request: PolicyInput) -> Selection:
        """Evaluate what is the same for all requests that differ from this one only in the context."""
        concerned = self.concerned(request)
        broken = {
            number: fault for number in concerned if (fault := self._policies[number].fault) is not None
        }
        sound = [number for number in concerned if number not in broken]
        with_leading = tuple(number for number in sound if self._policies[number].leading is not None)
        later = [number for number in sound if self._policies[number].reads.parts]
        engine_input = engine_input_of(request) if with_leading or later else None
        findings = self.ask(engine_input, with_leading, "{}", leading=True)
        ruled_out = set(with_leading).difference(findings.satisfied)
        later = [number for number in later if number not in ruled_out]
        satisfied = set(sound) - ruled_out - set(later)
        return Selection(
            request.token.identity,
            request.server,
            request.tool,
            engine_input if later else None,
            Findings(tuple(sorted(satisfied)), {**broken, **findings.failed}),
            tuple(number for number in later if not self._policies[number].reads_call),
            tuple(number for number in later if self._policies[number].reads_call),
            self._read_groups(request.token.identity, concerned),
        )

    def _read_groups(self, identity: Identity, concerned: Numbers) -> bool:
        """Whether the policies depend on the groups of an identity or its owner."""
        groups = {group for group, _ in identity.groups}
        if identity.owner is not None:
            groups.update(group for group, _ in identity.owner.groups)
        return any(not groups.isdisjoint(self._policies[number].groups) for number in concerned)

    def ask(
        self, engine_input: EngineInput | None, numbers: Numbers, context: str, *, leading: bool = False
    ) -> Findings:
        """Run the engine on these policies, or on their leading conditions, in a context."""
        if not numbers or engine_input is None:
            return Findings()
        statements = self._sets.get((leading, numbers))
        if statements is None:
            chosen = {number: self._policies[number] for number in numbers}
            statements = engine_set(
                {
                    number: statement
                    for number, policy in chosen.items()
                    if (statement := policy.leading if leading else policy.whole) is not None
                }
            )
            self._sets.put((leading, numbers), statements)
        return run(statements, numbers, {**engine_input.named, "context": context}, engine_input.entities)


def engine_input_of(request: PolicyInput) -> EngineInput:
    """The engine's input for a request, except the context."""
    identity, server, tool = request.token.identity, request.server, request.tool
    entities = cedarpy.Entities.from_json_str(entities_json(identity, server, tool))
    return EngineInput(named(request.act, identity, server, tool), entities)


_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of a deployment for all policies: its time zone, and whether grants permit without a policy."""

    zone: ZoneInfo = _UTC
    permits_by_default: bool = True

    def local(self, at: float) -> datetime:
        """The local time."""
        return datetime.fromtimestamp(at, self.zone)

    def day(self, at: float) -> tuple[float, float]:
        """The start and end of the local day of a time, in Unix seconds. Not always 24 hours long."""
        today = self.local(at).date()
        return self._midnight(today), self._midnight(today + timedelta(days=1))

    def _midnight(self, day: date) -> float:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()


def verdict_of(
    policies: Sequence[CompiledPolicy], findings: Findings, request: PolicyInput, rules: Rules
) -> PolicyVerdict:
    """The verdict on a request with these findings of the engine."""
    if rules.permits_by_default and not findings.satisfied and not findings.failed:
        return PolicyVerdict(Effect.ALLOW, "granted")
    satisfied = [policies[number] for number in findings.satisfied]
    failed = [policies[number] for number in sorted(findings.failed)]
    effect, reason_code, deciding = _decide(
        [policy for policy in satisfied if policy.enforced],
        [policy for policy in failed if policy.enforced],
        rules.permits_by_default
        or any(policies[number].enforced and policies[number].permits for number in findings.skipped),
    )
    observed = [policy for policy in failed if not policy.enforced]
    if effect is not Effect.DENY:
        observed += [policy for policy in satisfied if not policy.enforced and not policy.permits]
    asks, quotas = _demands(effect, satisfied, request, rules)
    return PolicyVerdict(
        effect,
        reason_code,
        _ids(deciding),
        asks=asks,
        quotas=quotas,
        observed=_ids(observed),
        reasons=() if effect is Effect.ALLOW else _reasons(reason_code, deciding, policies, findings),
    )


def _decide(
    satisfied: list[CompiledPolicy], failed: list[CompiledPolicy], permitted: bool
) -> tuple[Effect, str, list[CompiledPolicy]]:
    """The effect of the enforced policies, its reason, and the policies that decided."""
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
    """The approvals and quotas that the call needs; none for a denied call."""
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
_MAX_MINUTES = 64
_READS = 512
_FOUND = 2048
_MAX_SUBSET = 4
_MINUTE_S = 60
_DEFAULT_RULES = Rules()


class Outcome(StrEnum):
    """The outcome of a policy for a request, or the part of its scope that did not match."""

    PRINCIPAL = "principal"
    ACTION = "action"
    RESOURCE = "resource"
    CONDITION = "condition"
    ARGUMENTS_UNKNOWN = "arguments_unknown"
    SATISFIED = "satisfied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """A policy of the set and its outcome. ``message`` says why it failed."""

    policy: CompiledPolicy
    outcome: Outcome
    message: str | None = None


class Evaluator:
    """A compiled policy set. Results depend only on the input; caches only save calls of the engine."""

    def __init__(self, policies: Iterable[CompiledPolicy], rules: Rules = _DEFAULT_RULES) -> None:
        self.policies = tuple(policies)
        self._rules = rules
        self._selector = Selector(self.policies)
        self._selections: RecentCache[tuple[int, int, int, Act], Selection] = RecentCache(_SELECTIONS)
        self._reads: RecentCache[Numbers, Reads] = RecentCache(_READS)
        self._found: RecentCache[tuple[EngineInput | None, Numbers, str], Findings] = RecentCache(_FOUND)
        self._minute = -inf
        self._times: dict[frozenset[str] | None, dict[str, object]] = {}

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        """Decide one request. An error inside a policy is a deny with ``policy_error``, never a permit."""
        selection = self._selection(request)
        findings, verdict = self._evaluate_settled(selection, request)
        if verdict is not None:
            return verdict
        findings += self._ask(selection.engine_input, selection.per_call, request)
        return self._verdict(selection, findings, request)

    def reads_arguments(self, request: PolicyInput) -> bool:
        """Whether any policy that applies to such a request reads the arguments."""
        return Part.ARGUMENTS in self._read_by(self._selection(request).per_call).parts

    def consider(self, request: PolicyInput) -> list[PolicyResult]:
        """The outcome of each policy of the set for a request."""
        selection = self._selection(request)
        findings = self._evaluate_settled(selection, request)[0]
        findings += self._ask(selection.engine_input, selection.per_call, request)
        about = request.act, request.token.identity, request.server, request.tool
        outcomes = {
            **dict.fromkeys(self._selector.concerned(request), Outcome.CONDITION),
            **dict.fromkeys(findings.skipped, Outcome.ARGUMENTS_UNKNOWN),
            **dict.fromkeys(findings.satisfied, Outcome.SATISFIED),
            **dict.fromkeys(findings.failed, Outcome.FAILED),
        }
        return [
            PolicyResult(
                policy,
                outcomes.get(number) or Outcome(policy.scope.refuses(*about) or Outcome.CONDITION),
                findings.failed.get(number),
            )
            for number, policy in enumerate(self.policies)
        ]

    def _selection(self, request: PolicyInput) -> Selection:
        key = (id(request.token.identity), id(request.server), id(request.tool), request.act)
        selection = self._selections.get(key)
        if selection is None:
            selection = self._selector.select(request)
            self._selections.put(key, selection)
        return selection

    def _evaluate_settled(
        self, selection: Selection, request: PolicyInput
    ) -> tuple[Findings, PolicyVerdict | None]:
        """The findings for this token in this minute, and the verdict if no policy reads more of the call."""
        minute: Minute = None, None
        if selection.per_minute:
            parts = self._read_by(selection.per_minute).parts
            at = request.at // _MINUTE_S if Part.TIME in parts else None
            minute = at, request.token.id if Part.TOKEN in parts else None
        settled = selection.by_minute.get(minute)
        if settled is None:
            findings = selection.settled + self._ask(selection.engine_input, selection.per_minute, request)
            verdict = None if selection.per_call else self._verdict(selection, findings, request)
            if len(selection.by_minute) >= _MAX_MINUTES:
                selection.by_minute.clear()
            settled = selection.by_minute[minute] = findings, verdict
        return settled

    def _verdict(self, selection: Selection, findings: Findings, request: PolicyInput) -> PolicyVerdict:
        """The verdict: the same object for calls with the same findings, so that verdicts can be compared by
        identity."""
        start, end = -inf, inf
        if Part.TIME in self._read_by(selection.per_minute + selection.per_call).parts:
            start = request.at // _MINUTE_S * _MINUTE_S
            end = start + _MINUTE_S
        key = start, findings.satisfied, findings.skipped
        verdict = None if findings.failed else selection.verdicts.get(key)
        if verdict is None:
            verdict = replace(
                verdict_of(self.policies, findings, request, self._rules),
                valid_from=start,
                valid_until=end,
                reads_call=bool(selection.per_call),
                reads_groups=selection.reads_groups,
            )
            if not findings.failed:
                if len(selection.verdicts) >= _MAX_MINUTES:
                    selection.verdicts.clear()
                selection.verdicts[key] = verdict
        return verdict

    def _ask(self, engine_input: EngineInput | None, numbers: Numbers, request: PolicyInput) -> Findings:
        """Evaluate these policies with the part of the context that they read."""
        arguments = None if request.act is Act.USE_SERVER else request.arguments
        skipped: Numbers = ()
        if arguments is None and Part.ARGUMENTS in self._read_by(numbers).parts:
            skipped = tuple(number for number in numbers if self.policies[number].reads_arguments)
            numbers = tuple(number for number in numbers if not self.policies[number].reads_arguments)
        reads = self._read_by(numbers)
        mapped: Mapping[str, object] = {}
        faults: Mapping[str, str] = {}
        if arguments is not None and Part.ARGUMENTS in reads.parts:
            mapped, faults = arguments_of(request.act, request.tool, arguments, reads.of(Part.ARGUMENTS))
        context = self._context(reads, mapped, request)
        remaining = tuple(
            number for number in numbers if not ruled_out(self.policies[number].checks, context)
        )
        if 0 < len(remaining) < len(numbers):
            # Only small subsets, since there would be too many larger ones to cache.
            remaining = remaining if len(remaining) <= _MAX_SUBSET else numbers
            context = self._part_of(context, self._read_by(remaining))
        findings = self._found_by_engine(engine_input, remaining, context)
        failed = {**findings.failed, **self._unreadable(numbers, faults)} if faults else findings.failed
        satisfied = tuple(number for number in findings.satisfied if number not in failed)
        return Findings(satisfied, failed, skipped)

    def _found_by_engine(
        self, engine_input: EngineInput | None, numbers: Numbers, context: Mapping[str, object]
    ) -> Findings:
        """Run the engine, with a cache of its results for the same input."""
        if not numbers:
            return Findings()
        key = engine_input, numbers, json.dumps(context)
        if Part.ARGUMENTS in context:
            # Arguments rarely repeat, and must not be cached.
            return self._selector.ask(*key)
        findings = self._found.get(key)
        if findings is None:
            findings = self._selector.ask(*key)
            self._found.put(key, findings)
        return findings

    def _unreadable(self, numbers: Numbers, faults: Mapping[str, str]) -> dict[int, str]:
        """The policies that read an argument which cannot be represented, with the reason."""
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
        """The part of a context that is read, because each member costs time in the engine."""
        part = {name: context[name] for name in reads.parts if name in context}
        names = reads.of(Part.ARGUMENTS)
        arguments = part.get(Part.ARGUMENTS)
        if names is not None and isinstance(arguments, dict):
            part[Part.ARGUMENTS] = {name: value for name, value in arguments.items() if name in names}
        return {str(name): value for name, value in part.items()}

    def _time(self, at: float, names: frozenset[str] | None) -> dict[str, object]:
        """``context.time`` with only the members that are read, because each costs time in the engine."""
        minute = at // _MINUTE_S
        if self._minute != minute:
            self._minute, self._times = minute, {}
        members = self._times.get(names)
        if members is None:
            members = self._times[names] = time_of(self._rules.local(minute * _MINUTE_S), names)
        return members

    def _read_by(self, numbers: Numbers) -> Reads:
        """What these policies read in total."""
        reads = self._reads.get(numbers)
        if reads is None:
            reads = reduce(or_, (self.policies[number].reads for number in numbers), Reads())
            self._reads.put(numbers, reads)
        return reads


_compiled = lru_cache(maxsize=4096)(compile_policy)
Changes = Mapping[UUID, PublishedPolicy | None]
"""The changed policies by id; ``None`` for one that is no longer published."""


def compile_with(published: Sequence[PublishedPolicy], changes: Changes, rules: Rules) -> PolicyEvaluator:
    """An evaluator of the published set with these changes. Slow for many policies; run it in a thread.

    The texts of the changes must be validated.
    """
    changed = [changes.get(policy.id, policy) for policy in published]
    known = {policy.id for policy in published}
    added = [policy for id, policy in changes.items() if id not in known]
    return evaluator_of([policy for policy in [*changed, *added] if policy is not None], rules)


def evaluator_of(policies: Iterable[PublishedPolicy], rules: Rules) -> PolicyEvaluator:
    """An evaluator of these policies."""
    return Evaluator(map(_compiled, policies), rules)
