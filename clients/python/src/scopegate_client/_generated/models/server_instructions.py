from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.instructions_state import InstructionsState, check_instructions_state


@define(kw_only=True)
class ServerInstructions:
    """The instructions of a server. Clients get only the approved text."""

    server_id: str
    """The id of a server."""

    state: InstructionsState
    """Whether the server has instructions, and whether clients get them."""

    approved: None | str
    """The text that clients get."""

    latest: None | str
    """The latest text of the server."""

    digest: None | str
    """SHA-256 of `latest`, in hexadecimal."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        server_id = self.server_id

        state: str = self.state

        approved: None | str
        approved = self.approved

        latest: None | str
        latest = self.latest

        digest: None | str
        digest = self.digest

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "server_id": server_id,
                "state": state,
                "approved": approved,
                "latest": latest,
                "digest": digest,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        server_id = d.pop("server_id")

        state = check_instructions_state(d.pop("state"))

        def _parse_approved(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        approved = _parse_approved(d.pop("approved"))

        def _parse_latest(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        latest = _parse_latest(d.pop("latest"))

        def _parse_digest(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        digest = _parse_digest(d.pop("digest"))

        return cls(
            server_id=server_id,
            state=state,
            approved=approved,
            latest=latest,
            digest=digest,
        )
