from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.grant_fault import GrantFault, check_grant_fault


@define(kw_only=True)
class ConsideredGrant:
    """A grant of the identity or of one of its groups, and why it does not allow the call."""

    grant_id: str
    """The id of a grant."""

    group_id: None | str
    """The group that holds it; null: the identity itself."""

    gives: bool
    """Whether it allows the call."""

    faults: list[GrantFault]
    """Why it does not."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        grant_id = self.grant_id

        group_id: None | str
        group_id = self.group_id

        gives = self.gives

        faults = []
        for faults_item_data in self.faults:
            faults_item: str = faults_item_data
            faults.append(faults_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "grant_id": grant_id,
                "group_id": group_id,
                "gives": gives,
                "faults": faults,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        grant_id = d.pop("grant_id")

        def _parse_group_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        group_id = _parse_group_id(d.pop("group_id"))

        gives = d.pop("gives")

        faults = []
        _faults = d.pop("faults")
        for faults_item_data in _faults:
            faults_item = check_grant_fault(faults_item_data)

            faults.append(faults_item)

        return cls(
            grant_id=grant_id,
            group_id=group_id,
            gives=gives,
            faults=faults,
        )
