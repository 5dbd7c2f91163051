"""One transaction of the second lane: what calls demand is locked, given out, and written down with their rows.

The rows are guarded as those of the first lane are, and last: when one is not written, nothing of it holds.

What a call can demand beside a decision, and what it is met with: approvals and uses of durable quotas.

Pure: who gets what is worked out here, under locks that the second lane holds, so that no two calls get the same.

See ADR 15.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from app.admission.rows import ClientRow, Row, Values, arguments_of, cells_of, clients_of, statement_for
from app.crypto.keys import Sealed
from app.db.engine import plain_url
from app.db.outbox import TELL
from app.db.outbox import arguments_of as told_by
from app.db.webhook_events import WebhookEvent, approval_message
from app.domain.policy import ApprovalDemand, Effect, QuotaDemand
from app.lib.clock import boot_time
from app.lib.ids import new_id

PENDING_PER_TOKEN = 20
PENDING_PER_IDENTITY = 60
"""Approvals that may be asked for at once, so that an agent gone wild does not bury those who decide."""


@dataclass(frozen=True, slots=True)
class Need:
    """One approval that a call needs: of one group, bound to the call by ``binding``."""

    binding: bytes
    group: str
    policy_ids: tuple[UUID, ...]
    policy_versions: tuple[int, ...]
    reasons: tuple[str, ...] = ()


def needs_of(
    call: Values, asks: Iterable[ApprovalDemand], risk: str | None = None, more: object = None
) -> tuple[Need, ...]:
    """The approvals that a call needs, one for each group. What is in a binding ends the approval by changing.

    ``risk``: of the tool. ``more``: what is forwarded of the call beyond its arguments.
    """
    found = []
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
        found.append(
            Need(
                hashlib.sha256(json.dumps(bound).encode()).digest(),
                group,
                tuple(ask.policy_id for ask in asking),
                tuple(ask.version for ask in asking),
                reasons,
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Demand:
    """One call in the second lane: its row to be, and what has to be had for it."""

    values: Values
    depends_on: Sequence[tuple[UUID, int]]
    span: tuple[float, float]
    needs: tuple[Need, ...] = ()
    quotas: tuple[QuotaDemand, ...] = ()
    reason: str | None = None
    continues: UUID | None = None
    """The call of which this is the next round: what that one took goes over to this one."""
    risk: str | None = None
    """Of the tool."""
    client: ClientRow | None = None
    seal: Callable[[], Sealed] | None = None
    """Seals the arguments, where the server has them kept."""
    keep_always: bool = False
    """Whether they are kept when no approval is asked for or used, too."""

    @property
    def id(self) -> UUID:
        """The call's."""
        return self.values.id


class Standing(StrEnum):
    """How an approval stands to a call that does not run."""

    ASKED = "asked"
    ASKED_AGAIN = "asked_again"
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"


@dataclass(slots=True)
class Approval:
    """An approval that there is."""

    id: UUID
    binding: bytes
    state: str
    expires_at: float
    consumed_by: UUID | None = None
    decision_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a call that does not run is told of one approval."""

    id: UUID
    need: Need
    standing: Standing
    expires_at: float
    decision_reason: str | None = None


QuotaWindow = tuple[str, float]
"""A quota's key, and where its window starts, in Unix seconds."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of one call: its effect, and what goes with it into the same transaction."""

    demand: Demand
    effect: Effect
    reason_code: str
    policy_ids: tuple[UUID, ...] = ()
    reasons: tuple[str, ...] = ()
    taken: tuple[Approval, ...] = ()
    reserved: tuple[QuotaWindow, ...] = ()
    told: tuple[Told, ...] = ()
    sent_at: float = 0.0
    """When the statement was sent that guards its row, of ``boot_time``."""

    @property
    def admitted(self) -> bool:
        return self.effect is Effect.ALLOW

    @property
    def made(self) -> list[Told]:
        """The approvals that are asked for with this call."""
        return [told for told in self.told if told.standing in (Standing.ASKED, Standing.ASKED_AGAIN)]

    @property
    def approval_id(self) -> UUID | None:
        """The approval that the call's row names."""
        if self.taken:
            return self.taken[0].id
        open_ones = [told for told in self.told if told.standing is not Standing.APPROVED]
        return open_ones[0].id if open_ones else None


