from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

from ..models.check_state import CheckState, check_check_state

if TYPE_CHECKING:
    from ..models.check_step import CheckStep


@define(kw_only=True)
class ConnectionCheck:
    """Whether a token works now, step by step. Steps that depend on a failed one are left out."""

    token_id: str
    """The id of a token."""

    at: datetime.datetime
    """The time of the check, by the database's clock."""

    state: CheckState
    """`ok`: as it should be; `warn`: it works, but look at it; `fail`: it does not work."""

    steps: list[CheckStep]
    """The steps, in the order in which a call depends on them."""

    unchecked_servers: int
    """Servers in reach that were not asked: name them in `server_ids`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        token_id = self.token_id

        at = self.at.isoformat()

        state: str = self.state

        steps = []
        for steps_item_data in self.steps:
            steps_item = steps_item_data.to_dict()
            steps.append(steps_item)

        unchecked_servers = self.unchecked_servers

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "token_id": token_id,
                "at": at,
                "state": state,
                "steps": steps,
                "unchecked_servers": unchecked_servers,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.check_step import CheckStep

        d = dict(src_dict)
        token_id = d.pop("token_id")

        at = datetime.datetime.fromisoformat(d.pop("at"))

        state = check_check_state(d.pop("state"))

        steps = []
        _steps = d.pop("steps")
        for steps_item_data in _steps:
            steps_item = CheckStep.from_dict(steps_item_data)

            steps.append(steps_item)

        unchecked_servers = d.pop("unchecked_servers")

        return cls(
            token_id=token_id,
            at=at,
            state=state,
            steps=steps,
            unchecked_servers=unchecked_servers,
        )
