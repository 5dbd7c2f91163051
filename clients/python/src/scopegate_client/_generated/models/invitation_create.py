from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.invited_person import InvitedPerson


@define(kw_only=True)
class InvitationCreate:
    """An invitation of an existing or a new person, for an email address or a subject."""

    provider_id: str
    """The provider that the person signs in at."""

    identity_id: None | str | Unset = UNSET
    """An existing person; needs the permission `grants.write`. Or give `person`."""

    person: InvitedPerson | None | Unset = UNSET
    """A new person. Or give `identity_id`."""

    email: None | str | Unset = UNSET
    """The address of their account. Or give `subject`."""

    subject: None | str | Unset = UNSET
    """The value of the provider's `link_claim` of their account. Or give `email`."""

    expires_at: datetime.datetime | None | Unset = UNSET
    """At most 30 days ahead; in seven days by default."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.invited_person import InvitedPerson

        provider_id = self.provider_id

        identity_id: None | str | Unset
        if isinstance(self.identity_id, Unset):
            identity_id = UNSET
        else:
            identity_id = self.identity_id

        person: dict[str, Any] | None | Unset
        if isinstance(self.person, Unset):
            person = UNSET
        elif isinstance(self.person, InvitedPerson):
            person = self.person.to_dict()
        else:
            person = self.person

        email: None | str | Unset
        if isinstance(self.email, Unset):
            email = UNSET
        else:
            email = self.email

        subject: None | str | Unset
        if isinstance(self.subject, Unset):
            subject = UNSET
        else:
            subject = self.subject

        expires_at: None | str | Unset
        if isinstance(self.expires_at, Unset):
            expires_at = UNSET
        elif isinstance(self.expires_at, datetime.datetime):
            expires_at = self.expires_at.isoformat()
        else:
            expires_at = self.expires_at

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "provider_id": provider_id,
            }
        )
        if identity_id is not UNSET:
            field_dict["identity_id"] = identity_id
        if person is not UNSET:
            field_dict["person"] = person
        if email is not UNSET:
            field_dict["email"] = email
        if subject is not UNSET:
            field_dict["subject"] = subject
        if expires_at is not UNSET:
            field_dict["expires_at"] = expires_at
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.invited_person import InvitedPerson

        d = dict(src_dict)
        provider_id = d.pop("provider_id")

        def _parse_identity_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        identity_id = _parse_identity_id(d.pop("identity_id", UNSET))

        def _parse_person(data: object) -> InvitedPerson | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                person_type_0 = InvitedPerson.from_dict(data)

                return person_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(InvitedPerson | None | Unset, data)

        person = _parse_person(d.pop("person", UNSET))

        def _parse_email(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        email = _parse_email(d.pop("email", UNSET))

        def _parse_subject(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        subject = _parse_subject(d.pop("subject", UNSET))

        def _parse_expires_at(data: object) -> datetime.datetime | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                expires_at_type_0 = datetime.datetime.fromisoformat(data)

                return expires_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | Unset, data)

        expires_at = _parse_expires_at(d.pop("expires_at", UNSET))

        return cls(
            provider_id=provider_id,
            identity_id=identity_id,
            person=person,
            email=email,
            subject=subject,
            expires_at=expires_at,
        )
