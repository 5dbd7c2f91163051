"""A published policy, taken apart once for all the calls that it may decide."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

import cedarpy
from cedarpy import pst

from app.access.policy.analysis import CALL_PARTS, Part, Reads, conditions_of, groups_in, reads_of
from app.access.policy.annotations import annotations_of
from app.access.policy.foreseen import Check, checks_of
from app.access.policy.heads import Head, head_of
from app.access.policy.published import Mode, PublishedPolicy
from app.access.policy.source import tokens_of, too_deep

_ANY_HEAD = Head()
_NOTHING_READ = Reads()


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """What the evaluator knows of one policy.

    ``whole`` and ``leading`` are statements for the engine: all of it, and its head with what it asks before it
    reads the context (``None``: nothing). Both are written as ``forbid``, of which the engine tells every one that
    is satisfied; the effect is applied afterwards. ``checks`` are those of its other conditions that can be told
    without the engine. ``fault``: this is no policy that can be evaluated, and whatever
    it could have been about is denied.
    """

    published: PublishedPolicy
    permits: bool = False
    head: Head = _ANY_HEAD
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
    head, reads, annotations = head_of(policy), reads_of(policy), annotations_of(policy)
    if annotations.quota is not None:
        # Its window is a day, so time goes into it.
        reads = replace(reads, parts=reads.parts | {Part.TIME})
    bare = replace(policy, effect="forbid", annotations={})
    leading, later = conditions_of(policy)
    return CompiledPolicy(
        published,
        policy.effect == "permit",
        head,
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
