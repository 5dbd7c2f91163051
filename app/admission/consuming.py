"""Consuming admissions: the approvals and quota that calls need, and the transaction that hands them out.

``Ledger.settle`` is pure. ``settle`` locks approvals and quotas, settles each call, and writes the audit rows last. The
rows are guarded like those of ``AdmissionWriter``: when one is not written, the whole transaction is rolled back.

See ADR 15.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from app.admission.rows import (
    ClientRow,
    Row,
    Values,
    arguments_of,
    cells_of,
    clients_of,
    dependencies_of,
    statement_for,
)
from app.admission.store import ApprovalState
from app.crypto.keys import Sealed
from app.db.engine import delete_rows
from app.db.webhook_events import INSERT_DELIVERIES, Message, WebhookEvent, delivery_arguments
from app.domain.policy import ApprovalDemand, Effect, QuotaDemand
from app.lib.clock import boot_time
from app.lib.ids import new_id

PENDING_PER_TOKEN = 20
PENDING_PER_IDENTITY = 60
"""Pending approvals at most, so that a runaway agent does not flood the approvers."""


@dataclass(frozen=True, slots=True)
class Need:
    """One approval that a call needs from one group. ``binding`` ties it to the contents of the call."""

    binding: bytes
    group: str
    policy_ids: tuple[UUID, ...]
    policy_versions: tuple[int, ...]
    reasons: tuple[str, ...] = ()


def approval_needs(
    call: Values, asks: Iterable[ApprovalDemand], risk: str | None = None, more: object = None
) -> tuple[Need, ...]:
    """The approvals that a call needs, one per group. A change of any value in a binding voids the approval.

    ``risk`` is the tool's. ``more`` is what is forwarded of the call in addition to its arguments.
    """
    needs = []
    by_group = sorted(asks, key=lambda ask: (ask.group, ask.policy_id, ask.version))
    for group, of_group in groupby(by_group, key=lambda ask: ask.group):
        asking = tuple(of_group)
        bound = [
            "approval of a call", str(call.token_id), str(call.server_id), call.action, call.tool,
            call.arguments_digest and call.arguments_digest.hex(),
            call.definition_digest and call.definition_digest.hex(),
            risk, more, group, [[str(ask.policy_id), ask.version] for ask in asking],
        ]  # fmt: skip
        reasons = tuple(dict.fromkeys(ask.reason for ask in asking if ask.reason is not None))
        needs.append(
            Need(
                hashlib.sha256(json.dumps(bound).encode()).digest(),
                group,
                tuple(ask.policy_id for ask in asking),
                tuple(ask.version for ask in asking),
                reasons,
            )
        )
    return tuple(needs)


@dataclass(frozen=True, slots=True)
class Demand:
    """One call that consumes approvals or quota: its audit row, and what it needs to run."""

    values: Values
    depends_on: Sequence[tuple[UUID, int]]
    span: tuple[float, float]
    needs: tuple[Need, ...] = ()
    quotas: tuple[QuotaDemand, ...] = ()
    reason: str | None = None
    continues: UUID | None = None
    """The call that this one is the next round of. Its approvals pass to this call."""
    risk: str | None = None
    """The tool's risk."""
    client: ClientRow | None = None
    seal: Callable[[], Sealed] | None = None
    """Encrypts the arguments, if the server keeps them."""
    keep_always: bool = False
    """Whether the arguments are also kept when no approval is requested or used."""

    @property
    def id(self) -> UUID:
        """The id of the call."""
        return self.values.id


@dataclass(slots=True)
class Approval:
    """A stored approval."""

    id: UUID
    binding: bytes
    state: str
    expires_at: float
    consumed_by: UUID | None = None
    decision_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ApprovalReport:
    """One approval, as reported to a call that does not run."""

    id: UUID
    need: Need
    standing: ApprovalState
    expires_at: float
    decision_reason: str | None = None


