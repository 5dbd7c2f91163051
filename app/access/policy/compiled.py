"""Published policies, compiled once for all calls that they may decide, and run by Cedar's engine."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

import cedarpy
from cedarpy import pst

from app.access.policy.analysis import (
    CALL_PARTS,
    Check,
    Part,
    Reads,
    checks_of,
    conditions_of,
    groups_in,
    reads_of,
)
from app.access.policy.scope import PolicyScope, annotations_of, scope_of
from app.access.policy.text import tokens_of, too_deep


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
_NOTHING_READ = Reads()


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """What the evaluator knows of one policy.

    ``whole`` and ``leading`` are statements for the engine: all of it, and its scope with what it asks before it
    reads the context (``None``: nothing). Both are written as ``forbid``, of which the engine tells every one that
    is satisfied; the effect is applied afterwards. ``checks`` are those of its other conditions that can be told
    without the engine. ``fault``: this is no policy that can be evaluated, and whatever
    it could have been about is denied.
    """

    published: PublishedPolicy
    permits: bool = False
    scope: PolicyScope = _ANY_SCOPE
    reads: Reads = _NOTHING_READ
    groups: frozenset[UUID] = frozenset()
    whole: pst.Template | None = None
    leading: pst.Template | None = None
    checks: tuple[Check, ...] = ()
    group: str | None = None
    quota: int | None = None
    reason: str | None = None
    fault: str | None = None

    @property
    def enforced(self) -> bool:
        return self.published.mode is Mode.ENFORCE

    @property
    def denies(self) -> bool:
        """Whether it denies outright what satisfies it."""
        return not self.permits and self.group is None and self.quota is None

    @property
    def reads_call(self) -> bool:
        """Whether it can find differently on two calls of one tool, by one token, in one minute."""
        return bool(self.reads.parts & CALL_PARTS)

    @property
    def reads_arguments(self) -> bool:
        return Part.ARGUMENTS in self.reads.parts


def compile_policy(published: PublishedPolicy) -> CompiledPolicy:
    """Take a policy apart. One that cannot be, whatever the cause, comes back with its ``fault``."""
    try:
        return _compiled(published)
    except ValueError as error:
        return CompiledPolicy(published, fault=f"this is no policy that can be evaluated: {error}")


def _compiled(published: PublishedPolicy) -> CompiledPolicy:
    if too_deep(tokens_of(published.text)) is not None:
        # It would end the process.
        raise ValueError("it nests too deeply")
    parsed = cedarpy.policies_to_pst(published.text)
    if parsed.templates or len(parsed.static_policies) != 1:
        raise ValueError("it is not exactly one statement")
    [policy] = parsed.static_policies.values()
    scope, reads, annotations = scope_of(policy), reads_of(policy), annotations_of(policy)
    if annotations.quota is not None:
        # Its window is a day, so time goes into it.
        reads = replace(reads, parts=reads.parts | {Part.TIME})
    bare = replace(policy, effect="forbid", annotations={})
    leading, later = conditions_of(policy)
    return CompiledPolicy(
        published,
        policy.effect == "permit",
        scope,
        reads,
        groups_in(policy),
        _evaluable(bare),
        _evaluable(replace(bare, clauses=tuple(map(pst.When, leading)))) if leading else None,
        checks_of(later),
        annotations.group,
        annotations.quota,
        annotations.reason,
    )


def _evaluable(statement: pst.Template) -> pst.Template:
    """The statement, once the engine has taken it. Raises ``ValueError`` when it does not."""
    engine_set({0: statement})
    return statement


def engine_set(statements: Mapping[int, pst.Template]) -> cedarpy.PolicySet:
    """Statements for the engine, under numbers by which it tells of them."""
    numbered = {str(number): replace(each, id=str(number)) for number, each in statements.items()}
    return cedarpy.PolicySet.from_pst(pst.PolicySet({}, numbered, ()))


_FAILED = re.compile(r"error while evaluating policy `(\d+)`: (.*)", re.DOTALL)
# The engine's other messages may hold values of the call.
_WITHOUT_VALUES = re.compile(
    r"record does not have the attribute `[^`]*`|type error: expected [^`]*, got [^`]*"
    r"|`[^`]*` does not have the (?:attribute|tag) `[^`]*`"
    r"|(?P<cut>integer overflow) while .*|(?P<function>error while evaluating `\w+` extension function): .*",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Findings:
    """The numbers of the policies that are satisfied, of those that failed, with why, and of those that stood aside.

    A policy stands aside that reads arguments which are not known.
    """

    satisfied: tuple[int, ...] = ()
    failed: Mapping[int, str] = field(default_factory=dict)
    aside: tuple[int, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(
            self.satisfied + other.satisfied, {**self.failed, **other.failed}, self.aside + other.aside
        )


def run(
    statements: cedarpy.PolicySet,
    numbers: Collection[int],
    request: dict[str, Any],
    entities: cedarpy.Entities,
) -> Findings:
    """What the engine finds. A request that it cannot take at all fails every statement."""
    result = cedarpy.is_authorized(request, statements, entities)
    if result.decision is cedarpy.Decision.NoDecision:
        return Findings(failed=dict.fromkeys(numbers, "the request cannot be represented"))
    failed = {}
    for error in result.diagnostics.errors:
        found = _FAILED.fullmatch(error)
        if found is None:
            return Findings(failed=dict.fromkeys(numbers, "the engine failed"))
        failed[int(found[1])] = _told(found[2])
    return Findings(tuple(sorted(map(int, result.diagnostics.reasons))), failed)


def _told(message: str) -> str:
    """The message of the engine as far as it holds no value of the call."""
    found = _WITHOUT_VALUES.fullmatch(message)
    if found is None:
        return "it cannot be evaluated"
    return found["cut"] or found["function"] or message
