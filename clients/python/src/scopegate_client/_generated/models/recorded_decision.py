from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.audit_decision import AuditDecision, check_audit_decision


@define(kw_only=True)
class RecordedDecision:
    """The decision that was recorded at the time."""

    event_id: str
    """The id of an audit event."""

    time: datetime.datetime
    """When it was decided."""

    decision: AuditDecision
    """The decision about a call before it ran."""

    reason_code: None | str
    """Why."""

    grant_id: None | str
    """The grant that allowed it."""

    policy_ids: list[str]
    """The policies that decided."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        event_id = self.event_id

        time = self.time.isoformat()

        decision: str = self.decision

        reason_code: None | str
        reason_code = self.reason_code

        grant_id: None | str
        grant_id = self.grant_id

        policy_ids = self.policy_ids

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "event_id": event_id,
                "time": time,
                "decision": decision,
                "reason_code": reason_code,
                "grant_id": grant_id,
                "policy_ids": policy_ids,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        event_id = d.pop("event_id")

        time = datetime.datetime.fromisoformat(d.pop("time"))

        decision = check_audit_decision(d.pop("decision"))

        def _parse_reason_code(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        reason_code = _parse_reason_code(d.pop("reason_code"))

        def _parse_grant_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        grant_id = _parse_grant_id(d.pop("grant_id"))

        policy_ids = cast(list[str], d.pop("policy_ids"))

        return cls(
            event_id=event_id,
            time=time,
            decision=decision,
            reason_code=reason_code,
            grant_id=grant_id,
            policy_ids=policy_ids,
        )
