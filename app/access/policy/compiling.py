"""Sets of policies that are not what is published: what would be, if something were changed."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from uuid import UUID

from app.access.policy.compiled import CompiledPolicy, compile_policy
from app.access.policy.evaluator import Evaluator
from app.access.policy.judging import Rules
from app.access.policy.published import PublishedPolicy
from app.domain.policy import PolicyEvaluator

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