QuotaWindow = tuple[str, float]
"""A quota's key and the start of its window in Unix seconds."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of one call: its effect, and what is written in the same transaction."""

    demand: Demand
    effect: Effect
    reason_code: str
    policy_ids: tuple[UUID, ...] = ()
    reasons: tuple[str, ...] = ()
    consumed: tuple[Approval, ...] = ()
    reserved: tuple[QuotaWindow, ...] = ()
    reports: tuple[ApprovalReport, ...] = ()
    sent_at: float = 0.0
    """When the guarded statement was sent, on the ``boot_time`` clock."""

    @property
    def admitted(self) -> bool:
        return self.effect is Effect.ALLOW

    @property
    def new_approvals(self) -> list[ApprovalReport]:
        """The approvals that this call requests."""
        return [
            report
            for report in self.reports
            if report.standing in (ApprovalState.ASKED, ApprovalState.ASKED_AGAIN)
        ]

    @property
    def approval_id(self) -> UUID | None:
        """The approval that the audit row of the call names."""
        if self.consumed:
            return self.consumed[0].id
        open_ones = [report for report in self.reports if report.standing is not ApprovalState.APPROVED]
        return open_ones[0].id if open_ones else None


@dataclass(slots=True)
class Ledger:
    """The approvals and quota available under lock; each settlement uses up its part."""

    now: float
    ttl: float
    approvals: list[Approval] = field(default_factory=list)
    used: Counter[QuotaWindow] = field(default_factory=Counter)
    pending_of_token: Counter[UUID | None] = field(default_factory=Counter)
    pending_of_identity: Counter[UUID | None] = field(default_factory=Counter)
    expired: list[UUID] = field(init=False)
    """Approvals that have expired but are not yet marked as expired."""
    _expired_bindings: set[bytes] = field(init=False)

    def __post_init__(self) -> None:
        over = [each for each in self.approvals if self._is_expired(each)]
        self.expired = [each.id for each in over]
        self._expired_bindings = {each.binding for each in over}
        self.approvals = [each for each in self.approvals if not self._is_expired(each)]

    def _is_expired(self, approval: Approval) -> bool:
        return approval.state != "consumed" and approval.expires_at <= self.now

    def settle(self, demand: Demand) -> Settlement:
        """Give a call everything that it needs, or nothing."""
        approvals = [self._find(need, demand.continues) for need in demand.needs]
        existing = [approval for approval in approvals if approval is not None]
        # The quota of the next round of an admitted call was counted with that call.
        is_next_round = bool(existing) and all(approval.consumed_by is not None for approval in existing)
        if (
            demand.needs
            and demand.continues is not None
            and not (is_next_round and len(existing) == len(approvals))
        ):
            # No approver saw the contents of a next round: it runs only on the approvals of the previous round.
            return self._deny(demand, "not_covered_by_approval", ())
        quotas = () if is_next_round else demand.quotas
        if over := [quota for quota in quotas if self.used[quota.key, quota.start] >= quota.limit]:
            return self._deny(demand, "quota_exceeded", over)
        if any(approval.state == "denied" for approval in existing):
            return self._withhold(demand, approvals, Effect.DENY, "approval_denied")
        if len(existing) == len(approvals) and all(approval.state != "pending" for approval in existing):
            return self._admit(demand, existing, quotas)
        if self._exceeds_pending_limit(demand, approvals.count(None)):
            return self._deny(demand, "too_many_approvals", ())
        return self._withhold(demand, approvals, Effect.REQUIRE_APPROVAL, "approval_required")

    def _find(self, need: Need, continues: UUID | None) -> Approval | None:
        """The approval that applies: for a next round, that of the previous one; a denial before an unused approval."""
        mine = [each for each in self.approvals if each.binding == need.binding]
        if continues is not None:
            return next((each for each in mine if each.consumed_by == continues), None)
        for state in ("denied", "approved", "pending"):
            for each in mine:
                if each.state == state:
                    return each
        return None

    def _admit(self, demand: Demand, consumed: list[Approval], quotas: tuple[QuotaDemand, ...]) -> Settlement:
        for approval in consumed:
            self.approvals.remove(approval)
        reserved = tuple((quota.key, quota.start) for quota in quotas)
        self.used.update(reserved)
        policies = dict.fromkeys(id for need in demand.needs for id in need.policy_ids)
        policies.update(dict.fromkeys(quota.policy_id for quota in demand.quotas))
        reason_code = "approved" if demand.needs else "granted"
        return Settlement(
            demand, Effect.ALLOW, reason_code, tuple(policies), consumed=tuple(consumed), reserved=reserved
        )

    def _deny(self, demand: Demand, reason_code: str, quotas: Sequence[QuotaDemand]) -> Settlement:
        reasons = tuple(dict.fromkeys(quota.reason for quota in quotas if quota.reason is not None))
        policies = [quota.policy_id for quota in quotas] or [
            id for need in demand.needs for id in need.policy_ids
        ]
        return Settlement(demand, Effect.DENY, reason_code, tuple(dict.fromkeys(policies)), reasons)

    def _exceeds_pending_limit(self, demand: Demand, more: int) -> bool:
        token, identity = demand.values.token_id, demand.values.actor_id
        return more > 0 and (
            self.pending_of_token[token] + more > PENDING_PER_TOKEN
            or self.pending_of_identity[identity] + more > PENDING_PER_IDENTITY
        )

    def _withhold(
        self, demand: Demand, approvals: Sequence[Approval | None], effect: Effect, reason_code: str
    ) -> Settlement:
        policies = tuple(dict.fromkeys(id for need in demand.needs for id in need.policy_ids))
        reasons = tuple(dict.fromkeys(reason for need in demand.needs for reason in need.reasons))
        reports = [
            self._request(demand, need) if approval is None else _report(need, approval)
            for need, approval in zip(demand.needs, approvals, strict=True)
            # After a denial, no other group is asked.
            if approval is not None or effect is not Effect.DENY
        ]
        return Settlement(demand, effect, reason_code, policies, reasons, reports=tuple(reports))

    def _request(self, demand: Demand, need: Need) -> ApprovalReport:
        values = demand.values
        standing = (
            ApprovalState.ASKED_AGAIN if need.binding in self._expired_bindings else ApprovalState.ASKED
        )
        report = ApprovalReport(new_id(), need, standing, self.now + self.ttl)
        self.approvals.append(Approval(report.id, need.binding, "pending", report.expires_at))
        self.pending_of_token[values.token_id] += 1
        self.pending_of_identity[values.actor_id] += 1
        return report