@dataclass(slots=True)
class Books:
    """What there is to be had, as it is under lock; each settlement takes its part of it."""

    now: float
    ttl: float
    approvals: list[Approval] = field(default_factory=list)
    used: Counter[QuotaWindow] = field(default_factory=Counter)
    pending_of_token: Counter[UUID | None] = field(default_factory=Counter)
    pending_of_identity: Counter[UUID | None] = field(default_factory=Counter)
    run_out: list[UUID] = field(init=False)
    """Approvals whose time is over, which nobody has written down yet."""
    _once_there: set[bytes] = field(init=False)

    def __post_init__(self) -> None:
        over = [each for each in self.approvals if self._is_over(each)]
        self.run_out = [each.id for each in over]
        self._once_there = {each.binding for each in over}
        self.approvals = [each for each in self.approvals if not self._is_over(each)]

    def _is_over(self, approval: Approval) -> bool:
        return approval.state != "consumed" and approval.expires_at <= self.now

    def settle(self, demand: Demand) -> Settlement:
        """Give a call what it demands: all of it, or nothing."""
        found = [self._find(need, demand.continues) for need in demand.needs]
        had = [approval for approval in found if approval is not None]
        # The next round of a call that is proven to have been let through has been counted with it.
        goes_on = bool(had) and all(approval.consumed_by is not None for approval in had)
        if demand.needs and demand.continues is not None and not (goes_on and len(had) == len(found)):
            # No approver saw what a next round brings: it runs on the approvals of the round before, or not at all.
            return self._denied(demand, "not_covered_by_approval", ())
        quotas = () if goes_on else demand.quotas
        if over := [quota for quota in quotas if self.used[quota.key, quota.start] >= quota.limit]:
            return self._denied(demand, "quota_exceeded", over)
        if any(approval.state == "denied" for approval in had):
            return self._waiting(demand, found, Effect.DENY, "approval_denied")
        if len(had) == len(found) and all(approval.state != "pending" for approval in had):
            return self._admitted(demand, had, quotas)
        if self._asks_too_much(demand, found.count(None)):
            return self._denied(demand, "too_many_approvals", ())
        return self._waiting(demand, found, Effect.REQUIRE_APPROVAL, "approval_required")

    def _find(self, need: Need, continues: UUID | None) -> Approval | None:
        """The approval that speaks for or against: a round goes on; a no counts more than a yes that is left over."""
        mine = [each for each in self.approvals if each.binding == need.binding]
        if continues is not None:
            return next((each for each in mine if each.consumed_by == continues), None)
        for state in ("denied", "approved", "pending"):
            for each in mine:
                if each.state == state:
                    return each
        return None

    def _admitted(self, demand: Demand, taken: list[Approval], quotas: tuple[QuotaDemand, ...]) -> Settlement:
        for approval in taken:
            self.approvals.remove(approval)
        reserved = tuple((quota.key, quota.start) for quota in quotas)
        self.used.update(reserved)
        policies = dict.fromkeys(id for need in demand.needs for id in need.policy_ids)
        policies.update(dict.fromkeys(quota.policy_id for quota in demand.quotas))
        reason_code = "approved" if demand.needs else "granted"
        return Settlement(
            demand, Effect.ALLOW, reason_code, tuple(policies), taken=tuple(taken), reserved=reserved
        )

    def _denied(self, demand: Demand, reason_code: str, quotas: Sequence[QuotaDemand]) -> Settlement:
        reasons = tuple(dict.fromkeys(quota.reason for quota in quotas if quota.reason is not None))
        policies = [quota.policy_id for quota in quotas] or [
            id for need in demand.needs for id in need.policy_ids
        ]
        return Settlement(demand, Effect.DENY, reason_code, tuple(dict.fromkeys(policies)), reasons)

    def _asks_too_much(self, demand: Demand, more: int) -> bool:
        token, identity = demand.values.token_id, demand.values.actor_id
        return more > 0 and (
            self.pending_of_token[token] + more > PENDING_PER_TOKEN
            or self.pending_of_identity[identity] + more > PENDING_PER_IDENTITY
        )

    def _waiting(
        self, demand: Demand, found: Sequence[Approval | None], effect: Effect, reason_code: str
    ) -> Settlement:
        policies = tuple(dict.fromkeys(id for need in demand.needs for id in need.policy_ids))
        reasons = tuple(dict.fromkeys(reason for need in demand.needs for reason in need.reasons))
        told = [
            self._asked(demand, need) if approval is None else _told(need, approval)
            for need, approval in zip(demand.needs, found, strict=True)
            # Where somebody said no already, nobody else is asked.
            if approval is not None or effect is not Effect.DENY
        ]
        return Settlement(demand, effect, reason_code, policies, reasons, told=tuple(told))

    def _asked(self, demand: Demand, need: Need) -> Told:
        values = demand.values
        standing = Standing.ASKED_AGAIN if need.binding in self._once_there else Standing.ASKED
        told = Told(new_id(), need, standing, self.now + self.ttl)
        self.approvals.append(Approval(told.id, need.binding, "pending", told.expires_at))
        self.pending_of_token[values.token_id] += 1
        self.pending_of_identity[values.actor_id] += 1
        return told


