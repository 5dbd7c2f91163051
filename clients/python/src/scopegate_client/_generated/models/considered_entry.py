from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define

from ..models.grant_fault import GrantFault, check_grant_fault


@define(kw_only=True)
class ConsideredEntry:
    """An entry of the token's scope, and why it does not cover the call."""

    reaches: bool
    """Whether it covers the call."""

    faults: list[GrantFault]
    """Why it does not."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        reaches = self.reaches

        faults = []
        for faults_item_data in self.faults:
            faults_item: str = faults_item_data
            faults.append(faults_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "reaches": reaches,
                "faults": faults,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        reaches = d.pop("reaches")

        faults = []
        _faults = d.pop("faults")
        for faults_item_data in _faults:
            faults_item = check_grant_fault(faults_item_data)

            faults.append(faults_item)

        return cls(
            reaches=reaches,
            faults=faults,
        )
