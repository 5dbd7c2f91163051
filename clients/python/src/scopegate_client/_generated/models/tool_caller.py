from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.access_decision import AccessDecision, check_access_decision
from ..models.identity_kind import IdentityKind, check_identity_kind


@define(kw_only=True)
class ToolCaller:
    """An identity that can call the tool, with the reason."""

    decision: AccessDecision
    """Whether a call runs now or needs an approval first."""

    reason_code: str
    """The reason code, as in audit events."""

    grant_id: str
    """The grant that allows a call; the oldest of several."""

    group_id: None | str
    """The group that holds the grant; null when the identity itself holds it."""

    policy_ids: list[str]
    """The policies that decided, if any did."""

    unconditional: bool
    """Whether every call is allowed, regardless of its content. False where a policy reads the content,
    counts calls or asks for approval: then some calls may be denied or need an approval."""

    approver_groups: list[str]
    """The groups that must approve each call, by one member each."""

    identity_id: str
    """The id of an identity."""

    user_name: str
    """Its current user name."""

    kind: IdentityKind
    """An `agent` has a person as its owner."""

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

        identity_id = self.identity_id

        user_name = self.user_name

        kind: str = self.kind

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
                "identity_id": identity_id,
                "user_name": user_name,
                "kind": kind,
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

        identity_id = d.pop("identity_id")

        user_name = d.pop("user_name")

        kind = check_identity_kind(d.pop("kind"))

        return cls(
            decision=decision,
            reason_code=reason_code,
            grant_id=grant_id,
            group_id=group_id,
            policy_ids=policy_ids,
            unconditional=unconditional,
            approver_groups=approver_groups,
            identity_id=identity_id,
            user_name=user_name,
            kind=kind,
        )
