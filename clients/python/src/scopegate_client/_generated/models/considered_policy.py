from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.policy_effect import PolicyEffect, check_policy_effect
from ..models.policy_mode import PolicyMode, check_policy_mode
from ..models.policy_outcome import PolicyOutcome, check_policy_outcome


@define(kw_only=True)
class ConsideredPolicy:
    """A published policy and its outcome."""

    policy_id: str
    """The id of a policy."""

    name: None | str
    """Its name now."""

    version: int
    """The version that was evaluated."""

    mode: PolicyMode
    """`observe`: it decides nothing; audit events name it when it would have changed the decision."""

    effect: PolicyEffect
    """The effect of the policy."""

    approver_group: None | str
    """The group whose approval it requires."""

    uses_per_day: int | None
    """The uses per day that it allows each identity."""

    outcome: PolicyOutcome
    """What a policy did: it is about another `principal`, `action` or `resource`; its `condition` is not
    met; it reads arguments and these are not known (`arguments_unknown`: it was skipped); it is
    `satisfied`; it `failed`."""

    message: None | str
    """Why it failed."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        policy_id = self.policy_id

        name: None | str
        name = self.name

        version = self.version

        mode: str = self.mode

        effect: str = self.effect

        approver_group: None | str
        approver_group = self.approver_group

        uses_per_day: int | None
        uses_per_day = self.uses_per_day

        outcome: str = self.outcome

        message: None | str
        message = self.message

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "policy_id": policy_id,
                "name": name,
                "version": version,
                "mode": mode,
                "effect": effect,
                "approver_group": approver_group,
                "uses_per_day": uses_per_day,
                "outcome": outcome,
                "message": message,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        policy_id = d.pop("policy_id")

        def _parse_name(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        name = _parse_name(d.pop("name"))

        version = d.pop("version")

        mode = check_policy_mode(d.pop("mode"))

        effect = check_policy_effect(d.pop("effect"))

        def _parse_approver_group(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        approver_group = _parse_approver_group(d.pop("approver_group"))

        def _parse_uses_per_day(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        uses_per_day = _parse_uses_per_day(d.pop("uses_per_day"))

        outcome = check_policy_outcome(d.pop("outcome"))

        def _parse_message(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        message = _parse_message(d.pop("message"))

        return cls(
            policy_id=policy_id,
            name=name,
            version=version,
            mode=mode,
            effect=effect,
            approver_group=approver_group,
            uses_per_day=uses_per_day,
            outcome=outcome,
            message=message,
        )
