from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.identity import Identity
    from ..models.offboard_revocations import OffboardRevocations


@define(kw_only=True)
class OffboardReceipt:
    """The receipt of an offboarding. A repeat answers `changed: false` with the first receipt."""

    identity: Identity
    """A person or agent that can hold tokens."""

    changed: bool
    """Whether this request did it."""

    revoked: OffboardRevocations
    """What ended with the identity, or would end under `dry_run`."""

    receipt_id: None | str
    """The audit event of the offboarding; none under `dry_run`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        identity = self.identity.to_dict()

        changed = self.changed

        revoked = self.revoked.to_dict()

        receipt_id: None | str
        receipt_id = self.receipt_id

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "identity": identity,
                "changed": changed,
                "revoked": revoked,
                "receipt_id": receipt_id,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.identity import Identity
        from ..models.offboard_revocations import OffboardRevocations

        d = dict(src_dict)
        identity = Identity.from_dict(d.pop("identity"))

        changed = d.pop("changed")

        revoked = OffboardRevocations.from_dict(d.pop("revoked"))

        def _parse_receipt_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        receipt_id = _parse_receipt_id(d.pop("receipt_id"))

        return cls(
            identity=identity,
            changed=changed,
            revoked=revoked,
            receipt_id=receipt_id,
        )
