from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from attrs import define

from ..models.stale_state import StaleState, check_stale_state

if TYPE_CHECKING:
    from ..models.token_proposal import TokenProposal


@define(kw_only=True)
class StaleToken:
    """A token that was not used in the window."""

    kind: Literal["token"] = "token"

    token_id: str
    """The id of a token."""

    revision: int
    """The revision of the token, as in its ETag."""

    identity_id: str
    """The id of an identity."""

    name: str
    """Its name."""

    created_at: datetime.datetime
    """The time of creation."""

    expires_at: datetime.datetime
    """When it expires."""

    observed_since: datetime.datetime
    """When it was issued."""

    state: StaleState
    """How much was used in the window: nothing, some, or all that it gives. `unknown`: it has not given
    what it gives, or was not watched, for so long."""

    last_used_at: datetime.datetime | None
    """When it was last presented; null: never."""

    proposal: TokenProposal
    """Revoke the token: `POST /tokens/{id}/revoke`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind = self.kind

        token_id = self.token_id

        revision = self.revision

        identity_id = self.identity_id

        name = self.name

        created_at = self.created_at.isoformat()

        expires_at = self.expires_at.isoformat()

        observed_since = self.observed_since.isoformat()

        state: str = self.state

        last_used_at: None | str
        if isinstance(self.last_used_at, datetime.datetime):
            last_used_at = self.last_used_at.isoformat()
        else:
            last_used_at = self.last_used_at

        proposal = self.proposal.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "token_id": token_id,
                "revision": revision,
                "identity_id": identity_id,
                "name": name,
                "created_at": created_at,
                "expires_at": expires_at,
                "observed_since": observed_since,
                "state": state,
                "last_used_at": last_used_at,
                "proposal": proposal,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.token_proposal import TokenProposal

        d = dict(src_dict)
        kind = cast(Literal["token"], d.pop("kind"))
        if kind != "token":
            raise ValueError(f"kind must match const 'token', got '{kind}'")

        token_id = d.pop("token_id")

        revision = d.pop("revision")

        identity_id = d.pop("identity_id")

        name = d.pop("name")

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        expires_at = datetime.datetime.fromisoformat(d.pop("expires_at"))

        observed_since = datetime.datetime.fromisoformat(d.pop("observed_since"))

        state = check_stale_state(d.pop("state"))

        def _parse_last_used_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                last_used_at_type_0 = datetime.datetime.fromisoformat(data)

                return last_used_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        last_used_at = _parse_last_used_at(d.pop("last_used_at"))

        proposal = TokenProposal.from_dict(d.pop("proposal"))

        return cls(
            kind=kind,
            token_id=token_id,
            revision=revision,
            identity_id=identity_id,
            name=name,
            created_at=created_at,
            expires_at=expires_at,
            observed_since=observed_since,
            state=state,
            last_used_at=last_used_at,
            proposal=proposal,
        )
