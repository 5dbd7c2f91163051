from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.offboarding_receipt_content import OffboardingReceiptContent


@define(kw_only=True)
class OffboardingReceipt:
    """The receipt of an offboarding. Its id is that of the audit event."""

    id: str
    """The id of an audit event."""

    identity_id: str
    """The id of an identity."""

    reason: None | str
    """The reason as text: not signed, and null when the identity is erased."""

    receipt: None | OffboardingReceiptContent
    """Null for an offboarding before receipts were signed, and for one by a later version with fields
    unknown to this one: `signed` has everything."""

    signed: None | str
    """The receipt as a JWS, to verify with `/.well-known/jwks.json`; keep this one."""

    key_id: None | str
    """The key that signed it."""

    created_at: datetime.datetime
    """The time of creation."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.offboarding_receipt_content import OffboardingReceiptContent

        id = self.id

        identity_id = self.identity_id

        reason: None | str
        reason = self.reason

        receipt: dict[str, Any] | None
        if isinstance(self.receipt, OffboardingReceiptContent):
            receipt = self.receipt.to_dict()
        else:
            receipt = self.receipt

        signed: None | str
        signed = self.signed

        key_id: None | str
        key_id = self.key_id

        created_at = self.created_at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "identity_id": identity_id,
                "reason": reason,
                "receipt": receipt,
                "signed": signed,
                "key_id": key_id,
                "created_at": created_at,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.offboarding_receipt_content import OffboardingReceiptContent

        d = dict(src_dict)
        id = d.pop("id")

        identity_id = d.pop("identity_id")

        def _parse_reason(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        reason = _parse_reason(d.pop("reason"))

        def _parse_receipt(data: object) -> None | OffboardingReceiptContent:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                receipt_type_0 = OffboardingReceiptContent.from_dict(data)

                return receipt_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | OffboardingReceiptContent, data)

        receipt = _parse_receipt(d.pop("receipt"))

        def _parse_signed(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        signed = _parse_signed(d.pop("signed"))

        def _parse_key_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        key_id = _parse_key_id(d.pop("key_id"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        return cls(
            id=id,
            identity_id=identity_id,
            reason=reason,
            receipt=receipt,
            signed=signed,
            key_id=key_id,
            created_at=created_at,
        )
