from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.access_decision import AccessDecision, check_access_decision


@define(kw_only=True)
class AccessReason:
    """Why something is within reach."""

    decision: AccessDecision
    """What happens to a call now: it runs, or it needs an approval first."""

    reason_code: str
    """Why, as audit events say it."""

    grant_id: str
    """The grant that a call rests on; of several, the one that was made first."""

    group_id: None | str
    """The group that the grant was made to; null when it was made to the identity itself."""

    policy_ids: list[str]
    """The policies that decided, if any did."""

    unconditional: bool
    """Whether every call is allowed, whatever it says. False where a policy reads what it says, counts it
    or asks: then some calls may be denied, or have to be approved."""

    approver_groups: list[str]
    """The groups that must approve each call, with one member each."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        decision: str = self.decision

        reason_code = self.reason_code

        grant_id = self.grant_id

        group_id: None | str
        group_id = self.group_id

        policy_ids = self.policy_ids

        unconditional = self.unconditional

        approver_groups = self.approver_groups

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "decision": decision,
                "reason_code": reason_code,
                "grant_id": grant_id,
                "group_id": group_id,
                "policy_ids": policy_ids,
                "unconditional": unconditional,
                "approver_groups": approver_groups,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        decision = check_access_decision(d.pop("decision"))

        reason_code = d.pop("reason_code")

        grant_id = d.pop("grant_id")

        def _parse_group_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        group_id = _parse_group_id(d.pop("group_id"))

        policy_ids = cast(list[str], d.pop("policy_ids"))

        unconditional = d.pop("unconditional")

        approver_groups = cast(list[str], d.pop("approver_groups"))

        return cls(
            decision=decision,
            reason_code=reason_code,
            grant_id=grant_id,
            group_id=group_id,
            policy_ids=policy_ids,
            unconditional=unconditional,
            approver_groups=approver_groups,
        )
