from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.arguments_used import ArgumentsUsed, check_arguments_used
from ..models.audit_decision import AuditDecision, check_audit_decision
from ..models.server_part import ServerPart, check_server_part

if TYPE_CHECKING:
    from ..models.considered_token import ConsideredToken
    from ..models.counted_use import CountedUse
    from ..models.grant_create import GrantCreate
    from ..models.needed_approval import NeededApproval
    from ..models.recorded_decision import RecordedDecision


@define(kw_only=True)
class AccessExplanation:
    """A decision, with the grant and policies that decided and everything that was considered."""

    decision: AuditDecision
    """The decision about a call before it ran."""

    reason_code: str
    """The reason code, as in audit events."""

    summary: str
    """The reason in words, with everything that is missing, in the order of evaluation."""

    remedy: None | str
    """What to do about it; null when there is nothing to do."""

    at: datetime.datetime
    """The time that the decision is for."""

    identity_id: str
    """The id of an identity."""

    token_id: None | str
    """Null: the widest token possible for the identity."""

    server_id: None | str
    """The server; null when there is none of that name."""

    tool: None | str
    """The tool, by its name on the server."""

    part: None | ServerPart
    """The requested part of the server."""

    arguments: ArgumentsUsed
    """Where the arguments came from: the request, the recorded call, or nowhere: not kept, not permitted
    without `arguments.read`, or none."""

    grant_id: None | str
    """The grant that allows the call."""

    policy_ids: list[str]
    """The policies that decided."""

    observed_policy_ids: list[str]
    """Policies on trial that would change the decision."""

    reasons: list[str]
    """The reasons in the policies, as the caller sees them."""

    approvals: list[NeededApproval]
    """The approvals that the call needs."""

    uses: list[CountedUse]
    """The uses that the call takes."""

    considered: list[ConsideredToken]
    """The token of the call, then those that it was attenuated from."""

    missing_grants: list[GrantCreate]
    """The narrow grants that are missing, ready to be created."""

    recorded: None | RecordedDecision
    """The recorded decision of an event."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.recorded_decision import RecordedDecision

        decision: str = self.decision

        reason_code = self.reason_code

        summary = self.summary

        remedy: None | str
        remedy = self.remedy

        at = self.at.isoformat()

        identity_id = self.identity_id

        token_id: None | str
        token_id = self.token_id

        server_id: None | str
        server_id = self.server_id

        tool: None | str
        tool = self.tool

        part: None | str
        if isinstance(self.part, str):
            part = self.part
        else:
            part = self.part

        arguments: str = self.arguments

        grant_id: None | str
        grant_id = self.grant_id

        policy_ids = self.policy_ids

        observed_policy_ids = self.observed_policy_ids

        reasons = self.reasons

        approvals = []
        for approvals_item_data in self.approvals:
            approvals_item = approvals_item_data.to_dict()
            approvals.append(approvals_item)

        uses = []
        for uses_item_data in self.uses:
            uses_item = uses_item_data.to_dict()
            uses.append(uses_item)

        considered = []
        for considered_item_data in self.considered:
            considered_item = considered_item_data.to_dict()
            considered.append(considered_item)

        missing_grants = []
        for missing_grants_item_data in self.missing_grants:
            missing_grants_item = missing_grants_item_data.to_dict()
            missing_grants.append(missing_grants_item)

        recorded: dict[str, Any] | None
        if isinstance(self.recorded, RecordedDecision):
            recorded = self.recorded.to_dict()
        else:
            recorded = self.recorded

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "decision": decision,
                "reason_code": reason_code,
                "summary": summary,
                "remedy": remedy,
                "at": at,
                "identity_id": identity_id,
                "token_id": token_id,
                "server_id": server_id,
                "tool": tool,
                "part": part,
                "arguments": arguments,
                "grant_id": grant_id,
                "policy_ids": policy_ids,
                "observed_policy_ids": observed_policy_ids,
                "reasons": reasons,
                "approvals": approvals,
                "uses": uses,
                "considered": considered,
                "missing_grants": missing_grants,
                "recorded": recorded,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.considered_token import ConsideredToken
        from ..models.counted_use import CountedUse
        from ..models.grant_create import GrantCreate
        from ..models.needed_approval import NeededApproval
        from ..models.recorded_decision import RecordedDecision

        d = dict(src_dict)
        decision = check_audit_decision(d.pop("decision"))

        reason_code = d.pop("reason_code")

        summary = d.pop("summary")

        def _parse_remedy(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        remedy = _parse_remedy(d.pop("remedy"))

        at = datetime.datetime.fromisoformat(d.pop("at"))

        identity_id = d.pop("identity_id")

        def _parse_token_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        token_id = _parse_token_id(d.pop("token_id"))

        def _parse_server_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        server_id = _parse_server_id(d.pop("server_id"))

        def _parse_tool(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        tool = _parse_tool(d.pop("tool"))

        def _parse_part(data: object) -> None | ServerPart:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                part_type_0 = check_server_part(data)

                return part_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | ServerPart, data)

        part = _parse_part(d.pop("part"))

        arguments = check_arguments_used(d.pop("arguments"))

        def _parse_grant_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        grant_id = _parse_grant_id(d.pop("grant_id"))

        policy_ids = cast(list[str], d.pop("policy_ids"))

        observed_policy_ids = cast(list[str], d.pop("observed_policy_ids"))

        reasons = cast(list[str], d.pop("reasons"))

        approvals = []
        _approvals = d.pop("approvals")
        for approvals_item_data in _approvals:
            approvals_item = NeededApproval.from_dict(approvals_item_data)

            approvals.append(approvals_item)

        uses = []
        _uses = d.pop("uses")
        for uses_item_data in _uses:
            uses_item = CountedUse.from_dict(uses_item_data)

            uses.append(uses_item)

        considered = []
        _considered = d.pop("considered")
        for considered_item_data in _considered:
            considered_item = ConsideredToken.from_dict(considered_item_data)

            considered.append(considered_item)

        missing_grants = []
        _missing_grants = d.pop("missing_grants")
        for missing_grants_item_data in _missing_grants:
            missing_grants_item = GrantCreate.from_dict(missing_grants_item_data)

            missing_grants.append(missing_grants_item)

        def _parse_recorded(data: object) -> None | RecordedDecision:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                recorded_type_0 = RecordedDecision.from_dict(data)

                return recorded_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | RecordedDecision, data)

        recorded = _parse_recorded(d.pop("recorded"))

        return cls(
            decision=decision,
            reason_code=reason_code,
            summary=summary,
            remedy=remedy,
            at=at,
            identity_id=identity_id,
            token_id=token_id,
            server_id=server_id,
            tool=tool,
            part=part,
            arguments=arguments,
            grant_id=grant_id,
            policy_ids=policy_ids,
            observed_policy_ids=observed_policy_ids,
            reasons=reasons,
            approvals=approvals,
            uses=uses,
            considered=considered,
            missing_grants=missing_grants,
            recorded=recorded,
        )
