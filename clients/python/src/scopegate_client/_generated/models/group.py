from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.source import Source, check_source


@define(kw_only=True)
class Group:
    """A set of identities that can hold grants."""

    id: str
    """The id of a group."""

    name: str
    """Unique among groups that have not ended, ignoring case."""

    description: None | str
    """Its purpose."""

    external_id: None | str
    """Its id in the system that it comes from."""

    source: Source
    """Who maintains it: `manual` this API, `scim` the provider that provisions it."""

    provider_id: None | str
    """The provider that manages it."""

    owner_group_id: None | str
    """The group whose members maintain it."""

    ended_at: datetime.datetime | None
    """The time of the end; null before it."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        name = self.name

        description: None | str
        description = self.description

        external_id: None | str
        external_id = self.external_id

        source: str = self.source

        provider_id: None | str
        provider_id = self.provider_id

        owner_group_id: None | str
        owner_group_id = self.owner_group_id

        ended_at: None | str
        if isinstance(self.ended_at, datetime.datetime):
            ended_at = self.ended_at.isoformat()
        else:
            ended_at = self.ended_at

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "name": name,
                "description": description,
                "external_id": external_id,
                "source": source,
                "provider_id": provider_id,
                "owner_group_id": owner_group_id,
                "ended_at": ended_at,
                "created_at": created_at,
                "updated_at": updated_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        id = d.pop("id")

        name = d.pop("name")

        def _parse_description(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        description = _parse_description(d.pop("description"))

        def _parse_external_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        external_id = _parse_external_id(d.pop("external_id"))

        source = check_source(d.pop("source"))

        def _parse_provider_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        provider_id = _parse_provider_id(d.pop("provider_id"))

        def _parse_owner_group_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        owner_group_id = _parse_owner_group_id(d.pop("owner_group_id"))

        def _parse_ended_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                ended_at_type_0 = datetime.datetime.fromisoformat(data)

                return ended_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        ended_at = _parse_ended_at(d.pop("ended_at"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            name=name,
            description=description,
            external_id=external_id,
            source=source,
            provider_id=provider_id,
            owner_group_id=owner_group_id,
            ended_at=ended_at,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
