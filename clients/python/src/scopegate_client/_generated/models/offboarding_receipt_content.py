from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.identity_kind import IdentityKind, check_identity_kind
from ..models.offboarded_via import OffboardedVia, check_offboarded_via

if TYPE_CHECKING:
    from ..models.ended_token import EndedToken
    from ..models.offboarded_by import OffboardedBy
    from ..models.receipt_agents import ReceiptAgents
    from ..models.receipt_schedule import ReceiptSchedule


@define(kw_only=True)
class OffboardingReceiptContent:
    """Everything that one offboarding ended at `offboarded_at`. The signed text holds it as its claim
    `receipt`."""

    identity_id: str
    """The id of an identity."""

    kind: IdentityKind
    """An `agent` has a person as its owner."""

    offboarded_at: datetime.datetime
    """When it ended."""

    via: OffboardedVia
    """The origin of the offboarding: this API, SCIM, a shared signal, or a schedule."""

    by: OffboardedBy
    """The caller that requested an offboarding."""

    request_id: None | str
    """The request of the offboarding."""

    schedule: None | ReceiptSchedule
    """Set if it was scheduled."""

    tokens: list[EndedToken]
    """Its own, those of its agents, and all that were attenuated from them."""

    agents: ReceiptAgents
    """The former agents of the person."""

    approvals: list[str]
    """Pending approvals, and approved ones that were not used."""

    grants: list[str]
    """Grants of the identity itself."""

    groups: list[str]
    """Groups that it was in."""

    service_accounts: list[str]
    """Service accounts that it owned. They are disabled until they have a new owner."""

    administrator_id: None | str
    """The administrator record that was disabled."""

    browser_sessions: int
    """Browsers that were signed out."""

    in_flight: int
    """Calls that were running and were cut. Counted among the newest 2,000."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.receipt_schedule import ReceiptSchedule

        identity_id = self.identity_id

        kind: str = self.kind

        offboarded_at = self.offboarded_at.isoformat()

        via: str = self.via

        by = self.by.to_dict()

        request_id: None | str
        request_id = self.request_id

        schedule: dict[str, Any] | None
        if isinstance(self.schedule, ReceiptSchedule):
            schedule = self.schedule.to_dict()
        else:
            schedule = self.schedule

        tokens = []
        for tokens_item_data in self.tokens:
            tokens_item = tokens_item_data.to_dict()
            tokens.append(tokens_item)

        agents = self.agents.to_dict()

        approvals = self.approvals

        grants = self.grants

        groups = self.groups

        service_accounts = self.service_accounts

        administrator_id: None | str
        administrator_id = self.administrator_id

        browser_sessions = self.browser_sessions

        in_flight = self.in_flight

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "identity_id": identity_id,
                "kind": kind,
                "offboarded_at": offboarded_at,
                "via": via,
                "by": by,
                "request_id": request_id,
                "schedule": schedule,
                "tokens": tokens,
                "agents": agents,
                "approvals": approvals,
                "grants": grants,
                "groups": groups,
                "service_accounts": service_accounts,
                "administrator_id": administrator_id,
                "browser_sessions": browser_sessions,
                "in_flight": in_flight,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.ended_token import EndedToken
        from ..models.offboarded_by import OffboardedBy
        from ..models.receipt_agents import ReceiptAgents
        from ..models.receipt_schedule import ReceiptSchedule

        d = dict(src_dict)
        identity_id = d.pop("identity_id")

        kind = check_identity_kind(d.pop("kind"))

        offboarded_at = datetime.datetime.fromisoformat(d.pop("offboarded_at"))

        via = check_offboarded_via(d.pop("via"))

        by = OffboardedBy.from_dict(d.pop("by"))

        def _parse_request_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        request_id = _parse_request_id(d.pop("request_id"))

        def _parse_schedule(data: object) -> None | ReceiptSchedule:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                schedule_type_0 = ReceiptSchedule.from_dict(data)

                return schedule_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | ReceiptSchedule, data)

        schedule = _parse_schedule(d.pop("schedule"))

        tokens = []
        _tokens = d.pop("tokens")
        for tokens_item_data in _tokens:
            tokens_item = EndedToken.from_dict(tokens_item_data)

            tokens.append(tokens_item)

        agents = ReceiptAgents.from_dict(d.pop("agents"))

        approvals = cast(list[str], d.pop("approvals"))

        grants = cast(list[str], d.pop("grants"))

        groups = cast(list[str], d.pop("groups"))

        service_accounts = cast(list[str], d.pop("service_accounts"))

        def _parse_administrator_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        administrator_id = _parse_administrator_id(d.pop("administrator_id"))

        browser_sessions = d.pop("browser_sessions")

        in_flight = d.pop("in_flight")

        return cls(
            identity_id=identity_id,
            kind=kind,
            offboarded_at=offboarded_at,
            via=via,
            by=by,
            request_id=request_id,
            schedule=schedule,
            tokens=tokens,
            agents=agents,
            approvals=approvals,
            grants=grants,
            groups=groups,
            service_accounts=service_accounts,
            administrator_id=administrator_id,
            browser_sessions=browser_sessions,
            in_flight=in_flight,
        )
