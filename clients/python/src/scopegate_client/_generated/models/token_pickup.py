from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.pickup_state import PickupState, check_pickup_state


@define(kw_only=True)
class TokenPickup:
    """A link by which one person picks up a new secret of a token, once. It has no secret and works only
    for that
    person."""

    id: str
    """The id of a pickup link."""

    token_id: str
    """The id of a token."""

    recipient_id: str
    """The recipient: the token's person, or the owner of its agent."""

    state: PickupState
    """`cancelled`: it was withdrawn or replaced by another link or secret, the token ended, or its
    recipient does not own the token's identity any more."""

    overlap_s: int
    """Seconds that earlier secrets still work after the pickup."""

    url: str
    """The page for the pickup. Send it by any channel: it works only for the recipient."""

    expires_at: datetime.datetime
    """When it expires."""

    picked_up_at: datetime.datetime | None
    """When its recipient used it."""

    reopened_at: datetime.datetime | None
    """When its recipient opened it again after that, reported at most once an hour. If the recipient did
    not use it, revoke the token."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        token_id = self.token_id

        recipient_id = self.recipient_id

        state: str = self.state

        overlap_s = self.overlap_s

        url = self.url

        expires_at = self.expires_at.isoformat()

        picked_up_at: None | str
        if isinstance(self.picked_up_at, datetime.datetime):
            picked_up_at = self.picked_up_at.isoformat()
        else:
            picked_up_at = self.picked_up_at

        reopened_at: None | str
        if isinstance(self.reopened_at, datetime.datetime):
            reopened_at = self.reopened_at.isoformat()
        else:
            reopened_at = self.reopened_at

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "token_id": token_id,
                "recipient_id": recipient_id,
                "state": state,
                "overlap_s": overlap_s,
                "url": url,
                "expires_at": expires_at,
                "picked_up_at": picked_up_at,
                "reopened_at": reopened_at,
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

        token_id = d.pop("token_id")

        recipient_id = d.pop("recipient_id")

        state = check_pickup_state(d.pop("state"))

        overlap_s = d.pop("overlap_s")

        url = d.pop("url")

        expires_at = datetime.datetime.fromisoformat(d.pop("expires_at"))

        def _parse_picked_up_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                picked_up_at_type_0 = datetime.datetime.fromisoformat(data)

                return picked_up_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        picked_up_at = _parse_picked_up_at(d.pop("picked_up_at"))

        def _parse_reopened_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                reopened_at_type_0 = datetime.datetime.fromisoformat(data)

                return reopened_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        reopened_at = _parse_reopened_at(d.pop("reopened_at"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            token_id=token_id,
            recipient_id=recipient_id,
            state=state,
            overlap_s=overlap_s,
            url=url,
            expires_at=expires_at,
            picked_up_at=picked_up_at,
            reopened_at=reopened_at,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
