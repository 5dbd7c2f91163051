"""The published policies, read beside the fleet and compiled off the loop.

A set is read again when the version of the policy set has moved, and of its policies only those are taken apart that
were not in the last one.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from app.access.policy.compiled import CompiledPolicy, compile_policy
from app.access.policy.evaluator import Evaluator
from app.access.policy.judging import Rules
from app.access.policy.published import Mode, PublishedPolicy
from app.domain.policy import GrantedIsAllowed, PolicyEvaluator
from app.lib.ids import POLICY, format_id

_PUBLISHED = """
SELECT id, version, published_text, published_mode FROM policies
WHERE status = 'published' AND ended_at IS NULL ORDER BY id
"""
_GRANTS_ALONE = GrantedIsAllowed()
_NAMED = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadSet:
    """The policies of one version of the set: compiled already, or as they were read."""

    version: int
    evaluator: PolicyEvaluator | None
    policies: tuple[PublishedPolicy, ...] = ()


class PolicySets:
    """Makes evaluators of published policies; the one of the version that was asked for last is kept."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._kept: tuple[int, PolicyEvaluator] | None = None
        self._compiled: dict[PublishedPolicy, CompiledPolicy] = {}

    async def read(self, connection: Any, version: int) -> ReadSet:
        """Read the set of this version, unless it is the one that is kept. Runs inside ``consistent``."""
        if self._kept is not None and self._kept[0] == version:
            return ReadSet(*self._kept)
        rows = await connection.fetch(_PUBLISHED)
        policies = (
            PublishedPolicy(row["id"], row["version"], row["published_text"], Mode(row["published_mode"]))
            for row in rows
        )
        return ReadSet(version, None, tuple(policies))

    async def evaluator(self, read: ReadSet) -> PolicyEvaluator:
        """The evaluator of a set that was read."""
        if read.evaluator is not None:
            return read.evaluator
        # Off the loop: a thousand policies take a good part of a second.
        self._compiled = await asyncio.to_thread(self._taken_apart, read.policies)
        evaluator = self._made_of(self._compiled.values())
        self._kept = read.version, evaluator
        return evaluator

    def forget(self) -> None:
        """Read the set again, whatever its version."""
        self._kept = None

    def warnings(self) -> list[str]:
        """What whoever runs this worker should know of the set that was made last."""
        broken = [
            format_id(POLICY, policy.id) for policy, compiled in self._compiled.items() if compiled.fault
        ]
        if not broken:
            return []
        named = ", ".join(broken[:_NAMED]) + (" and others" if len(broken) > _NAMED else "")
        how_many = f"{len(broken)} published policies cannot be evaluated"
        return [f"{how_many}, and deny every call that they could be about unless they only observe: {named}"]

    def _taken_apart(self, policies: Sequence[PublishedPolicy]) -> dict[PublishedPolicy, CompiledPolicy]:
        return {policy: self._compiled.get(policy) or _compiled(policy) for policy in policies}

    def _made_of(self, policies: Collection[CompiledPolicy]) -> PolicyEvaluator:
        if not policies and self.rules.permits_by_default:
            return _GRANTS_ALONE
        return Evaluator(policies, self.rules)


def _compiled(policy: PublishedPolicy) -> CompiledPolicy:
    compiled = compile_policy(policy)
    if compiled.fault is not None:
        # It denies all that it could be about, and whoever published it had it accepted: the engine has changed.
        logger.error("policy %s: %s", format_id(POLICY, policy.id), compiled.fault)
    return compiled
