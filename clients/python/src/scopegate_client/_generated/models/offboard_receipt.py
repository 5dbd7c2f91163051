from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.identity import Identity
    from ..models.offboard_preview import OffboardPreview
    from ..models.offboard_revocations import OffboardRevocations
    from ..models.offboard_transfer import OffboardTransfer
    from ..models.scheduled_offboarding import ScheduledOffboarding


@define(kw_only=True)
class OffboardReceipt:
    """The receipt of an offboarding. A repeat returns `changed: false` with the first receipt."""

    identity: Identity
    """A person or agent that can hold tokens."""

    changed: bool
    """Whether this request offboarded the identity."""

    revoked: OffboardRevocations
    """What ended with the identity, or would end under `dry_run`."""

    transferred: OffboardTransfer
    """Agents that were transferred, or would be under `dry_run`."""

    receipt_id: None | str
    """The audit event of the offboarding; null under `dry_run` and before it has happened."""

    scheduled: None | ScheduledOffboarding
    """The pending schedule; null when nothing is pending, and under `dry_run`."""

    preview: None | OffboardPreview
    """Under `dry_run`, what else would end; null otherwise, and for one that is already offboarded."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.offboard_preview import OffboardPreview
        from ..models.scheduled_offboarding import ScheduledOffboarding

        identity = self.identity.to_dict()

        changed = self.changed

        revoked = self.revoked.to_dict()

        transferred = self.transferred.to_dict()

        receipt_id: None | str
        receipt_id = self.receipt_id

        scheduled: dict[str, Any] | None
        if isinstance(self.scheduled, ScheduledOffboarding):
            scheduled = self.scheduled.to_dict()
        else:
            scheduled = self.scheduled

        preview: dict[str, Any] | None
        if isinstance(self.preview, OffboardPreview):
            preview = self.preview.to_dict()
        else:
            preview = self.preview

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "identity": identity,
                "changed": changed,
                "revoked": revoked,
                "transferred": transferred,
                "receipt_id": receipt_id,
                "scheduled": scheduled,
                "preview": preview,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.identity import Identity
        from ..models.offboard_preview import OffboardPreview
        from ..models.offboard_revocations import OffboardRevocations
        from ..models.offboard_transfer import OffboardTransfer
        from ..models.scheduled_offboarding import ScheduledOffboarding

        d = dict(src_dict)
        identity = Identity.from_dict(d.pop("identity"))

        changed = d.pop("changed")

        revoked = OffboardRevocations.from_dict(d.pop("revoked"))

        transferred = OffboardTransfer.from_dict(d.pop("transferred"))

        def _parse_receipt_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        receipt_id = _parse_receipt_id(d.pop("receipt_id"))

        def _parse_scheduled(data: object) -> None | ScheduledOffboarding:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                scheduled_type_0 = ScheduledOffboarding.from_dict(data)

                return scheduled_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | ScheduledOffboarding, data)

        scheduled = _parse_scheduled(d.pop("scheduled"))

        def _parse_preview(data: object) -> None | OffboardPreview:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                preview_type_0 = OffboardPreview.from_dict(data)

                return preview_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | OffboardPreview, data)

        preview = _parse_preview(d.pop("preview"))

        return cls(
            identity=identity,
            changed=changed,
            revoked=revoked,
            transferred=transferred,
            receipt_id=receipt_id,
            scheduled=scheduled,
            preview=preview,
        )
