from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.webhook_event import WebhookEvent, check_webhook_event
from ..models.webhook_status import WebhookStatus, check_webhook_status
from ..types import UNSET, Unset


@define(kw_only=True)
class WebhookUpdate:
    """The fields of a webhook that can change."""

    name: str | Unset = UNSET
    """Its display name."""

    description: None | str | Unset = UNSET
    """What it is for."""

    url: str | Unset = UNSET
    """Pending messages are sent there too."""

    events: list[WebhookEvent] | Unset = UNSET
    """The event types that it receives."""

    status: WebhookStatus | Unset = UNSET
    """A `disabled` webhook gets no messages; its pending ones stay, for three days in all."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name = self.name

        description: None | str | Unset
        if isinstance(self.description, Unset):
            description = UNSET
        else:
            description = self.description

        url = self.url

        events: list[str] | Unset = UNSET
        if not isinstance(self.events, Unset):
            events = []
            for events_item_data in self.events:
                events_item: str = events_item_data
                events.append(events_item)

        status: str | Unset = UNSET
        if not isinstance(self.status, Unset):
            status = self.status

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if name is not UNSET:
            field_dict["name"] = name
        if description is not UNSET:
            field_dict["description"] = description
        if url is not UNSET:
            field_dict["url"] = url
        if events is not UNSET:
            field_dict["events"] = events
        if status is not UNSET:
            field_dict["status"] = status
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        name = d.pop("name", UNSET)

        def _parse_description(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        description = _parse_description(d.pop("description", UNSET))

        url = d.pop("url", UNSET)

        _events = d.pop("events", UNSET)
        events: list[WebhookEvent] | Unset = UNSET
        if _events is not UNSET:
            events = []
            for events_item_data in _events:
                events_item = check_webhook_event(events_item_data)

                events.append(events_item)

        _status = d.pop("status", UNSET)
        status: WebhookStatus | Unset
        if isinstance(_status, Unset):
            status = UNSET
        else:
            status = check_webhook_status(_status)

        return cls(
            name=name,
            description=description,
            url=url,
            events=events,
            status=status,
        )
