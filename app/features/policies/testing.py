"""Running the test cases of policies against a set of policies, as it would be."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.policy.compiling import evaluator_of
from app.access.policy.judging import Rules
from app.access.policy.published import Mode, PublishedPolicy
from app.domain.errors import FieldError, Invalid
from app.domain.policy import PolicyEvaluator
from app.features.policies.case_schemas import PolicyTest, PolicyTestResult
from app.features.policies.casting import Cast, cast_of
from app.features.policies.queries import published_policies, published_tests
from app.http.problems import MOST_ERRORS
from app.lib.ids import POLICY, format_id

MOST_RUN = 2_000


@dataclass(frozen=True, slots=True)
class Case:
    """A test, and whose it is."""

    policy_id: UUID
    policy_name: str
    position: int
    test: PolicyTest


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a test."""

    case: Case
    result: PolicyTestResult

    def failure(self, of: UUID) -> FieldError:
        """Why it failed, for whoever changes the policy ``of``: by pointer into that, or by name."""
        result, case = self.result, self.case
        own = case.policy_id == of
        pointer = f"/tests/{case.position}"
        whose = "" if own else f" of the policy {case.policy_name}"
        detail = (
            f"The test {result.name!r}{whose} expects {result.expected}, and it would be {result.decision} "
            f"({result.reason_code})."
        )
        if not own:
            pointer = f"/policies/{format_id(POLICY, case.policy_id)}{pointer}"
        return FieldError(pointer, "test_failed", detail)


def cases_of(policy_id: UUID, name: str, tests: Iterable[object]) -> list[Case]:
    """The tests of a policy, as they are stored."""
    return [
        Case(policy_id, name, position, PolicyTest.model_validate(test))
        for position, test in enumerate(tests)
    ]


async def run_own(
    session: AsyncSession, rules: Rules, now: datetime, policy: PublishedPolicy, tests: Sequence[object]
) -> list[Ran]:
    """Run tests of one policy against what is published, and this policy in place of its own published text."""
    cases = cases_of(policy.id, "", tests)
    return await _run(session, rules, now, await _set_with(session, policy), cases)


async def run_all(
    session: AsyncSession, rules: Rules, now: datetime, policy: PublishedPolicy, tests: Sequence[object]
) -> list[Ran]:
    """Run these tests of a policy that is to be published, and those of all others. Raises ``Invalid``."""
    cases = cases_of(policy.id, "", tests)
    for others in await published_tests(session, but=policy.id):
        cases += cases_of(others.policy_id, others.name, others.tests)
    if len(cases) > MOST_RUN:
        detail = f"All that is published would have {len(cases)} tests together, and {MOST_RUN} can be run."
        raise Invalid.field("/tests", "too_many", detail)
    return await _run(session, rules, now, await _set_with(session, policy), cases)


def refuse_failures(ran: Iterable[Ran], of: UUID) -> None:
    """Raise ``Invalid`` with the tests that failed, if any did."""
    errors = [one.failure(of) for one in ran if not one.result.passed]
    if errors:
        detail = f"{len(errors)} of the tests would fail; see errors for which. Nothing was published."
        raise Invalid(detail, code="policy_tests_failed", errors=errors[:MOST_ERRORS])


async def _set_with(session: AsyncSession, policy: PublishedPolicy) -> list[PublishedPolicy]:
    return [*(one for one in await published_policies(session) if one.id != policy.id), policy]


async def _run(
    session: AsyncSession,
    rules: Rules,
    now: datetime,
    policies: Sequence[PublishedPolicy],
    cases: Sequence[Case],
) -> list[Ran]:
    if not cases:
        return []
    cast = await cast_of(session, [case.test.request for case in cases])
    return await asyncio.to_thread(_ran, rules, now, policies, cases, cast)


def _ran(
    rules: Rules, now: datetime, policies: Sequence[PublishedPolicy], cases: Sequence[Case], cast: Cast
) -> list[Ran]:
    """Each test by what its own policy would decide: one on trial, as if it were enforced."""
    on_trial = {policy.id for policy in policies if policy.mode is Mode.OBSERVE}
    evaluators: dict[UUID | None, PolicyEvaluator] = {}
    ran = []
    for case in cases:
        enforced = case.policy_id if case.policy_id in on_trial else None
        if enforced not in evaluators:
            evaluators[enforced] = evaluator_of(_enforcing(policies, enforced), rules)
        verdict = evaluators[enforced].evaluate(cast.request(case.test.request, now))
        result = PolicyTestResult(
            name=case.test.name,
            passed=verdict.effect.value == case.test.expect,
            expected=case.test.expect,
            decision=verdict.effect.value,
            reason_code=verdict.reason_code,
            policy_ids=list(verdict.policy_ids),
        )
        ran.append(Ran(case, result))
    return ran


def _enforcing(policies: Iterable[PublishedPolicy], enforced: UUID | None) -> list[PublishedPolicy]:
    return [replace(policy, mode=Mode.ENFORCE) if policy.id == enforced else policy for policy in policies]
