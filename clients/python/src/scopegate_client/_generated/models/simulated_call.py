from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.simulated_decision import SimulatedDecision


@define(kw_only=True)
class SimulatedCall:
    """A call that the two sets of policies decide differently."""

    event_id: str
    """The id of an audit event."""

    time: datetime.datetime
    """The time of the call."""

    identity_id: str
    """The id of an identity."""

    token_id: str
    """The id of a token."""

    server_id: str
    """The id of a server."""

    tool: str
    """The tool, by its name on the server."""

    before: SimulatedDecision
    """The decision of one of the two sets of policies."""

    after: SimulatedDecision
    """The decision of one of the two sets of policies."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        event_id = self.event_id

        time = self.time.isoformat()

        identity_id = self.identity_id

        token_id = self.token_id

        server_id = self.server_id

        tool = self.tool

        before = self.before.to_dict()

        after = self.after.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "event_id": event_id,
                "time": time,
                "identity_id": identity_id,
                "token_id": token_id,
                "server_id": server_id,
                "tool": tool,
                "before": before,
                "after": after,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.simulated_decision import SimulatedDecision

        d = dict(src_dict)
        event_id = d.pop("event_id")

        time = datetime.datetime.fromisoformat(d.pop("time"))

        identity_id = d.pop("identity_id")

        token_id = d.pop("token_id")

        server_id = d.pop("server_id")

        tool = d.pop("tool")

        before = SimulatedDecision.from_dict(d.pop("before"))

        after = SimulatedDecision.from_dict(d.pop("after"))

        return cls(
            event_id=event_id,
            time=time,
            identity_id=identity_id,
            token_id=token_id,
            server_id=server_id,
            tool=tool,
            before=before,
            after=after,
        )
