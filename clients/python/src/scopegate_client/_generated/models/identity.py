from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.identity_kind import IdentityKind, check_identity_kind
from ..models.identity_status import IdentityStatus, check_identity_status
from ..models.source import Source, check_source

if TYPE_CHECKING:
    from ..models.identity_attributes import IdentityAttributes
    from ..models.identity_link import IdentityLink


@define(kw_only=True)
class Identity:
    """A person or agent that can hold tokens."""

    id: str
    """The id of an identity."""

    kind: IdentityKind
    """An `agent` has a person as its owner."""

    user_name: str
    """Unique among identities that are not offboarded, ignoring case. Stored in NFKC, without outer blanks
    and zero-width characters; bidirectional controls are refused."""

    display_name: None | str
    """Its display name."""

    email: None | str
    """Its email address."""

    owner_id: None | str
    """The id of an identity."""

    links: list[IdentityLink]
    """Its provider links."""

    external_id: None | str
    """Its id in the system that it comes from, such as an HR system."""

    attributes: IdentityAttributes
    """Attributes of an identity that policies can read, by name."""

    provider_id: None | str
    """The provider that manages it."""

    source: Source
    """Who maintains it: `manual` this API, `scim` the provider that provisions it."""

    status: IdentityStatus
    """`suspended` stops its calls until it is reinstated; `offboarded` has ended all its access."""

    offboarded_at: datetime.datetime | None
    """When it was offboarded."""

    erased_at: datetime.datetime | None
    """When its personal data was erased; from then on its user name is its id."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        kind: str = self.kind

        user_name = self.user_name

        display_name: None | str
        display_name = self.display_name

        email: None | str
        email = self.email

        owner_id: None | str
        owner_id = self.owner_id

        links = []
        for links_item_data in self.links:
            links_item = links_item_data.to_dict()
            links.append(links_item)

        external_id: None | str
        external_id = self.external_id

        attributes = self.attributes.to_dict()

        provider_id: None | str
        provider_id = self.provider_id

        source: str = self.source

        status: str = self.status

        offboarded_at: None | str
        if isinstance(self.offboarded_at, datetime.datetime):
            offboarded_at = self.offboarded_at.isoformat()
        else:
            offboarded_at = self.offboarded_at

        erased_at: None | str
        if isinstance(self.erased_at, datetime.datetime):
            erased_at = self.erased_at.isoformat()
        else:
            erased_at = self.erased_at

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "kind": kind,
                "user_name": user_name,
                "display_name": display_name,
                "email": email,
                "owner_id": owner_id,
                "links": links,
                "external_id": external_id,
                "attributes": attributes,
                "provider_id": provider_id,
                "source": source,
                "status": status,
                "offboarded_at": offboarded_at,
                "erased_at": erased_at,
                "created_at": created_at,
                "updated_at": updated_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.identity_attributes import IdentityAttributes
        from ..models.identity_link import IdentityLink

        d = dict(src_dict)
        id = d.pop("id")

        kind = check_identity_kind(d.pop("kind"))

        user_name = d.pop("user_name")

        def _parse_display_name(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        display_name = _parse_display_name(d.pop("display_name"))

        def _parse_email(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        email = _parse_email(d.pop("email"))

        def _parse_owner_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        owner_id = _parse_owner_id(d.pop("owner_id"))

        links = []
        _links = d.pop("links")
        for links_item_data in _links:
            links_item = IdentityLink.from_dict(links_item_data)

            links.append(links_item)

        def _parse_external_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        external_id = _parse_external_id(d.pop("external_id"))

        attributes = IdentityAttributes.from_dict(d.pop("attributes"))

        def _parse_provider_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        provider_id = _parse_provider_id(d.pop("provider_id"))

        source = check_source(d.pop("source"))

        status = check_identity_status(d.pop("status"))

        def _parse_offboarded_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                offboarded_at_type_0 = datetime.datetime.fromisoformat(data)

                return offboarded_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        offboarded_at = _parse_offboarded_at(d.pop("offboarded_at"))

        def _parse_erased_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                erased_at_type_0 = datetime.datetime.fromisoformat(data)

                return erased_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        erased_at = _parse_erased_at(d.pop("erased_at"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            kind=kind,
            user_name=user_name,
            display_name=display_name,
            email=email,
            owner_id=owner_id,
            links=links,
            external_id=external_id,
            attributes=attributes,
            provider_id=provider_id,
            source=source,
            status=status,
            offboarded_at=offboarded_at,
            erased_at=erased_at,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
