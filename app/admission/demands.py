"""What a call can demand beside a decision, and what it is met with: approvals and uses of durable quotas.

Pure: who gets what is worked out here, under locks that the second lane holds, so that no two calls get the same.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from uuid import UUID

from app.admission.rows import ClientRow, Values
from app.crypto.keys import Sealed
from app.domain.policy import ApprovalDemand, Effect, QuotaDemand
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
    rests_on: Sequence[tuple[UUID, int]]
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
            return self._denied(demand, "approval_uncovered", ())
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