def _told(need: Need, approval: Approval) -> Told:
    standing = Standing.APPROVED if approval.state == "consumed" else Standing(approval.state)
    return Told(approval.id, need, standing, approval.expires_at, approval.decision_reason)


Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


# Every transaction locks approvals first, then quotas, each in one order, so that none waits for another in a ring.
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
_WAITING = """
SELECT identity_id, token_id, count(*) AS waiting FROM approvals
WHERE kind = 'call' AND state = 'pending' AND expires_at > clock_timestamp() AND identity_id = ANY($1)
GROUP BY identity_id, token_id
"""
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
_RUN_OUT = """
UPDATE approvals SET state = 'expired', revision = revision + 1, updated_at = clock_timestamp() WHERE id = ANY($1)
"""
_TAKE = """
UPDATE approvals a SET state = 'consumed', consumed_by = t.call_id, consumed_at = clock_timestamp(),
    revision = a.revision + 1, updated_at = clock_timestamp()
FROM unnest($1::uuid[], $2::uuid[]) AS t(id, call_id) WHERE a.id = t.id
"""
_RESERVE = """
UPDATE quota_uses q SET used = q.used + t.uses FROM unnest($1::text[], $2::float8[], $3::int[]) AS t(key, start, uses)
WHERE q.quota_key = t.key AND q.window_start = to_timestamp(t.start)
"""
_MAKE = """
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
    -- Of two groups of this name, each of a provider's, nobody could say which the policy means.
    SELECT (array_agg(id))[1] AS id FROM groups WHERE lower(name) = lower(m.approver_group) AND ended_at IS NULL
    HAVING count(*) = 1
) g ON true
ON CONFLICT (binding) WHERE state = 'pending' DO NOTHING
RETURNING id, approver_group_id
"""
_ASKED_ONCE_MORE = """
UPDATE approvals a SET asked = a.asked + t.times FROM unnest($1::uuid[], $2::int[]) AS t(id, times) WHERE a.id = t.id
"""


# As the service keeps the past of a decision.
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
_LONGEST_WINDOW = timedelta(days=2)
"""Of quotas, which are counted by the day; in a time zone of ours it may begin half a day off."""


class Collided(Exception):
    """Another transaction asked for the same approval at the same time: nothing is written, look again."""


class Moved(Exception):
    """The grounds of a call have moved, or its span is over: nothing is written of the whole turn."""


async def settle(
    connection: Connection, demands: Sequence[Demand], *, ttl: float, worker_id: UUID, digest_key_id: str
) -> tuple[list[Settlement], float, float]:
    """Settle calls, in their order, inside the transaction that is open; what became of them, the database's time, and
    when the statement was sent that guards their rows, of ``boot_time``.

    Raises ``Moved``, ``Collided``, and asyncpg's errors. The transaction must be rolled back then.
    """
    # mutation: approvals_read
    books = await _books(connection, demands, ttl)
    settlements = [books.settle(demand) for demand in demands]
    if books.run_out:
        await connection.execute(_RUN_OUT, books.run_out)
    await _take(connection, settlements)
    await _ask(connection, settlements)
    changed = [approval.id for each in settlements for approval in each.taken]
    changed += [told.id for each in settlements for told in each.made]
    await keep_versions(connection, [*books.run_out, *changed])
    rows = [row_of(each) for each in settlements]
    clients = clients_of(rows)
    values = arguments_of(rows, (), clients, worker_id, digest_key_id)
    # Not earlier: the locks above may have been waited for, and this statement is the one that compares versions.
    sent = boot_time()
    [record] = await connection.fetch(statement_for(rows, clients), *values)
    if record["written"] != len(rows):
        raise Moved
    return [replace(each, sent_at=sent) for each in settlements], record["at"], sent


async def _books(connection: Connection, demands: Sequence[Demand], ttl: float) -> Books:
    bindings = list({need.binding for demand in demands for need in demand.needs})
    earlier = [demand.continues for demand in demands if demand.continues is not None]
    found = await connection.fetch(_LOCK_APPROVALS, bindings, earlier) if bindings else []
    used = await lock_quotas(
        connection, {(quota.key, quota.start) for demand in demands for quota in demand.quotas}
    )
    approvals = [
        Approval(
            row["id"],
            row["binding"],
            row["state"],
            row["expires_at"],
            row["consumed_by"],
            row["decision_reason"],
        )
        for row in found
    ]
    # Read under the locks: they may have been waited for.
    books = Books(await connection.fetchval(_NOW), ttl, approvals, used)
    if set(bindings) - {approval.binding for approval in books.approvals}:
        asking = list({demand.values.actor_id for demand in demands})
        for row in await connection.fetch(_WAITING, asking):
            books.pending_of_token[row["token_id"]] += row["waiting"]
            books.pending_of_identity[row["identity_id"]] += row["waiting"]
    return books


