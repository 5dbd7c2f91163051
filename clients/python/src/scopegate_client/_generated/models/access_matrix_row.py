from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.access_matrix_cell import AccessMatrixCell


@define(kw_only=True)
class AccessMatrixRow:
    """What one identity reaches of each server."""

    identity_id: str
    """The id of an identity."""

    stopped: None | str
    """Why none of its grants is effective: `identity_suspended`, `identity_offboarded`, or, for an agent,
    `owner_suspended`, `owner_offboarded`. Null when they are."""

    cells: list[AccessMatrixCell]
    """In the order of the requested servers."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        identity_id = self.identity_id

        stopped: None | str
        stopped = self.stopped

        cells = []
        for cells_item_data in self.cells:
            cells_item = cells_item_data.to_dict()
            cells.append(cells_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "identity_id": identity_id,
                "stopped": stopped,
                "cells": cells,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.access_matrix_cell import AccessMatrixCell

        d = dict(src_dict)
        identity_id = d.pop("identity_id")

        def _parse_stopped(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        stopped = _parse_stopped(d.pop("stopped"))

        cells = []
        _cells = d.pop("cells")
        for cells_item_data in _cells:
            cells_item = AccessMatrixCell.from_dict(cells_item_data)

            cells.append(cells_item)

        return cls(
            identity_id=identity_id,
            stopped=stopped,
            cells=cells,
        )
