from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.webhook_delivery_error import (
    WebhookDeliveryError,
    check_webhook_delivery_error,
)
from ..models.webhook_delivery_state import (
    WebhookDeliveryState,
    check_webhook_delivery_state,
)

if TYPE_CHECKING:
    from ..models.webhook_message_data import WebhookMessageData


@define(kw_only=True)
class WebhookDelivery:
    """A message to a webhook, and the state of its delivery."""

    id: str
    """The message's id: `webhook-id` in each attempt."""

    webhook_id: str
    """The id of a webhook."""

    type: str
    """The event type."""

    data: WebhookMessageData
    """The ids and times of the event, by name."""

    state: WebhookDeliveryState
    """`pending`: waits for its first or next attempt; `failed`: not retried automatically, since three
    days have passed, or its endpoint is gone."""

    attempts: int
    """Number of attempts since it was created or last retried."""

    attempted_at: datetime.datetime | None
    """When the last attempt began."""

    next_attempt_at: datetime.datetime | None
    """When it is tried next; null unless pending."""

    delivered_at: datetime.datetime | None
    """When it was delivered."""

    status_code: int | None
    """The last status code of the endpoint, if any."""

    error: None | WebhookDeliveryError
    """Why the last attempt failed; null when it did not."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        webhook_id = self.webhook_id

        type_ = self.type

        data = self.data.to_dict()

        state: str = self.state

        attempts = self.attempts

        attempted_at: None | str
        if isinstance(self.attempted_at, datetime.datetime):
            attempted_at = self.attempted_at.isoformat()
        else:
            attempted_at = self.attempted_at

        next_attempt_at: None | str
        if isinstance(self.next_attempt_at, datetime.datetime):
            next_attempt_at = self.next_attempt_at.isoformat()
        else:
            next_attempt_at = self.next_attempt_at

        delivered_at: None | str
        if isinstance(self.delivered_at, datetime.datetime):
            delivered_at = self.delivered_at.isoformat()
        else:
            delivered_at = self.delivered_at

        status_code: int | None
        status_code = self.status_code

        error: None | str
        if isinstance(self.error, str):
            error = self.error
        else:
            error = self.error

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "webhook_id": webhook_id,
                "type": type_,
                "data": data,
                "state": state,
                "attempts": attempts,
                "attempted_at": attempted_at,
                "next_attempt_at": next_attempt_at,
                "delivered_at": delivered_at,
                "status_code": status_code,
                "error": error,
                "created_at": created_at,
                "updated_at": updated_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.webhook_message_data import WebhookMessageData

        d = dict(src_dict)
        id = d.pop("id")

        webhook_id = d.pop("webhook_id")

        type_ = d.pop("type")

        data = WebhookMessageData.from_dict(d.pop("data"))

        state = check_webhook_delivery_state(d.pop("state"))

        attempts = d.pop("attempts")

        def _parse_attempted_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                attempted_at_type_0 = datetime.datetime.fromisoformat(data)

                return attempted_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        attempted_at = _parse_attempted_at(d.pop("attempted_at"))

        def _parse_next_attempt_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                next_attempt_at_type_0 = datetime.datetime.fromisoformat(data)

                return next_attempt_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        next_attempt_at = _parse_next_attempt_at(d.pop("next_attempt_at"))

        def _parse_delivered_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                delivered_at_type_0 = datetime.datetime.fromisoformat(data)

                return delivered_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        delivered_at = _parse_delivered_at(d.pop("delivered_at"))

        def _parse_status_code(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        status_code = _parse_status_code(d.pop("status_code"))

        def _parse_error(data: object) -> None | WebhookDeliveryError:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                error_type_0 = check_webhook_delivery_error(data)

                return error_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | WebhookDeliveryError, data)

        error = _parse_error(d.pop("error"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            webhook_id=webhook_id,
            type=type_,
            data=data,
            state=state,
            attempts=attempts,
            attempted_at=attempted_at,
            next_attempt_at=next_attempt_at,
            delivered_at=delivered_at,
            status_code=status_code,
            error=error,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
