from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class InvitationClaim:
    """The account that has claimed an invitation, as its provider describes it."""

    subject: str
    """Its value of the provider's `link_claim`."""

    email: None | str
    """Its email address, if the provider names one."""

    email_verified: bool
    """Whether the provider says that the address is verified."""

    claimed_at: datetime.datetime
    """When it signed in."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        subject = self.subject

        email: None | str
        email = self.email

        email_verified = self.email_verified

        claimed_at = self.claimed_at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "subject": subject,
                "email": email,
                "email_verified": email_verified,
                "claimed_at": claimed_at,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        subject = d.pop("subject")

        def _parse_email(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        email = _parse_email(d.pop("email"))

        email_verified = d.pop("email_verified")

        claimed_at = datetime.datetime.fromisoformat(d.pop("claimed_at"))

        return cls(
            subject=subject,
            email=email,
            email_verified=email_verified,
            claimed_at=claimed_at,
        )
