from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.invitation_status import InvitationStatus, check_invitation_status

if TYPE_CHECKING:
    from ..models.invitation_claim import InvitationClaim


@define(kw_only=True)
class Invitation:
    """An invitation of a person to sign in with one account of one provider, once."""

    id: str
    """The id of an invitation."""

    identity_id: str
    """The identity that the account is linked to."""

    provider_id: str
    """The provider that the person signs in at."""

    email: None | str
    """The address of the account that the invitation is for."""

    subject: None | str
    """The value of the provider's `link_claim` that it is for."""

    status: InvitationStatus
    """`claimed`: an account has signed in, and an administrator must confirm that it is the person's.
    `confirmed`: the account is linked to the identity."""

    expires_at: datetime.datetime
    """When it expires, claimed or not."""

    claim: InvitationClaim | None
    """The account that has claimed it."""

    confirmed_at: datetime.datetime | None
    """When the account was linked."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.invitation_claim import InvitationClaim

        id = self.id

        identity_id = self.identity_id

        provider_id = self.provider_id

        email: None | str
        email = self.email

        subject: None | str
        subject = self.subject

        status: str = self.status

        expires_at = self.expires_at.isoformat()

        claim: dict[str, Any] | None
        if isinstance(self.claim, InvitationClaim):
            claim = self.claim.to_dict()
        else:
            claim = self.claim

        confirmed_at: None | str
        if isinstance(self.confirmed_at, datetime.datetime):
            confirmed_at = self.confirmed_at.isoformat()
        else:
            confirmed_at = self.confirmed_at

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "identity_id": identity_id,
                "provider_id": provider_id,
                "email": email,
                "subject": subject,
                "status": status,
                "expires_at": expires_at,
                "claim": claim,
                "confirmed_at": confirmed_at,
                "created_at": created_at,
                "updated_at": updated_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.invitation_claim import InvitationClaim

        d = dict(src_dict)
        id = d.pop("id")

        identity_id = d.pop("identity_id")

        provider_id = d.pop("provider_id")

        def _parse_email(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        email = _parse_email(d.pop("email"))

        def _parse_subject(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        subject = _parse_subject(d.pop("subject"))

        status = check_invitation_status(d.pop("status"))

        expires_at = datetime.datetime.fromisoformat(d.pop("expires_at"))

        def _parse_claim(data: object) -> InvitationClaim | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                claim_type_0 = InvitationClaim.from_dict(data)

                return claim_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(InvitationClaim | None, data)

        claim = _parse_claim(d.pop("claim"))

        def _parse_confirmed_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                confirmed_at_type_0 = datetime.datetime.fromisoformat(data)

                return confirmed_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        confirmed_at = _parse_confirmed_at(d.pop("confirmed_at"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            identity_id=identity_id,
            provider_id=provider_id,
            email=email,
            subject=subject,
            status=status,
            expires_at=expires_at,
            claim=claim,
            confirmed_at=confirmed_at,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
