from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.audit_sink_compression import (
    AuditSinkCompression,
    check_audit_sink_compression,
)
from ..models.audit_sink_credential_kind import (
    AuditSinkCredentialKind,
    check_audit_sink_credential_kind,
)
from ..models.audit_sink_error import AuditSinkError, check_audit_sink_error
from ..models.audit_sink_format import AuditSinkFormat, check_audit_sink_format
from ..models.audit_sink_status import AuditSinkStatus, check_audit_sink_status

if TYPE_CHECKING:
    from ..models.audit_sink_lag import AuditSinkLag


@define(kw_only=True)
class AuditSink:
    """A destination of the audit log, with the state of its delivery."""

    id: str
    """The id of an audit sink."""

    name: str
    """Its display name."""

    description: None | str
    """What it is for."""

    url: str
    """The URL that batches are sent to by POST."""

    format: AuditSinkFormat
    """The format of a batch. `ndjson`: one event per line; `json`: an array; `ocsf`: one OCSF 1.9 event
    per line; `splunk_hec`: for the HTTP Event Collector of Splunk."""

    compression: AuditSinkCompression
    """The encoding of the body of a batch. `gzip`: with `Content-Encoding: gzip`, for receivers that
    accept it."""

    credential_kind: AuditSinkCredentialKind
    """The authentication of batches."""

    status: AuditSinkStatus
    """A `disabled` sink receives nothing, and continues where it was when it is active again."""

    lag: AuditSinkLag | None
    """What it has not received yet; null when it has ended."""

    failures: int
    """Failed attempts since the last success."""

    failing_since: datetime.datetime | None
    """Time of the first of these; null when there are none."""

    held_until: datetime.datetime | None
    """Time of the next attempt, while its endpoint fails or asked for a pause."""

    status_code: int | None
    """The last status code of the endpoint, if any."""

    error: AuditSinkError | None
    """Why the last attempt failed; null when it did not."""

    delivered_at: datetime.datetime | None
    """When it last accepted a batch."""

    missed_at: datetime.datetime | None
    """When retention last dropped events that it had not received; null: never."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    ended_at: datetime.datetime | None
    """The time of the end; null before it."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.audit_sink_lag import AuditSinkLag

        id = self.id

        name = self.name

        description: None | str
        description = self.description

        url = self.url

        format_: str = self.format

        compression: str = self.compression

        credential_kind: str = self.credential_kind

        status: str = self.status

        lag: dict[str, Any] | None
        if isinstance(self.lag, AuditSinkLag):
            lag = self.lag.to_dict()
        else:
            lag = self.lag

        failures = self.failures

        failing_since: None | str
        if isinstance(self.failing_since, datetime.datetime):
            failing_since = self.failing_since.isoformat()
        else:
            failing_since = self.failing_since

        held_until: None | str
        if isinstance(self.held_until, datetime.datetime):
            held_until = self.held_until.isoformat()
        else:
            held_until = self.held_until

        status_code: int | None
        status_code = self.status_code

        error: None | str
        if isinstance(self.error, str):
            error = self.error
        else:
            error = self.error

        delivered_at: None | str
        if isinstance(self.delivered_at, datetime.datetime):
            delivered_at = self.delivered_at.isoformat()
        else:
            delivered_at = self.delivered_at

        missed_at: None | str
        if isinstance(self.missed_at, datetime.datetime):
            missed_at = self.missed_at.isoformat()
        else:
            missed_at = self.missed_at

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        ended_at: None | str
        if isinstance(self.ended_at, datetime.datetime):
            ended_at = self.ended_at.isoformat()
        else:
            ended_at = self.ended_at

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "name": name,
                "description": description,
                "url": url,
                "format": format_,
                "compression": compression,
                "credential_kind": credential_kind,
                "status": status,
                "lag": lag,
                "failures": failures,
                "failing_since": failing_since,
                "held_until": held_until,
                "status_code": status_code,
                "error": error,
                "delivered_at": delivered_at,
                "missed_at": missed_at,
                "created_at": created_at,
                "updated_at": updated_at,
                "ended_at": ended_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.audit_sink_lag import AuditSinkLag

        d = dict(src_dict)
        id = d.pop("id")

        name = d.pop("name")

        def _parse_description(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        description = _parse_description(d.pop("description"))

        url = d.pop("url")

        format_ = check_audit_sink_format(d.pop("format"))

        compression = check_audit_sink_compression(d.pop("compression"))

        credential_kind = check_audit_sink_credential_kind(d.pop("credential_kind"))

        status = check_audit_sink_status(d.pop("status"))

        def _parse_lag(data: object) -> AuditSinkLag | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                lag_type_0 = AuditSinkLag.from_dict(data)

                return lag_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AuditSinkLag | None, data)

        lag = _parse_lag(d.pop("lag"))

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

        def _parse_held_until(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                held_until_type_0 = datetime.datetime.fromisoformat(data)

                return held_until_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        held_until = _parse_held_until(d.pop("held_until"))

        def _parse_status_code(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        status_code = _parse_status_code(d.pop("status_code"))

        def _parse_error(data: object) -> AuditSinkError | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                error_type_0 = check_audit_sink_error(data)

                return error_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AuditSinkError | None, data)

        error = _parse_error(d.pop("error"))

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

        def _parse_missed_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                missed_at_type_0 = datetime.datetime.fromisoformat(data)

                return missed_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        missed_at = _parse_missed_at(d.pop("missed_at"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        def _parse_ended_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                ended_at_type_0 = datetime.datetime.fromisoformat(data)

                return ended_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        ended_at = _parse_ended_at(d.pop("ended_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            name=name,
            description=description,
            url=url,
            format=format_,
            compression=compression,
            credential_kind=credential_kind,
            status=status,
            lag=lag,
            failures=failures,
            failing_since=failing_since,
            held_until=held_until,
            status_code=status_code,
            error=error,
            delivered_at=delivered_at,
            missed_at=missed_at,
            created_at=created_at,
            updated_at=updated_at,
            ended_at=ended_at,
            revision=revision,
        )
