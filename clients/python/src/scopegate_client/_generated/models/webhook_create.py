from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.webhook_event import WebhookEvent, check_webhook_event
from ..types import UNSET, Unset


@define(kw_only=True)
class WebhookCreate:
    """A new webhook."""

    name: str
    """Its display name."""

    url: str
    """An https URL, or http to an address in an allowed network. It must not contain a secret: callers who
    may read webhooks see it, and messages are signed."""

    events: list[WebhookEvent]
    """The event types that it receives."""

    description: None | str | Unset = UNSET
    """What it is for."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name = self.name

        url = self.url

        events = []
        for events_item_data in self.events:
            events_item: str = events_item_data
            events.append(events_item)

        description: None | str | Unset
        if isinstance(self.description, Unset):
            description = UNSET
        else:
            description = self.description

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "name": name,
                "url": url,
                "events": events,
            }
        )
        if description is not UNSET:
            field_dict["description"] = description
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        name = d.pop("name")

        url = d.pop("url")

        events = []
        _events = d.pop("events")
        for events_item_data in _events:
            events_item = check_webhook_event(events_item_data)

            events.append(events_item)

        def _parse_description(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        description = _parse_description(d.pop("description", UNSET))

        return cls(
            name=name,
            url=url,
            events=events,
            description=description,
        )