def _report(need: Need, approval: Approval) -> ApprovalReport:
    standing = ApprovalState.APPROVED if approval.state == "consumed" else ApprovalState(approval.state)
    return ApprovalReport(approval.id, need, standing, approval.expires_at, approval.decision_reason)


Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


# Every transaction locks approvals first, then quotas, each in a fixed order, to prevent deadlocks.
# mutation: approvals_locked
_LOCK_APPROVALS = """
SELECT id, binding, state, extract(epoch FROM expires_at)::float8 AS expires_at, consumed_by, decision_reason
FROM approvals
WHERE binding = ANY($1) AND (state IN ('pending', 'approved')
    OR (state = 'denied' AND expires_at > clock_timestamp()) OR (state = 'consumed' AND consumed_by = ANY($2)))
ORDER BY id FOR UPDATE
"""
LOCK_QUOTAS = """
INSERT INTO quota_uses (quota_key, window_start, used)
SELECT key, to_timestamp(start), 0 FROM unnest($1::text[], $2::float8[]) AS t(key, start) ORDER BY key, start
ON CONFLICT (quota_key, window_start) DO UPDATE SET used = quota_uses.used
RETURNING quota_key, extract(epoch FROM window_start)::float8 AS start, used
"""
_COUNT_PENDING = """
SELECT identity_id, token_id, count(*) AS waiting FROM approvals
WHERE kind = 'call' AND state = 'pending' AND expires_at > clock_timestamp() AND identity_id = ANY($1)
GROUP BY identity_id, token_id
"""
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
_EXPIRE = """
UPDATE approvals SET state = 'expired', revision = revision + 1, updated_at = clock_timestamp() WHERE id = ANY($1)
"""
_CONSUME = """
UPDATE approvals a SET state = 'consumed', consumed_by = t.call_id, consumed_at = clock_timestamp(),
    revision = a.revision + 1, updated_at = clock_timestamp()
FROM unnest($1::uuid[], $2::uuid[]) AS t(id, call_id) WHERE a.id = t.id
"""
_RESERVE = """
UPDATE quota_uses q SET used = q.used + t.uses FROM unnest($1::text[], $2::float8[], $3::int[]) AS t(key, start, uses)
WHERE q.quota_key = t.key AND q.window_start = to_timestamp(t.start)
"""
_INSERT_APPROVALS = """
INSERT INTO approvals (id, kind, identity_id, token_id, server_id, tool, arguments_digest, definition_digest,
    tool_risk, policy_ids, policy_versions, approver_group_id, approver_group, binding, event_id, reason, expires_at)
SELECT m.id, 'call', m.identity_id, m.token_id, m.server_id, m.tool, m.arguments_digest, m.definition_digest,
    m.tool_risk, m.policy_ids::uuid[], m.policy_versions::int[], g.id, m.approver_group, m.binding, m.event_id,
    m.reason, to_timestamp(m.expires_at)
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bytea[], $7::bytea[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::bytea[], $13::uuid[], $14::text[], $15::float8[])
    AS m(id, identity_id, token_id, server_id, tool, arguments_digest, definition_digest, tool_risk, policy_ids,
        policy_versions, approver_group, binding, event_id, reason, expires_at)
LEFT JOIN LATERAL (
    -- If two groups of different providers have this name, it is ambiguous which one the policy means.
    SELECT (array_agg(id))[1] AS id FROM groups WHERE lower(name) = lower(m.approver_group) AND ended_at IS NULL
    HAVING count(*) = 1
) g ON true
ON CONFLICT (binding) WHERE state = 'pending' DO NOTHING
RETURNING id, approver_group_id
"""
_COUNT_REPEATED_REQUESTS = """
UPDATE approvals a SET asked = a.asked + t.times FROM unnest($1::uuid[], $2::int[]) AS t(id, times) WHERE a.id = t.id
"""


