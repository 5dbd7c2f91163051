"""``/policies/simulate``: replay recorded calls with changed policies."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.point_in_time import AccessReader
from app.access.policy.compiled import Mode, PublishedPolicy
from app.access.policy.evaluator import compile_with, evaluator_of
from app.access.snapshot import CurrentSnapshot
from app.domain.errors import Invalid, TooManyRequests
from app.features.audit.record import record
from app.features.policies.queries import published_policies
from app.features.policies.service import check_text
from app.features.policies.simulate import (
    MAX_WINDOW,
    PolicySimulation,
    SimulatedChange,
    SimulateRequest,
    Simulation,
)
from app.http.authorization import Caller, Permission, requires
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import new_id
from app.models.access import Policy

router = api_router("policies")

CanWrite = Annotated[Caller, requires(Permission.POLICIES_WRITE)]
# A replay uses much of a worker's time, which calls need too.
_ONE_AT_A_TIME = asyncio.Lock()


@dataclass(frozen=True, slots=True)
class _Changes:
    """The changed policies by id, the place of each in the request, and the ids of new ones."""

    published: Mapping[UUID, PublishedPolicy | None]
    places: Mapping[UUID, int]
    made_up: frozenset[UUID]


@router.post(
    "/simulate",
    operation_id="simulate_policies",
    summary="Simulate policy changes on recorded calls",
)
async def simulate_policies(
    body: SimulateRequest,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
    request: Request,
) -> PolicySimulation:
    """Decides the newest calls of the span twice: with the published policies, and with the changes. Nothing is
    published or called.

    Identities, servers and tools are as they are now; time, client, address and arguments as recorded. A call is not
    replayable if a policy reads arguments that were not kept (`keep_arguments` of its server).
    """
    if _ONE_AT_A_TIME.locked():
        raise TooManyRequests(
            "A simulation is already running; repeat the request when it is done.", retry_after_s=5
        )
    async with _ONE_AT_A_TIME:
        reader = AccessReader(session, snapshot)
        until = reader.time
        since = _since(body, until)
        changes = await _changes(session, body.changes)
        published = await published_policies(session)
        rules = snapshot.policies.rules
        before = await asyncio.to_thread(evaluator_of, published, rules)
        after = await asyncio.to_thread(compile_with, published, changes.published, rules)
        sealer = runtime.sealer if caller.may(Permission.ARGUMENTS_READ) else None
        tally = await Simulation(session, reader, sealer, before, after).run(since, until)
    simulation = PolicySimulation.of(tally, since, body.limit, changes.places, changes.made_up)
    changes_for_audit = {"since": since.isoformat(), "replayed": tally.replayed, "changes": len(body.changes)}
    await record(
        session,
        caller,
        "policy.simulate",
        "policy",
        None,
        changes=changes_for_audit,
        request_id=request.state.request_id,
    )
    return simulation


def _since(body: SimulateRequest, until: datetime) -> datetime:
    if body.since is None:
        return until - timedelta(days=body.days or 0)
    if body.since >= until:
        raise Invalid.field("/since", "in_the_future", "The time must not be in the future.")
    if until - body.since > MAX_WINDOW:
        raise Invalid.field("/since", "too_early", f"At most {MAX_WINDOW.days} days can be replayed.")
    return body.since


async def _changes(session: AsyncSession, requested: Sequence[SimulatedChange]) -> _Changes:
    """Raises ``Invalid`` for a policy that is missing or named twice, and for a text that cannot be published."""
    published: dict[UUID, PublishedPolicy | None] = {}
    places: dict[UUID, int] = {}
    made_up = set()
    for place, change in enumerate(requested):
        policy = None
        if change.policy_id is not None:
            policy = await session.get(Policy, change.policy_id)
            if policy is None or policy.ended_at is not None:
                raise Invalid.field(f"/changes/{place}/policy_id", "not_found", "There is no such policy.")
            if policy.id in published:
                raise Invalid.field(f"/changes/{place}/policy_id", "twice", "Change each policy once.")
        id = new_id() if policy is None else policy.id
        if policy is None:
            made_up.add(id)
        published[id] = None if change.remove else await _published(session, id, policy, change, place)
        places[id] = place
    return _Changes(published, places, frozenset(made_up))


async def _published(
    session: AsyncSession, id: UUID, policy: Policy | None, change: SimulatedChange, place: int
) -> PublishedPolicy:
    text = change.text or (policy.text if policy is not None else "")
    mode = change.mode or (policy.mode if policy is not None else "enforce")
    try:
        await check_text(session, text)
    except Invalid as error:
        errors = [replace(each, pointer=f"/changes/{place}{each.pointer}") for each in error.errors]
        raise Invalid(error.detail, errors=errors) from None
    version = 1 if policy is None else (policy.version or 0) + 1
    return PublishedPolicy(id, version, text, Mode(mode))
