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
    """Where the audit trail goes, and how its endpoint fares."""

    id: str
    """The id of an audit sink."""

    name: str
    """What people call it."""

    description: None | str
    """What it is for."""

    url: str
    """Where batches go, by POST."""

    format: AuditSinkFormat
    """How a batch is written. `ndjson`: one event a line; `json`: an array; `ocsf`: one event a line, as
    OCSF 1.9 says it; `splunk_hec`: as the HTTP Event Collector of Splunk takes it."""

    compression: AuditSinkCompression
    """How the body of a batch is encoded. `gzip`: with `Content-Encoding: gzip`, for receivers that take
    it."""

    credential_kind: AuditSinkCredentialKind
    """What batches carry to prove whose they are."""

    status: AuditSinkStatus
    """A `disabled` sink is given nothing, and goes on where it was when it is active again."""

    lag: AuditSinkLag | None
    """What it has not been given yet; null when it has ended."""

    failures: int
    """How many attempts failed since the last that went well."""

    failing_since: datetime.datetime | None
    """When the first of these was; null when all is well."""

    held_until: datetime.datetime | None
    """Nothing is sent before this: its endpoint fails, or asked for a pause."""

    status_code: int | None
    """What the endpoint answered last, if it did."""

    error: AuditSinkError | None
    """Why the last attempt failed; null when it did not."""

    delivered_at: datetime.datetime | None
    """When it last took a batch."""

    missed_at: datetime.datetime | None
    """When the retention last dropped events that it had not been given; null when it never did."""

    created_at: datetime.datetime
    """When it was made."""

    updated_at: datetime.datetime
    """When it last changed."""

    ended_at: datetime.datetime | None
    """When it ended; null while it has not."""

    revision: int
    """Counts its changes; in quotes it is the `ETag`."""

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
