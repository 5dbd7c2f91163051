from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.scheduled_offboarding_status import (
    ScheduledOffboardingStatus,
    check_scheduled_offboarding_status,
)

if TYPE_CHECKING:
    from ..models.offboarded_by import OffboardedBy


@define(kw_only=True)
class ScheduledOffboarding:
    """A scheduled offboarding."""

    id: str
    """The id of a scheduled offboarding."""

    identity_id: str
    """The id of an identity."""

    effective_at: datetime.datetime
    """The scheduled time, accurate to a second."""

    reason: None | str
    """The reason; null once the identity is erased."""

    transfer_agents_to: None | str
    """The new owner of the agents. If that person is not active then, the agents are suspended."""

    status: ScheduledOffboardingStatus
    """`completed`: the identity is offboarded, at that time or earlier."""

    requested_by: OffboardedBy
    """The caller that requested an offboarding."""

    finished_at: datetime.datetime | None
    """When it was done or cancelled."""

    receipt_id: None | str
    """The receipt, once it is done."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        identity_id = self.identity_id

        effective_at = self.effective_at.isoformat()

        reason: None | str
        reason = self.reason

        transfer_agents_to: None | str
        transfer_agents_to = self.transfer_agents_to

        status: str = self.status

        requested_by = self.requested_by.to_dict()

        finished_at: None | str
        if isinstance(self.finished_at, datetime.datetime):
            finished_at = self.finished_at.isoformat()
        else:
            finished_at = self.finished_at

        receipt_id: None | str
        receipt_id = self.receipt_id

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "identity_id": identity_id,
                "effective_at": effective_at,
                "reason": reason,
                "transfer_agents_to": transfer_agents_to,
                "status": status,
                "requested_by": requested_by,
                "finished_at": finished_at,
                "receipt_id": receipt_id,
                "created_at": created_at,
                "updated_at": updated_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.offboarded_by import OffboardedBy

        d = dict(src_dict)
        id = d.pop("id")

        identity_id = d.pop("identity_id")

        effective_at = datetime.datetime.fromisoformat(d.pop("effective_at"))

        def _parse_reason(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        reason = _parse_reason(d.pop("reason"))

        def _parse_transfer_agents_to(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        transfer_agents_to = _parse_transfer_agents_to(d.pop("transfer_agents_to"))

        status = check_scheduled_offboarding_status(d.pop("status"))

        requested_by = OffboardedBy.from_dict(d.pop("requested_by"))

        def _parse_finished_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                finished_at_type_0 = datetime.datetime.fromisoformat(data)

                return finished_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        finished_at = _parse_finished_at(d.pop("finished_at"))

        def _parse_receipt_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        receipt_id = _parse_receipt_id(d.pop("receipt_id"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            identity_id=identity_id,
            effective_at=effective_at,
            reason=reason,
            transfer_agents_to=transfer_agents_to,
            status=status,
            requested_by=requested_by,
            finished_at=finished_at,
            receipt_id=receipt_id,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
