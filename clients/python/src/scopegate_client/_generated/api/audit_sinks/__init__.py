"""The operations of audit_sinks, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.audit_sink import AuditSink
from ...models.audit_sink_compression import AuditSinkCompression
from ...models.audit_sink_format import AuditSinkFormat
from ...models.audit_sink_order import AuditSinkOrder
from ...models.audit_sink_start import AuditSinkStart
from ...models.audit_sink_status import AuditSinkStatus
from ...models.bearer_audit_sink_credential import BearerAuditSinkCredential
from ...models.header_audit_sink_credential import HeaderAuditSinkCredential
from ...models.no_audit_sink_credential import NoAuditSinkCredential
from ...types import UNSET, Unset
from . import create_audit_sink as _create_audit_sink
from . import delete_audit_sink as _delete_audit_sink
from . import get_audit_sink as _get_audit_sink
from . import list_audit_sinks as _list_audit_sinks
from . import test_audit_sink as _test_audit_sink
from . import update_audit_sink as _update_audit_sink


class AuditSinksResource(Resource):
    """Destinations of the audit log: batches over HTTPS, in order, each at least once."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: AuditSinkStatus | Sequence[AuditSinkStatus] | None = None,
        failing: bool = False,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: AuditSinkOrder | None = None,
    ) -> Listing[AuditSink]:
        """List audit sinks, newest first.

        Needs the permission `audit_sinks.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            failing: Only those whose last attempt failed.
            q: Text in the name.
            include: `ended` shows ended ones too; needs the permission audit.read.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_audit_sinks.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                failing=failing,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    def create(
        self,
        *,
        name: str,
        url: str,
        description: str | None | Unset = UNSET,
        format: AuditSinkFormat | Unset = UNSET,
        compression: AuditSinkCompression | Unset = UNSET,
        credential: BearerAuditSinkCredential
        | HeaderAuditSinkCredential
        | NoAuditSinkCredential
        | JsonObject
        | Unset = UNSET,
        start: AuditSinkStart | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> AuditSink:
        """Create an audit sink.

        It receives the whole audit log, regardless of who created it.

        Needs the permission `audit_sinks.write`.

        Args:
            name: Its display name.
            url: An https URL, or http to an address in an allowed network. It must not contain a secret: callers
                who may read sinks see it.
            description: What it is for.
            format: The format of a batch. `ndjson`: one event per line; `json`: an array; `ocsf`: one OCSF 1.9
                event per line; `splunk_hec`: for the HTTP Event Collector of Splunk.
            compression: The encoding of the body of a batch. `gzip`: with `Content-Encoding: gzip`, for receivers that
                accept it.
            credential: The authentication of batches. It is stored encrypted, sent only to the origin of the URL, and
                never shown.
            start: `now`: events from now on; `beginning`: the whole log.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_audit_sink.call(
                {
                    "name": name,
                    "url": url,
                    "description": description,
                    "format": format,
                    "compression": compression,
                    "credential": credential,
                    "start": start,
                },
                idempotency_key=idempotency_key,
            )
        )

    def get(
        self,
        sink_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> AuditSink:
        """Read one audit sink, with its lag and the state of its endpoint.

        Needs the permission `audit_sinks.read`.

        Args:
            sink_id: The id of an audit sink.
            include: `ended` shows ended ones too; needs the permission audit.read.
        """
        return self._send(
            _get_audit_sink.call(
                sink_id,
                include=include,
            )
        )

    def delete(
        self,
        sink_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End an audit sink.

        Pending events are not delivered, and its credential is deleted.

        Needs the permission `audit_sinks.write`.

        Args:
            sink_id: The id of an audit sink.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_audit_sink.call(
                sink_id,
                if_match=if_match,
            )
        )

    def update(
        self,
        sink_id: str,
        *,
        name: str | Unset = UNSET,
        description: str | None | Unset = UNSET,
        url: str | Unset = UNSET,
        format: AuditSinkFormat | Unset = UNSET,
        compression: AuditSinkCompression | Unset = UNSET,
        credential: BearerAuditSinkCredential
        | HeaderAuditSinkCredential
        | NoAuditSinkCredential
        | JsonObject
        | Unset = UNSET,
        status: AuditSinkStatus | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> AuditSink:
        """Change an audit sink.

        Delivery continues immediately where it stopped.

        Needs the permission `audit_sinks.write`.

        Args:
            sink_id: The id of an audit sink.
            name: Its display name.
            description: What it is for.
            url: With a new origin, the credential must be sent again.
            format: The format of a batch. `ndjson`: one event per line; `json`: an array; `ocsf`: one OCSF 1.9
                event per line; `splunk_hec`: for the HTTP Event Collector of Splunk.
            compression: The encoding of the body of a batch. `gzip`: with `Content-Encoding: gzip`, for receivers that
                accept it.
            credential: The authentication of batches. It is stored encrypted, sent only to the origin of the URL, and
                never shown.
            status: A `disabled` sink receives nothing, and continues where it was when it is active again.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _update_audit_sink.call(
                sink_id,
                {
                    "name": name,
                    "description": description,
                    "url": url,
                    "format": format,
                    "compression": compression,
                    "credential": credential,
                    "status": status,
                },
                if_match=if_match,
            )
        )

    def test(
        self,
        sink_id: str,
        *,
        if_match: int | str | None = None,
    ) -> AuditSink:
        """Test an audit sink: record an event `audit_sink.test` and deliver pending events immediately.

        Read the sink a moment later: `delivered_at` or `error` has the result.

        Needs the permission `audit_sinks.write`.

        Args:
            sink_id: The id of an audit sink.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _test_audit_sink.call(
                sink_id,
                if_match=if_match,
            )
        )


class AsyncAuditSinksResource(AsyncResource):
    """Destinations of the audit log: batches over HTTPS, in order, each at least once."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: AuditSinkStatus | Sequence[AuditSinkStatus] | None = None,
        failing: bool = False,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: AuditSinkOrder | None = None,
    ) -> AsyncListing[AuditSink]:
        """List audit sinks, newest first.

        Needs the permission `audit_sinks.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            failing: Only those whose last attempt failed.
            q: Text in the name.
            include: `ended` shows ended ones too; needs the permission audit.read.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_audit_sinks.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                failing=failing,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    async def create(
        self,
        *,
        name: str,
        url: str,
        description: str | None | Unset = UNSET,
        format: AuditSinkFormat | Unset = UNSET,
        compression: AuditSinkCompression | Unset = UNSET,
        credential: BearerAuditSinkCredential
        | HeaderAuditSinkCredential
        | NoAuditSinkCredential
        | JsonObject
        | Unset = UNSET,
        start: AuditSinkStart | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> AuditSink:
        """Create an audit sink.

        It receives the whole audit log, regardless of who created it.

        Needs the permission `audit_sinks.write`.

        Args:
            name: Its display name.
            url: An https URL, or http to an address in an allowed network. It must not contain a secret: callers
                who may read sinks see it.
            description: What it is for.
            format: The format of a batch. `ndjson`: one event per line; `json`: an array; `ocsf`: one OCSF 1.9
                event per line; `splunk_hec`: for the HTTP Event Collector of Splunk.
            compression: The encoding of the body of a batch. `gzip`: with `Content-Encoding: gzip`, for receivers that
                accept it.
            credential: The authentication of batches. It is stored encrypted, sent only to the origin of the URL, and
                never shown.
            start: `now`: events from now on; `beginning`: the whole log.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_audit_sink.call(
                {
                    "name": name,
                    "url": url,
                    "description": description,
                    "format": format,
                    "compression": compression,
                    "credential": credential,
                    "start": start,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def get(
        self,
        sink_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> AuditSink:
        """Read one audit sink, with its lag and the state of its endpoint.

        Needs the permission `audit_sinks.read`.

        Args:
            sink_id: The id of an audit sink.
            include: `ended` shows ended ones too; needs the permission audit.read.
        """
        return await self._send(
            _get_audit_sink.call(
                sink_id,
                include=include,
            )
        )

    async def delete(
        self,
        sink_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End an audit sink.

        Pending events are not delivered, and its credential is deleted.

        Needs the permission `audit_sinks.write`.

        Args:
            sink_id: The id of an audit sink.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_audit_sink.call(
                sink_id,
                if_match=if_match,
            )
        )

    async def update(
        self,
        sink_id: str,
        *,
        name: str | Unset = UNSET,
        description: str | None | Unset = UNSET,
        url: str | Unset = UNSET,
        format: AuditSinkFormat | Unset = UNSET,
        compression: AuditSinkCompression | Unset = UNSET,
        credential: BearerAuditSinkCredential
        | HeaderAuditSinkCredential
        | NoAuditSinkCredential
        | JsonObject
        | Unset = UNSET,
        status: AuditSinkStatus | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> AuditSink:
        """Change an audit sink.

        Delivery continues immediately where it stopped.

        Needs the permission `audit_sinks.write`.

        Args:
            sink_id: The id of an audit sink.
            name: Its display name.
            description: What it is for.
            url: With a new origin, the credential must be sent again.
            format: The format of a batch. `ndjson`: one event per line; `json`: an array; `ocsf`: one OCSF 1.9
                event per line; `splunk_hec`: for the HTTP Event Collector of Splunk.
            compression: The encoding of the body of a batch. `gzip`: with `Content-Encoding: gzip`, for receivers that
                accept it.
            credential: The authentication of batches. It is stored encrypted, sent only to the origin of the URL, and
                never shown.
            status: A `disabled` sink receives nothing, and continues where it was when it is active again.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _update_audit_sink.call(
                sink_id,
                {
                    "name": name,
                    "description": description,
                    "url": url,
                    "format": format,
                    "compression": compression,
                    "credential": credential,
                    "status": status,
                },
                if_match=if_match,
            )
        )

    async def test(
        self,
        sink_id: str,
        *,
        if_match: int | str | None = None,
    ) -> AuditSink:
        """Test an audit sink: record an event `audit_sink.test` and deliver pending events immediately.

        Read the sink a moment later: `delivered_at` or `error` has the result.

        Needs the permission `audit_sinks.write`.

        Args:
            sink_id: The id of an audit sink.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _test_audit_sink.call(
                sink_id,
                if_match=if_match,
            )
        )
