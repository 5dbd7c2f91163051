from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class NeededApproval:
    """An approval that the call needs."""

    policy_id: str
    """The id of a policy."""

    version: int
    """The version of the policy."""

    group: str
    """The group that must approve."""

    reason: None | str
    """The reason in the policy."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        policy_id = self.policy_id

        version = self.version

        group = self.group

        reason: None | str
        reason = self.reason

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "policy_id": policy_id,
                "version": version,
                "group": group,
                "reason": reason,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        policy_id = d.pop("policy_id")

        version = d.pop("version")

        group = d.pop("group")

        def _parse_reason(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        reason = _parse_reason(d.pop("reason"))

        return cls(
            policy_id=policy_id,
            version=version,
            group=group,
            reason=reason,
        )
