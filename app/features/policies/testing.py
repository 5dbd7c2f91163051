"""Run the test cases of policies.

Identities, servers and tools are those that exist, or those that a case describes.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import inf
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.policy.compiled import Mode, PublishedPolicy
from app.access.policy.evaluator import Rules, evaluator_of
from app.domain.arguments import argument_types
from app.domain.errors import FieldError, Invalid
from app.domain.objects import Identity, IdentityStatus, Server, Token, Tool, ToolState
from app.domain.policy import Act, CallerProgram, PolicyEvaluator, PolicyInput
from app.domain.risk import Risk
from app.domain.scopes import GrantsScope
from app.features.policies.queries import published_policies, published_tests
from app.features.policies.schemas import (
    PolicyTest,
    PolicyTestIdentity,
    PolicyTestOwner,
    PolicyTestRequest,
    PolicyTestResult,
)
from app.lib.ids import POLICY, format_id, new_id
from app.models.identities import GroupMember
from app.models.identities import Identity as IdentityRow
from app.models.servers import Server as ServerRow
from app.models.servers import Tool as ToolRow

Slugged = tuple[str, str]


@dataclass(slots=True)
class ReadObjects:
    """The identities, servers and tools that the requests name."""

    identities: dict[UUID, IdentityRow] = field(default_factory=dict)
    groups: dict[UUID, list[UUID]] = field(default_factory=dict)
    servers: dict[str, ServerRow] = field(default_factory=dict)
    tools: dict[Slugged, ToolRow] = field(default_factory=dict)

    def request(self, test: PolicyTestRequest, now: datetime) -> PolicyInput:
        """Build the policy request. May take long for a large schema."""
        token = None
        identity = self._identity(test.identity)
        for _ in range(test.token_depth + 1):
            token = Token(new_id(), 1, identity, GrantsScope(), inf, parent=token)
        assert token is not None  # noqa: S101  # There is at least one.
        return PolicyInput(
            act=Act(test.action),
            token=token,
            server=self._server(test),
            tool=None if test.tool is None else self._tool(test, test.tool),
            arguments=test.arguments,
            at=(test.time or now).timestamp(),
            address=test.ip,
            program=CallerProgram(test.client.name, test.client.version),
        )

    def _identity(self, test: PolicyTestIdentity) -> Identity:
        if test.id is not None:
            return self._known(test.id, with_owner=True)
        owner, described = None, test.owner
        if described is not None and described.id is not None:
            owner = self._known(described.id, with_owner=False)
        elif described is not None:
            owner = _active(new_id(), "person", described.groups, described.attributes)
        return _active(new_id(), test.kind, test.groups, test.attributes, owner)

    def _known(self, id: UUID, *, with_owner: bool) -> Identity:
        row = self.identities.get(id)
        if row is None:
            # An unknown id: a person without groups or attributes.
            return Identity(id, 1, IdentityStatus.ACTIVE)
        owned = with_owner and row.owner_id is not None
        owner = self._known(row.owner_id, with_owner=False) if owned and row.owner_id else None
        return _active(id, row.kind, self.groups.get(id, ()), row.attributes, owner)

    def _server(self, test: PolicyTestRequest) -> Server:
        row = self.servers.get(test.server)
        labels = test.labels if test.labels is not None else (row.labels if row else {})
        return Server(row.id if row else new_id(), 1, test.server, enabled=True, labels=labels)

    def _tool(self, test: PolicyTestRequest, name: str) -> Tool:
        row = self.tools.get((test.server, name))
        risk = test.risk or (Risk(row.risk) if row else Risk.UNKNOWN)
        schema = test.input_schema if test.input_schema is not None else (row.input_schema if row else {})
        parameters = argument_types(schema)
        return Tool(row.id if row else new_id(), name, risk, ToolState.ACTIVE, None, parameters=parameters)


async def read_objects(session: AsyncSession, requests: Sequence[PolicyTestRequest]) -> ReadObjects:
    """Read the identities, servers and tools that these requests name."""
    objects = ReadObjects()
    identities: list[PolicyTestOwner] = [request.identity for request in requests]
    identities += [request.identity.owner for request in requests if request.identity.owner is not None]
    await _add_identities(session, objects, {one.id for one in identities if one.id is not None})
    owners = {row.owner_id for row in objects.identities.values() if row.owner_id is not None}
    await _add_identities(session, objects, owners - objects.identities.keys())
    slugs = {request.server for request in requests}
    # Of servers with the same slug over time, the last one; a live server sorts after ended ones.
    ended = col(ServerRow.ended_at).asc().nulls_last()
    servers = await session.scalars(select(ServerRow).where(col(ServerRow.slug).in_(slugs)).order_by(ended))
    objects.servers = {row.slug: row for row in servers}
    by_id = {row.id: row.slug for row in objects.servers.values()}
    pairs = {
        (objects.servers[request.server].id, request.tool)
        for request in requests
        if request.tool is not None and request.server in objects.servers
    }
    tools = select(ToolRow).where(tuple_(col(ToolRow.server_id), col(ToolRow.name)).in_(pairs))
    for tool in await session.scalars(tools) if pairs else ():
        objects.tools[by_id[tool.server_id], tool.name] = tool
    return objects


async def _add_identities(session: AsyncSession, objects: ReadObjects, ids: Collection[UUID]) -> None:
    if not ids:
        return
    rows = await session.scalars(select(IdentityRow).where(col(IdentityRow.id).in_(ids)))
    objects.identities |= {row.id: row for row in rows}
    members = select(col(GroupMember.identity_id), col(GroupMember.group_id))
    for identity_id, group_id in await session.execute(members.where(col(GroupMember.identity_id).in_(ids))):
        objects.groups.setdefault(identity_id, []).append(group_id)


def _active(
    id: UUID, kind: str, groups: Sequence[UUID], attributes: Mapping[str, str], owner: Identity | None = None
) -> Identity:
    return Identity(
        id=id,
        version=1,
        status=IdentityStatus.ACTIVE,
        owner=owner,
        groups=tuple((group, 1) for group in groups),
        kind=kind,
        attributes=tuple(sorted(attributes.items())),
    )


MAX_RUN = 2_000


@dataclass(frozen=True, slots=True)
class Case:
    """A test, with its policy."""

    policy_id: UUID
    policy_name: str
    position: int
    test: PolicyTest

    def failure(self, result: PolicyTestResult, of: UUID) -> FieldError:
        """The error for a failed test, for a change of the policy ``of``: by pointer into that policy, or by name."""
        pointer, of_policy = f"/tests/{self.position}", ""
        if self.policy_id != of:
            pointer = f"/policies/{format_id(POLICY, self.policy_id)}{pointer}"
            of_policy = f" of the policy {self.policy_name}"
        detail = (
            f"The test {result.name!r}{of_policy} expects {result.expected}, and it would be {result.decision} "
            f"({result.reason_code})."
        )
        return FieldError(pointer, "test_failed", detail)


def _cases(policy_id: UUID, name: str, tests: Iterable[object]) -> list[Case]:
    """Parse the stored tests of a policy."""
    return [
        Case(policy_id, name, position, PolicyTest.model_validate(test))
        for position, test in enumerate(tests)
    ]


async def run_own(
    session: AsyncSession, rules: Rules, now: datetime, policy: PublishedPolicy, tests: Sequence[object]
) -> list[PolicyTestResult]:
    """Run tests of one policy with all published ones, this policy replacing its own published text."""
    return await _run(session, rules, now, policy, _cases(policy.id, "", tests))


async def run_all(
    session: AsyncSession, rules: Rules, now: datetime, policy: PublishedPolicy, tests: Sequence[object]
) -> list[tuple[Case, PolicyTestResult]]:
    """Run the tests of a policy to be published, and those of all others. Raises ``Invalid``."""
    cases = _cases(policy.id, "", tests)
    for id, name, others in await published_tests(session, but=policy.id):
        cases += _cases(id, name, others)
    if len(cases) > MAX_RUN:
        detail = f"All published policies together would have {len(cases)} tests; the maximum is {MAX_RUN}."
        raise Invalid.field("/tests", "too_many", detail)
    return list(zip(cases, await _run(session, rules, now, policy, cases), strict=True))


async def _run(
    session: AsyncSession, rules: Rules, now: datetime, policy: PublishedPolicy, cases: Sequence[Case]
) -> list[PolicyTestResult]:
    if not cases:
        return []
    policies = [*(one for one in await published_policies(session) if one.id != policy.id), policy]
    objects = await read_objects(session, [case.test.request for case in cases])
    return await asyncio.to_thread(_results, rules, now, policies, cases, objects)


def _results(
    rules: Rules,
    now: datetime,
    policies: Sequence[PublishedPolicy],
    cases: Sequence[Case],
    objects: ReadObjects,
) -> list[PolicyTestResult]:
    """Decide each test; a policy on trial counts as enforced for its own tests."""
    on_trial = {policy.id for policy in policies if policy.mode is Mode.OBSERVE}
    evaluators: dict[UUID | None, PolicyEvaluator] = {}
    results = []
    for case in cases:
        enforced = case.policy_id if case.policy_id in on_trial else None
        if enforced not in evaluators:
            tried = [replace(one, mode=Mode.ENFORCE) if one.id == enforced else one for one in policies]
            evaluators[enforced] = evaluator_of(tried, rules)
        verdict = evaluators[enforced].evaluate(objects.request(case.test.request, now))
        result = PolicyTestResult(
            name=case.test.name,
            passed=verdict.effect.value == case.test.expect,
            expected=case.test.expect,
            decision=verdict.effect.value,
            reason_code=verdict.reason_code,
            policy_ids=list(verdict.policy_ids),
        )
        results.append(result)
    return results
