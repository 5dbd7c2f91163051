from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.offboarded_by import OffboardedBy


@define(kw_only=True)
class ReceiptSchedule:
    """The schedule of an offboarding that came due."""

    id: str
    """The id of a scheduled offboarding."""

    effective_at: datetime.datetime
    """The scheduled time."""

    scheduled_by: OffboardedBy
    """The caller that requested an offboarding."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        effective_at = self.effective_at.isoformat()

        scheduled_by = self.scheduled_by.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "effective_at": effective_at,
                "scheduled_by": scheduled_by,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.offboarded_by import OffboardedBy

        d = dict(src_dict)
        id = d.pop("id")

        effective_at = datetime.datetime.fromisoformat(d.pop("effective_at"))

        scheduled_by = OffboardedBy.from_dict(d.pop("scheduled_by"))

        return cls(
            id=id,
            effective_at=effective_at,
            scheduled_by=scheduled_by,
        )