# Keeps the history of approvals in the same form as the service.
_KEEP_VERSIONS = """
WITH closed AS (
    UPDATE object_versions SET valid_to = now() WHERE object_id = ANY($1) AND valid_to IS NULL
)
INSERT INTO object_versions (object_id, version, kind, content)
SELECT id, coalesce((SELECT max(version) FROM object_versions WHERE object_id = a.id), 0) + 1, 'approval',
    jsonb_build_object('state', state, 'decided_by', decided_by, 'decided_by_type', decided_by_type,
        'expires_at', expires_at)
FROM approvals a WHERE id = ANY($1)
"""
_FORGET_QUOTAS = "DELETE FROM quota_uses WHERE window_start < $1"
_MAX_QUOTA_WINDOW = timedelta(days=2)
"""Quotas are counted per day, and a day in a local time zone can start up to half a day off UTC."""


class ApprovalConflict(Exception):
    """Another transaction requested the same approval at the same time. Nothing is written; try again."""


class DependenciesMoved(Exception):
    """A dependency of a call has changed, or its validity has ended. Nothing of the transaction is written."""


async def settle(
    connection: Connection, demands: Sequence[Demand], *, ttl: float, worker_id: UUID, digest_key_id: str
) -> tuple[list[Settlement], float, float]:
    """Settle calls in their order inside the open transaction.

    Returns the settlements, the database time, and when the guarded statement was sent (``boot_time``).

    Raises ``DependenciesMoved``, ``ApprovalConflict``, and asyncpg's errors. The transaction must be rolled back then.
    """
    # mutation: approvals_read
    ledger = await _read_ledger(connection, demands, ttl)
    settlements = [ledger.settle(demand) for demand in demands]
    if ledger.expired:
        await connection.execute(_EXPIRE, ledger.expired)
    consumed = [(approval.id, each.demand.id) for each in settlements for approval in each.consumed]
    if consumed:
        await connection.execute(_CONSUME, *columns(consumed))
    uses = Counter(window for each in settlements for window in each.reserved)
    if uses:
        await connection.execute(_RESERVE, *columns([(*window, count) for window, count in uses.items()]))
    await _request_approvals(connection, settlements)
    changed = [id for id, _ in consumed]
    changed += [report.id for each in settlements for report in each.new_approvals]
    await keep_versions(connection, [*ledger.expired, *changed])
    rows = [audit_row(each) for each in settlements]
    clients = clients_of(rows)
    values = arguments_of(rows, (), clients, worker_id, digest_key_id)
    # Taken here because the locks above can wait, and only this statement compares versions.
    sent = boot_time()
    [record] = await connection.fetch(statement_for(rows, clients), *values)
    if record["written"] != len(rows):
        raise DependenciesMoved
    return [replace(each, sent_at=sent) for each in settlements], record["at"], sent