async def lock_quotas(connection: Connection, windows: set[QuotaWindow]) -> Counter[QuotaWindow]:
    """Lock these, made where they are new; how much of each is used."""
    if not windows:
        return Counter()
    keys, starts = zip(*sorted(windows), strict=True)
    rows = await connection.fetch(LOCK_QUOTAS, list(keys), list(starts))
    return Counter({(row["quota_key"], row["start"]): row["used"] for row in rows})


async def _take(connection: Connection, settlements: Sequence[Settlement]) -> None:
    taken = [(approval.id, each.demand.id) for each in settlements for approval in each.taken]
    if taken:
        await connection.execute(_TAKE, *columns(taken))
    uses = Counter(window for each in settlements for window in each.reserved)
    if uses:
        await connection.execute(_RESERVE, *columns([(*window, count) for window, count in uses.items()]))


async def keep_versions(connection: Connection, approval_ids: Sequence[UUID]) -> None:
    """Keep the past of approvals that have just been changed."""
    if approval_ids:
        await connection.execute(_KEEP_VERSIONS, approval_ids)


async def _ask(connection: Connection, settlements: Sequence[Settlement]) -> None:
    made = [(each.demand, told) for each in settlements for told in each.made]
    if made:
        rows = await connection.fetch(_MAKE, *columns([_approval(demand, told) for demand, told in made]))
        groups = {row["id"]: row["approver_group_id"] for row in rows}
        if len(groups) != len(made):
            raise Collided
        messages = [_message(demand.values, told, groups[told.id]) for demand, told in made]
        await connection.execute(TELL, *told_by(messages))
    waiting = (told for each in settlements for told in each.told)
    times = Counter(told.id for told in waiting if told.standing is Standing.PENDING)
    if times:
        await connection.execute(_ASKED_ONCE_MORE, *columns(list(times.items())))


def _approval(demand: Demand, told: Told) -> tuple[Any, ...]:
    values, need = demand.values, told.need
    return (
        told.id, values.actor_id, values.token_id, values.server_id, values.tool, values.arguments_digest,
        values.definition_digest, demand.risk, "{" + ",".join(map(str, need.policy_ids)) + "}",
        "{" + ",".join(map(str, need.policy_versions)) + "}", need.group, need.binding, demand.id,
        demand.reason, told.expires_at,
    )  # fmt: skip


def _message(values: Any, told: Told, group_id: UUID | None) -> Any:
    return approval_message(
        WebhookEvent.APPROVAL_REQUESTED, told.id, event_id=values.id, identity_id=values.actor_id,
        token_id=values.token_id, server_id=values.server_id, group_id=group_id,
    )  # fmt: skip


def row_of(settlement: Settlement) -> Row:
    """The row of a call as it was settled."""
    demand = settlement.demand
    outcome = {"deny": "denied", "require_approval": "not_forwarded"}.get(settlement.effect)
    values = demand.values._replace(
        decision=settlement.effect,
        reason_code=settlement.reason_code,
        outcome=outcome,
        policy_ids=settlement.policy_ids or None,
        approval_id=settlement.approval_id,
    )
    # Of each that waits, also where the approval was asked for already: explaining it takes what it came with.
    keeps = demand.keep_always or settlement.taken or settlement.effect is Effect.REQUIRE_APPROVAL
    arguments = demand.seal() if demand.seal is not None and keeps else None
    return Row(demand.id, cells_of(values), demand.depends_on, demand.span, demand.client, arguments)


def columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows as the arrays that ``unnest`` takes."""
    return [list(column) for column in zip(*rows, strict=True)]


async def forget_quotas(owner_url: str, *, now: datetime) -> None:
    """Delete how much was used of quotas in days that are over; what a call gives back of them is of no more use.

    Raises ``asyncpg.PostgresError`` or ``OSError`` when the database cannot do it.
    """
    connection = await asyncpg.connect(plain_url(owner_url), timeout=10)
    try:
        await connection.execute(_FORGET_QUOTAS, now - _LONGEST_WINDOW)
    finally:
        await connection.close()
