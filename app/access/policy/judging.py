"""From the policies that a request satisfies, or fails on, to the one verdict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import inf
from uuid import UUID
from zoneinfo import ZoneInfo

from app.access.policy.compiled import CompiledPolicy
from app.access.policy.engine import Findings
from app.domain.policy import ApprovalDemand, Effect, PolicyInput, PolicyVerdict, QuotaDemand

_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a deployment has settled for all policies: its zone of time, and whether grants alone permit."""

    zone: ZoneInfo = _UTC
    permits_by_default: bool = True

    def local(self, at: float) -> datetime:
        """The local time."""
        return datetime.fromtimestamp(at, self.zone)

    def day(self, at: float) -> tuple[float, float]:
        """The local day around a time, in Unix seconds; on two days of a year these are not 24 hours."""
        today = self.local(at).date()
        return self._midnight(today), self._midnight(today + timedelta(days=1))

    def _midnight(self, day: date) -> float:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()


@dataclass(frozen=True, slots=True)
class Hold:
    """When, and for which other requests, a verdict holds as well: see ``PolicyVerdict``."""

    reads_call: bool
    reads_groups: bool
    valid_from: float = -inf
    valid_until: float = inf


def judge(
    policies: Sequence[CompiledPolicy], findings: Findings, request: PolicyInput, rules: Rules, hold: Hold
) -> PolicyVerdict:
    """The verdict on a request with these findings."""
    if rules.permits_by_default and not findings.satisfied and not findings.failed:
        return PolicyVerdict(
            Effect.ALLOW,
            "granted",
            (),
            hold.valid_from,
            hold.valid_until,
            hold.reads_call,
            hold.reads_groups,
        )
    satisfied = [policies[number] for number in findings.satisfied]
    failed = [policies[number] for number in sorted(findings.failed)]
    effect, reason_code, deciding = _decided(
        [policy for policy in satisfied if policy.enforced],
        [policy for policy in failed if policy.enforced],
        rules.permits_by_default or any(_may_permit(policies[number]) for number in findings.aside),
    )
    observed = [policy for policy in failed if not policy.enforced]
    if effect is not Effect.DENY:
        observed += [policy for policy in satisfied if not policy.enforced and not policy.permits]
    asks, quotas = _demands(effect, satisfied, request, rules)
    return PolicyVerdict(
        effect,
        reason_code,
        _ids(deciding),
        hold.valid_from,
        hold.valid_until,
        hold.reads_call,
        hold.reads_groups,
        asks,
        quotas,
        _ids(observed),
        () if effect is Effect.ALLOW else _reasons(reason_code, deciding, policies, findings),
    )


def _may_permit(policy: CompiledPolicy) -> bool:
    return policy.enforced and policy.permits


def _decided(
    satisfied: list[CompiledPolicy], failed: list[CompiledPolicy], permitted: bool
) -> tuple[Effect, str, list[CompiledPolicy]]:
    """What the enforced policies make of it, and which of them do."""
    if failed:
        return Effect.DENY, "policy_error", failed
    denying = [policy for policy in satisfied if policy.denies]
    if denying:
        return Effect.DENY, "policy_denied", denying
    permitting = [policy for policy in satisfied if policy.permits]
    if not permitting and not permitted:
        return Effect.DENY, "policy_not_permitted", []
    asking = [policy for policy in satisfied if policy.group is not None]
    if asking:
        return Effect.REQUIRE_APPROVAL, "approval_required", asking
    return Effect.ALLOW, "granted", permitting + [policy for policy in satisfied if policy.quota is not None]


def _demands(
    effect: Effect, satisfied: list[CompiledPolicy], request: PolicyInput, rules: Rules
) -> tuple[tuple[ApprovalDemand, ...], tuple[QuotaDemand, ...]]:
    """What has to be had before the call runs: of what is denied, nothing."""
    demanding = () if effect is Effect.DENY else tuple(policy for policy in satisfied if policy.enforced)
    asks = tuple(
        ApprovalDemand(policy.published.id, policy.published.version, policy.group, policy.reason)
        for policy in demanding
        if policy.group is not None
    )
    counting = [policy for policy in demanding if policy.quota is not None]
    return asks, tuple(_quota(policy, request, rules) for policy in counting)


def _quota(policy: CompiledPolicy, request: PolicyInput, rules: Rules) -> QuotaDemand:
    used = request.server.id if request.tool is None else request.tool.id
    key = f"{policy.published.id}/{request.token.identity.id}/{used}"
    return QuotaDemand(policy.published.id, key, policy.quota or 0, *rules.day(request.at), policy.reason)


def _ids(policies: Iterable[CompiledPolicy]) -> tuple[UUID, ...]:
    return tuple(policy.published.id for policy in policies)


def _reasons(
    reason_code: str, deciding: list[CompiledPolicy], policies: Sequence[CompiledPolicy], findings: Findings
) -> tuple[str, ...]:
    if reason_code != "policy_error":
        return tuple(policy.reason for policy in deciding if policy.reason is not None)
    messages = (findings.failed[number] for number in sorted(findings.failed) if policies[number].enforced)
    return tuple(dict.fromkeys(messages))
