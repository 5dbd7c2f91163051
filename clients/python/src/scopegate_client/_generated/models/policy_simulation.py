from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.calls_and_people import CallsAndPeople
    from ..models.not_replayable import NotReplayable
    from ..models.simulated_call import SimulatedCall


@define(kw_only=True)
class PolicySimulation:
    """The effect of the changes on recorded calls."""

    summary: str
    """A summary of the numbers."""

    complete: bool
    """Whether all calls of the span were examined; otherwise only those from `first` to `last`: of the
    newest 20,000, from the oldest on, as many as the time limit allowed."""

    since: datetime.datetime
    """The start of the requested span."""

    first: datetime.datetime | None
    """The time of the oldest examined call."""

    last: datetime.datetime | None
    """The time of the newest examined call."""

    replayed: int
    """Calls that were decided again."""

    not_replayable: NotReplayable
    """Calls that could not be decided again."""

    newly_denied: CallsAndPeople
    """A number of calls, and of the people and agents who made them."""

    newly_allowed: CallsAndPeople
    """A number of calls, and of the people and agents who made them."""

    newly_requiring_approval: CallsAndPeople
    """A number of calls, and of the people and agents who made them."""

    calls: list[SimulatedCall]
    """The calls that are decided differently, newest first."""

    omitted: int
    """Number of further such calls."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        summary = self.summary

        complete = self.complete

        since = self.since.isoformat()

        first: None | str
        if isinstance(self.first, datetime.datetime):
            first = self.first.isoformat()
        else:
            first = self.first

        last: None | str
        if isinstance(self.last, datetime.datetime):
            last = self.last.isoformat()
        else:
            last = self.last

        replayed = self.replayed

        not_replayable = self.not_replayable.to_dict()

        newly_denied = self.newly_denied.to_dict()

        newly_allowed = self.newly_allowed.to_dict()

        newly_requiring_approval = self.newly_requiring_approval.to_dict()

        calls = []
        for calls_item_data in self.calls:
            calls_item = calls_item_data.to_dict()
            calls.append(calls_item)

        omitted = self.omitted

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "summary": summary,
                "complete": complete,
                "since": since,
                "first": first,
                "last": last,
                "replayed": replayed,
                "not_replayable": not_replayable,
                "newly_denied": newly_denied,
                "newly_allowed": newly_allowed,
                "newly_requiring_approval": newly_requiring_approval,
                "calls": calls,
                "omitted": omitted,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.calls_and_people import CallsAndPeople
        from ..models.not_replayable import NotReplayable
        from ..models.simulated_call import SimulatedCall

        d = dict(src_dict)
        summary = d.pop("summary")

        complete = d.pop("complete")

        since = datetime.datetime.fromisoformat(d.pop("since"))

        def _parse_first(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                first_type_0 = datetime.datetime.fromisoformat(data)

                return first_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        first = _parse_first(d.pop("first"))

        def _parse_last(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                last_type_0 = datetime.datetime.fromisoformat(data)

                return last_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        last = _parse_last(d.pop("last"))

        replayed = d.pop("replayed")

        not_replayable = NotReplayable.from_dict(d.pop("not_replayable"))

        newly_denied = CallsAndPeople.from_dict(d.pop("newly_denied"))

        newly_allowed = CallsAndPeople.from_dict(d.pop("newly_allowed"))

        newly_requiring_approval = CallsAndPeople.from_dict(d.pop("newly_requiring_approval"))

        calls = []
        _calls = d.pop("calls")
        for calls_item_data in _calls:
            calls_item = SimulatedCall.from_dict(calls_item_data)

            calls.append(calls_item)

        omitted = d.pop("omitted")

        return cls(
            summary=summary,
            complete=complete,
            since=since,
            first=first,
            last=last,
            replayed=replayed,
            not_replayable=not_replayable,
            newly_denied=newly_denied,
            newly_allowed=newly_allowed,
            newly_requiring_approval=newly_requiring_approval,
            calls=calls,
            omitted=omitted,
        )
