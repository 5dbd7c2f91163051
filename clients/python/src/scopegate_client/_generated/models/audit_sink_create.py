from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.audit_sink_compression import (
    AuditSinkCompression,
    check_audit_sink_compression,
)
from ..models.audit_sink_format import AuditSinkFormat, check_audit_sink_format
from ..models.audit_sink_start import AuditSinkStart, check_audit_sink_start
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.bearer_audit_sink_credential import BearerAuditSinkCredential
    from ..models.header_audit_sink_credential import HeaderAuditSinkCredential
    from ..models.no_audit_sink_credential import NoAuditSinkCredential


@define(kw_only=True)
class AuditSinkCreate:
    """A new sink."""

    name: str
    """Its display name."""

    url: str
    """An https URL, or http to an address in an allowed network. It must not contain a secret: callers who
    may read sinks see it."""

    description: None | str | Unset = UNSET
    """What it is for."""

    format: AuditSinkFormat | Unset = UNSET
    """The format of a batch. `ndjson`: one event per line; `json`: an array; `ocsf`: one OCSF 1.9 event
    per line; `splunk_hec`: for the HTTP Event Collector of Splunk."""

    compression: AuditSinkCompression | Unset = UNSET
    """The encoding of the body of a batch. `gzip`: with `Content-Encoding: gzip`, for receivers that
    accept it."""

    credential: BearerAuditSinkCredential | HeaderAuditSinkCredential | NoAuditSinkCredential | Unset = UNSET
    """The authentication of batches. It is stored encrypted, sent only to the origin of the URL, and never
    shown."""

    start: AuditSinkStart | Unset = UNSET
    """`now`: events from now on; `beginning`: the whole log."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.bearer_audit_sink_credential import BearerAuditSinkCredential
        from ..models.no_audit_sink_credential import NoAuditSinkCredential

        name = self.name

        url = self.url

        description: None | str | Unset
        if isinstance(self.description, Unset):
            description = UNSET
        else:
            description = self.description

        format_: str | Unset = UNSET
        if not isinstance(self.format, Unset):
            format_ = self.format

        compression: str | Unset = UNSET
        if not isinstance(self.compression, Unset):
            compression = self.compression

        credential: dict[str, Any] | Unset
        if isinstance(self.credential, Unset):
            credential = UNSET
        elif isinstance(self.credential, NoAuditSinkCredential):
            credential = self.credential.to_dict()
        elif isinstance(self.credential, BearerAuditSinkCredential):
            credential = self.credential.to_dict()
        else:
            credential = self.credential.to_dict()

        start: str | Unset = UNSET
        if not isinstance(self.start, Unset):
            start = self.start

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "name": name,
                "url": url,
            }
        )
        if description is not UNSET:
            field_dict["description"] = description
        if format_ is not UNSET:
            field_dict["format"] = format_
        if compression is not UNSET:
            field_dict["compression"] = compression
        if credential is not UNSET:
            field_dict["credential"] = credential
        if start is not UNSET:
            field_dict["start"] = start
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.bearer_audit_sink_credential import BearerAuditSinkCredential
        from ..models.header_audit_sink_credential import HeaderAuditSinkCredential
        from ..models.no_audit_sink_credential import NoAuditSinkCredential

        d = dict(src_dict)
        name = d.pop("name")

        url = d.pop("url")

        def _parse_description(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        description = _parse_description(d.pop("description", UNSET))

        _format_ = d.pop("format", UNSET)
        format_: AuditSinkFormat | Unset
        if isinstance(_format_, Unset):
            format_ = UNSET
        else:
            format_ = check_audit_sink_format(_format_)

        _compression = d.pop("compression", UNSET)
        compression: AuditSinkCompression | Unset
        if isinstance(_compression, Unset):
            compression = UNSET
        else:
            compression = check_audit_sink_compression(_compression)

        def _parse_credential(
            data: object,
        ) -> BearerAuditSinkCredential | HeaderAuditSinkCredential | NoAuditSinkCredential | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_audit_sink_credential_type_0 = NoAuditSinkCredential.from_dict(data)

                return componentsschemas_audit_sink_credential_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_audit_sink_credential_type_1 = BearerAuditSinkCredential.from_dict(data)

                return componentsschemas_audit_sink_credential_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, dict):
                raise TypeError()
            componentsschemas_audit_sink_credential_type_2 = HeaderAuditSinkCredential.from_dict(data)

            return componentsschemas_audit_sink_credential_type_2

        credential = _parse_credential(d.pop("credential", UNSET))

        _start = d.pop("start", UNSET)
        start: AuditSinkStart | Unset
        if isinstance(_start, Unset):
            start = UNSET
        else:
            start = check_audit_sink_start(_start)

        return cls(
            name=name,
            url=url,
            description=description,
            format=format_,
            compression=compression,
            credential=credential,
            start=start,
        )