async def _read_ledger(connection: Connection, demands: Sequence[Demand], ttl: float) -> Ledger:
    bindings = list({need.binding for demand in demands for need in demand.needs})
    earlier = [demand.continues for demand in demands if demand.continues is not None]
    rows = await connection.fetch(_LOCK_APPROVALS, bindings, earlier) if bindings else []
    used = await lock_quotas(
        connection, {(quota.key, quota.start) for demand in demands for quota in demand.quotas}
    )
    approvals = [Approval(**row) for row in rows]
    # The time is read under the locks because acquiring them can take a while.
    ledger = Ledger(await connection.fetchval(_NOW), ttl, approvals, used)
    if set(bindings) - {approval.binding for approval in ledger.approvals}:
        asking = list({demand.values.actor_id for demand in demands})
        for row in await connection.fetch(_COUNT_PENDING, asking):
            ledger.pending_of_token[row["token_id"]] += row["waiting"]
            ledger.pending_of_identity[row["identity_id"]] += row["waiting"]
    return ledger


async def lock_quotas(connection: Connection, windows: set[QuotaWindow]) -> Counter[QuotaWindow]:
    """Lock these quota windows, creating missing ones. Returns how much of each is used."""
    if not windows:
        return Counter()
    keys, starts = zip(*sorted(windows), strict=True)
    rows = await connection.fetch(LOCK_QUOTAS, list(keys), list(starts))
    return Counter({(row["quota_key"], row["start"]): row["used"] for row in rows})


async def keep_versions(connection: Connection, approval_ids: Sequence[UUID]) -> None:
    """Write the changed approvals to the version history."""
    if approval_ids:
        await connection.execute(_KEEP_VERSIONS, approval_ids)


async def _request_approvals(connection: Connection, settlements: Sequence[Settlement]) -> None:
    new_approvals = [(each.demand, report) for each in settlements for report in each.new_approvals]
    if new_approvals:
        rows = await connection.fetch(
            _INSERT_APPROVALS, *columns([_approval(demand, report) for demand, report in new_approvals])
        )
        groups = {row["id"]: row["approver_group_id"] for row in rows}
        if len(groups) != len(new_approvals):
            raise ApprovalConflict
        messages = [_message(demand.values, report, groups[report.id]) for demand, report in new_approvals]
        await connection.execute(INSERT_DELIVERIES, *delivery_arguments(messages))
    reports = (report for each in settlements for report in each.reports)
    times = Counter(report.id for report in reports if report.standing is ApprovalState.PENDING)
    if times:
        await connection.execute(_COUNT_REPEATED_REQUESTS, *columns(list(times.items())))


def _approval(demand: Demand, report: ApprovalReport) -> tuple[Any, ...]:
    values, need = demand.values, report.need
    return (
        report.id, values.actor_id, values.token_id, values.server_id, values.tool, values.arguments_digest,
        values.definition_digest, demand.risk, "{" + ",".join(map(str, need.policy_ids)) + "}",
        "{" + ",".join(map(str, need.policy_versions)) + "}", need.group, need.binding, demand.id,
        demand.reason, report.expires_at,
    )  # fmt: skip


def _message(values: Any, report: ApprovalReport, group_id: UUID | None) -> Any:
    ids = {"approval_id": report.id, "event_id": values.id, "identity_id": values.actor_id}
    ids |= {"token_id": values.token_id, "server_id": values.server_id, "group_id": group_id}
    return Message(WebhookEvent.APPROVAL_REQUESTED.value, ids)


def audit_row(settlement: Settlement) -> Row:
    """The audit row of a settled call."""
    demand = settlement.demand
    outcome = {"deny": "denied", "require_approval": "not_forwarded"}.get(settlement.effect)
    values = demand.values._replace(
        decision=settlement.effect,
        reason_code=settlement.reason_code,
        outcome=outcome,
        policy_ids=settlement.policy_ids or None,
        approval_id=settlement.approval_id,
    )
    # Kept for each withheld call, even if an earlier call requested the approval: explaining it takes its arguments.
    keeps = demand.keep_always or settlement.consumed or settlement.effect is Effect.REQUIRE_APPROVAL
    arguments = demand.seal() if demand.seal is not None and keeps else None
    span = str(demand.span[0]), str(demand.span[1])
    return Row(
        demand.id, cells_of(values), dependencies_of(demand.depends_on), span, demand.client, arguments
    )


def columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Transpose rows into the arrays that ``unnest`` takes."""
    return [list(column) for column in zip(*rows, strict=True)]


async def forget_quotas(owner_url: str, *, now: datetime) -> None:
    """Delete the counts of quota windows that have ended, which no call can use or release any more.

    Raises ``DRIVER_FAULTS``.
    """
    await delete_rows(owner_url, _FORGET_QUOTAS, now - _MAX_QUOTA_WINDOW)
