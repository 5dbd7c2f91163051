"""Published policies, compiled once for all calls that they may decide, and run by Cedar's engine."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

import cedarpy
from cedarpy import pst

from app.access.policy import analysis
from app.access.policy.scope import PolicyScope, annotations_of, scope_of
from app.access.policy.text import find_excessive_nesting, tokens_of


class Mode(StrEnum):
    """``ENFORCE`` decides; ``OBSERVE`` only reports what it would have decided."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class PublishedPolicy:
    """One version of a policy. ``text`` is exactly one Cedar statement."""

    id: UUID
    version: int
    text: str
    mode: Mode = Mode.ENFORCE


_ANY_SCOPE = PolicyScope()
_NOTHING_READ = analysis.Reads()


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A compiled policy.

    ``whole`` and ``leading`` are statements for the engine: the whole policy, and its scope with the conditions before
    the first one that reads the context (``None`` if there are none). Both are written as ``forbid``, because the
    engine reports every satisfied ``forbid``; the effect is applied afterwards. ``checks`` are the other conditions
    that can be evaluated without the engine. ``fault``: the policy cannot be evaluated, and all requests in its scope
    are denied.
    """

    published: PublishedPolicy
    permits: bool = False
    scope: PolicyScope = _ANY_SCOPE
    reads: analysis.Reads = _NOTHING_READ
    groups: frozenset[UUID] = frozenset()
    whole: pst.Template | None = None
    leading: pst.Template | None = None
    checks: tuple[analysis.Check, ...] = ()
    group: str | None = None
    quota: int | None = None
    reason: str | None = None
    fault: str | None = None

    @property
    def enforced(self) -> bool:
        return self.published.mode is Mode.ENFORCE

    @property
    def denies(self) -> bool:
        """Whether it denies every request that satisfies it."""
        return not self.permits and self.group is None and self.quota is None

    @property
    def reads_call(self) -> bool:
        """Whether its result can differ between two calls of one tool, by one token, in one minute."""
        return bool(self.reads.parts & analysis.CALL_PARTS)

    @property
    def reads_arguments(self) -> bool:
        return analysis.Part.ARGUMENTS in self.reads.parts


def compile_policy(published: PublishedPolicy) -> CompiledPolicy:
    """Compile a policy. One that cannot be compiled has a ``fault``."""
    try:
        return _compiled(published)
    except ValueError as error:
        return CompiledPolicy(published, fault=f"this policy cannot be evaluated: {error}")


def _compiled(published: PublishedPolicy) -> CompiledPolicy:
    if find_excessive_nesting(tokens_of(published.text)) is not None:
        # The engine would crash the process.
        raise ValueError("it nests too deeply")
    parsed = cedarpy.policies_to_pst(published.text)
    if parsed.templates or len(parsed.static_policies) != 1:
        raise ValueError("it is not exactly one statement")
    [policy] = parsed.static_policies.values()
    scope, reads, annotations = scope_of(policy), analysis.reads_of(policy), annotations_of(policy)
    if annotations.quota is not None:
        # Its window is a day, so it depends on the time.
        reads = replace(reads, parts=reads.parts | {analysis.Part.TIME})
    bare = replace(policy, effect="forbid", annotations={})
    leading, later = analysis.conditions_of(policy)
    return CompiledPolicy(
        published,
        policy.effect == "permit",
        scope,
        reads,
        analysis.groups_in(policy),
        _evaluable(bare),
        _evaluable(replace(bare, clauses=tuple(map(pst.When, leading)))) if leading else None,
        analysis.checks_of(later),
        annotations.group,
        annotations.quota,
        annotations.reason,
    )


def _evaluable(statement: pst.Template) -> pst.Template:
    """Check that the engine accepts the statement, and return it. Raises ``ValueError``."""
    engine_set({0: statement})
    return statement


def engine_set(statements: Mapping[int, pst.Template]) -> cedarpy.PolicySet:
    """A policy set for the engine, in which the numbers identify the statements."""
    numbered = {str(number): replace(each, id=str(number)) for number, each in statements.items()}
    return cedarpy.PolicySet.from_pst(pst.PolicySet({}, numbered, ()))


_FAILED = re.compile(r"error while evaluating policy `(\d+)`: (.*)", re.DOTALL)
# The engine's other messages can contain values of the call.
_WITHOUT_VALUES = re.compile(
    r"record does not have the attribute `[^`]*`|type error: expected [^`]*, got [^`]*"
    r"|`[^`]*` does not have the (?:attribute|tag) `[^`]*`"
    r"|(?P<cut>integer overflow) while .*|(?P<function>error while evaluating `\w+` extension function): .*",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Findings:
    """The numbers of the satisfied policies, of those that failed, with reasons, and of the skipped ones.

    A policy is skipped if it reads arguments that are unknown.
    """

    satisfied: tuple[int, ...] = ()
    failed: Mapping[int, str] = field(default_factory=dict)
    skipped: tuple[int, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(
            self.satisfied + other.satisfied, {**self.failed, **other.failed}, self.skipped + other.skipped
        )


def run(
    statements: cedarpy.PolicySet,
    numbers: Collection[int],
    request: dict[str, Any],
    entities: cedarpy.Entities,
) -> Findings:
    """Run the engine. A request that it cannot represent fails every statement."""
    result = cedarpy.is_authorized(request, statements, entities)
    if result.decision is cedarpy.Decision.NoDecision:
        return Findings(failed=dict.fromkeys(numbers, "the request cannot be represented"))
    failed = {}
    for error in result.diagnostics.errors:
        match = _FAILED.fullmatch(error)
        if match is None:
            return Findings(failed=dict.fromkeys(numbers, "the engine failed"))
        failed[int(match[1])] = _sanitize(match[2])
    return Findings(tuple(sorted(map(int, result.diagnostics.reasons))), failed)


def _sanitize(message: str) -> str:
    """The engine's message without values of the call."""
    match = _WITHOUT_VALUES.fullmatch(message)
    if match is None:
        return "it cannot be evaluated"
    return match["cut"] or match["function"] or message
