from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.signal_stream_error import SignalStreamError, check_signal_stream_error
from ..models.signal_stream_status import SignalStreamStatus, check_signal_stream_status
from ..models.signals_delivery import SignalsDelivery, check_signals_delivery


@define(kw_only=True)
class SignalStream:
    """The state of a provider's signals."""

    provider_id: str
    """The id of an identity provider."""

    issuer: str
    """The transmitter: the `iss` of its events."""

    delivery: SignalsDelivery
    """`push`: events are sent to `/ssf/events` (RFC 8935). `poll`: they are polled (RFC 8936)."""

    push_url: str
    """The URL for a transmitter that pushes."""

    events: list[str]
    """The event types that have effects."""

    has_credential: bool
    """Whether an access token for the transmitter's API is stored."""

    stream_id: None | str
    """The transmitter's id of the stream."""

    status: SignalStreamStatus
    """The last status from the transmitter; `unknown`: none yet."""

    verification_asked_at: datetime.datetime | None
    """When a verification event was last requested."""

    verified_at: datetime.datetime | None
    """When a verification event with the right state arrived."""

    received_at: datetime.datetime | None
    """When the last event arrived, accurate to a second."""

    polled_at: datetime.datetime | None
    """The last successful poll."""

    failures: int
    """Failed polls in a row."""

    failing_since: datetime.datetime | None
    """When the first of these failed."""

    error: None | SignalStreamError
    """The current error, if any."""

    revision: int
    """Increases with each change; 0 before the first."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        provider_id = self.provider_id

        issuer = self.issuer

        delivery: str = self.delivery

        push_url = self.push_url

        events = self.events

        has_credential = self.has_credential

        stream_id: None | str
        stream_id = self.stream_id

        status: str = self.status

        verification_asked_at: None | str
        if isinstance(self.verification_asked_at, datetime.datetime):
            verification_asked_at = self.verification_asked_at.isoformat()
        else:
            verification_asked_at = self.verification_asked_at

        verified_at: None | str
        if isinstance(self.verified_at, datetime.datetime):
            verified_at = self.verified_at.isoformat()
        else:
            verified_at = self.verified_at

        received_at: None | str
        if isinstance(self.received_at, datetime.datetime):
            received_at = self.received_at.isoformat()
        else:
            received_at = self.received_at

        polled_at: None | str
        if isinstance(self.polled_at, datetime.datetime):
            polled_at = self.polled_at.isoformat()
        else:
            polled_at = self.polled_at

        failures = self.failures

        failing_since: None | str
        if isinstance(self.failing_since, datetime.datetime):
            failing_since = self.failing_since.isoformat()
        else:
            failing_since = self.failing_since

        error: None | str
        if isinstance(self.error, str):
            error = self.error
        else:
            error = self.error

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "provider_id": provider_id,
                "issuer": issuer,
                "delivery": delivery,
                "push_url": push_url,
                "events": events,
                "has_credential": has_credential,
                "stream_id": stream_id,
                "status": status,
                "verification_asked_at": verification_asked_at,
                "verified_at": verified_at,
                "received_at": received_at,
                "polled_at": polled_at,
                "failures": failures,
                "failing_since": failing_since,
                "error": error,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        provider_id = d.pop("provider_id")

        issuer = d.pop("issuer")

        delivery = check_signals_delivery(d.pop("delivery"))

        push_url = d.pop("push_url")

        events = cast(list[str], d.pop("events"))

        has_credential = d.pop("has_credential")

        def _parse_stream_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        stream_id = _parse_stream_id(d.pop("stream_id"))

        status = check_signal_stream_status(d.pop("status"))

        def _parse_verification_asked_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                verification_asked_at_type_0 = datetime.datetime.fromisoformat(data)

                return verification_asked_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        verification_asked_at = _parse_verification_asked_at(d.pop("verification_asked_at"))

        def _parse_verified_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                verified_at_type_0 = datetime.datetime.fromisoformat(data)

                return verified_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        verified_at = _parse_verified_at(d.pop("verified_at"))

        def _parse_received_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                received_at_type_0 = datetime.datetime.fromisoformat(data)

                return received_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        received_at = _parse_received_at(d.pop("received_at"))

        def _parse_polled_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                polled_at_type_0 = datetime.datetime.fromisoformat(data)

                return polled_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        polled_at = _parse_polled_at(d.pop("polled_at"))

        failures = d.pop("failures")

        def _parse_failing_since(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                failing_since_type_0 = datetime.datetime.fromisoformat(data)

                return failing_since_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        failing_since = _parse_failing_since(d.pop("failing_since"))

        def _parse_error(data: object) -> None | SignalStreamError:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                error_type_0 = check_signal_stream_error(data)

                return error_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | SignalStreamError, data)

        error = _parse_error(d.pop("error"))

        revision = d.pop("revision")

        return cls(
            provider_id=provider_id,
            issuer=issuer,
            delivery=delivery,
            push_url=push_url,
            events=events,
            has_credential=has_credential,
            stream_id=stream_id,
            status=status,
            verification_asked_at=verification_asked_at,
            verified_at=verified_at,
            received_at=received_at,
            polled_at=polled_at,
            failures=failures,
            failing_since=failing_since,
            error=error,
            revision=revision,
        )
