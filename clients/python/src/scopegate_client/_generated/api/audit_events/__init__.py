"""The operations of audit_events, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.audit_arguments import AuditArguments
from ...models.audit_checkpoint import AuditCheckpoint
from ...models.audit_consistency_proof import AuditConsistencyProof
from ...models.audit_decision import AuditDecision
from ...models.audit_event import AuditEvent
from ...models.audit_event_proof import AuditEventProof
from ...models.audit_log_keys import AuditLogKeys
from ...models.audit_outcome import AuditOutcome
from ...models.audit_range_proof import AuditRangeProof
from ...models.audit_stats import AuditStats
from ...types import UNSET, Unset
from . import get_audit_event as _get_audit_event
from . import get_audit_event_arguments as _get_audit_event_arguments
from . import get_audit_event_checkpoint as _get_audit_event_checkpoint
from . import get_audit_event_consistency as _get_audit_event_consistency
from . import get_audit_event_proof as _get_audit_event_proof
from . import get_audit_event_range as _get_audit_event_range
from . import get_audit_event_stats as _get_audit_event_stats
from . import list_audit_event_checkpoints as _list_audit_event_checkpoints
from . import list_audit_event_keys as _list_audit_event_keys
from . import list_audit_events as _list_audit_events


class AuditEventsResource(Resource):
    """Who did what, when, and the decision: all calls through the gateway and all changes here."""

    def list(
        self,
        *,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        id: str | Sequence[str] | None = None,
        action: str | Sequence[str] | None = None,
        decision: AuditDecision | Sequence[AuditDecision] | None = None,
        reason_code: str | Sequence[str] | None = None,
        outcome: AuditOutcome | Sequence[AuditOutcome] | None = None,
        actor_id: str | Sequence[str] | None = None,
        actor_type: str | Sequence[str] | None = None,
        actor_name: str | Sequence[str] | None = None,
        on_behalf_of: str | Sequence[str] | None = None,
        token_id: str | Sequence[str] | None = None,
        server_id: str | Sequence[str] | None = None,
        server_slug: str | Sequence[str] | None = None,
        tool: str | Sequence[str] | None = None,
        object_id: str | Sequence[str] | None = None,
        policy_id: str | Sequence[str] | None = None,
        observed_policy_id: str | Sequence[str] | None = None,
        client_ip: str | Sequence[str] | None = None,
        client_name: str | Sequence[str] | None = None,
        client_version: str | Sequence[str] | None = None,
        client_user_agent: str | Sequence[str] | None = None,
        arguments_digest: str | Sequence[str] | None = None,
        changes: str | Sequence[str] | None = None,
        duration_ms_min: int | None = None,
        duration_ms_max: int | None = None,
        request_id: str | Sequence[str] | None = None,
        trace_id: str | Sequence[str] | None = None,
        q: str | None = None,
        page_size: int | None = None,
    ) -> Listing[AuditEvent]:
        """List audit events, newest first; with `after`, in commit order without gaps.

        A filter without an index is searched for about a second per page: if few events match, a page may
        hold fewer than
        `limit`, or none, and still have a `next_cursor`.

        Needs the permission `audit.read`.

        Args:
            since: Only events at this time or later.
            until: Only events before this time.
            outcome: Needs `since`.
            actor_name: The full name of `actor`, case-insensitive.
            policy_id: Policies that decided.
            observed_policy_id: Policies in the mode `observe` that would have changed the decision.
            changes: Names of changed fields; `changes` has one of them.
            duration_ms_min: Minimum in milliseconds. Needs `since`.
            duration_ms_max: Maximum in milliseconds. Needs `since`.
            q: Text in the names of identities, service accounts and servers.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_audit_events.call(
                since=since,
                until=until,
                id=id,
                action=action,
                decision=decision,
                reason_code=reason_code,
                outcome=outcome,
                actor_id=actor_id,
                actor_type=actor_type,
                actor_name=actor_name,
                on_behalf_of=on_behalf_of,
                token_id=token_id,
                server_id=server_id,
                server_slug=server_slug,
                tool=tool,
                object_id=object_id,
                policy_id=policy_id,
                observed_policy_id=observed_policy_id,
                client_ip=client_ip,
                client_name=client_name,
                client_version=client_version,
                client_user_agent=client_user_agent,
                arguments_digest=arguments_digest,
                changes=changes,
                duration_ms_min=duration_ms_min,
                duration_ms_max=duration_ms_max,
                request_id=request_id,
                trace_id=trace_id,
                q=q,
                limit=page_size,
                cursor=cursor,
            )
        )

    def follow(
        self,
        *,
        after: str | None = None,
        wait: bool = True,
        interval: float = 2.0,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        id: str | Sequence[str] | None = None,
        action: str | Sequence[str] | None = None,
        decision: AuditDecision | Sequence[AuditDecision] | None = None,
        reason_code: str | Sequence[str] | None = None,
        outcome: AuditOutcome | Sequence[AuditOutcome] | None = None,
        actor_id: str | Sequence[str] | None = None,
        actor_type: str | Sequence[str] | None = None,
        actor_name: str | Sequence[str] | None = None,
        on_behalf_of: str | Sequence[str] | None = None,
        token_id: str | Sequence[str] | None = None,
        server_id: str | Sequence[str] | None = None,
        server_slug: str | Sequence[str] | None = None,
        tool: str | Sequence[str] | None = None,
        object_id: str | Sequence[str] | None = None,
        policy_id: str | Sequence[str] | None = None,
        observed_policy_id: str | Sequence[str] | None = None,
        client_ip: str | Sequence[str] | None = None,
        client_name: str | Sequence[str] | None = None,
        client_version: str | Sequence[str] | None = None,
        client_user_agent: str | Sequence[str] | None = None,
        arguments_digest: str | Sequence[str] | None = None,
        changes: str | Sequence[str] | None = None,
        duration_ms_min: int | None = None,
        duration_ms_max: int | None = None,
        request_id: str | Sequence[str] | None = None,
        trace_id: str | Sequence[str] | None = None,
        q: str | None = None,
    ) -> Following[AuditEvent]:
        """Each one as it comes, in the order in which they came, and none of them skipped.

        A filter without an index is searched for about a second per page: if few events match, a page may
        hold fewer than
        `limit`, or none, and still have a `next_cursor`.

        Needs the permission `audit.read`.

        Args:
            after: The `cursor` at which an earlier one stopped, with the same filters. Without: from the beginning, or `since`.
            wait: Whether to wait for more at the end, or to stop there.
            interval: How many seconds to wait before asking whether there is more.
            since: Only events at this time or later.
            until: Only events before this time.
            outcome: Needs `since`.
            actor_name: The full name of `actor`, case-insensitive.
            policy_id: Policies that decided.
            observed_policy_id: Policies in the mode `observe` that would have changed the decision.
            changes: Names of changed fields; `changes` has one of them.
            duration_ms_min: Minimum in milliseconds. Needs `since`.
            duration_ms_max: Maximum in milliseconds. Needs `since`.
            q: Text in the names of identities, service accounts and servers.
        """
        return self._follow(
            lambda after: _list_audit_events.call(
                since=since,
                until=until,
                id=id,
                action=action,
                decision=decision,
                reason_code=reason_code,
                outcome=outcome,
                actor_id=actor_id,
                actor_type=actor_type,
                actor_name=actor_name,
                on_behalf_of=on_behalf_of,
                token_id=token_id,
                server_id=server_id,
                server_slug=server_slug,
                tool=tool,
                object_id=object_id,
                policy_id=policy_id,
                observed_policy_id=observed_policy_id,
                client_ip=client_ip,
                client_name=client_name,
                client_version=client_version,
                client_user_agent=client_user_agent,
                arguments_digest=arguments_digest,
                changes=changes,
                duration_ms_min=duration_ms_min,
                duration_ms_max=duration_ms_max,
                request_id=request_id,
                trace_id=trace_id,
                q=q,
                after=after,
            ),
            after,
            wait=wait,
            interval=interval,
        )

    def list_checkpoints(
        self,
        *,
        page_size: int | None = None,
    ) -> Listing[AuditCheckpoint]:
        """List checkpoints of the sealed audit log, newest first.

        Needs the permission `audit.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_audit_event_checkpoints.call(
                limit=page_size,
                cursor=cursor,
            )
        )

    def get_checkpoint(
        self,
        tree_size: int,
    ) -> AuditCheckpoint:
        """Read one checkpoint.

        Needs the permission `audit.read`.

        Args:
            tree_size: The size of a checkpoint: how many events it seals.
        """
        return self._send(
            _get_audit_event_checkpoint.call(
                tree_size,
            )
        )

    def get_consistency(
        self,
        tree_size: int,
        *,
        from_: int,
    ) -> AuditConsistencyProof:
        """Read the consistency proof between a checkpoint and an older one.

        Needs the permission `audit.read`.

        Args:
            tree_size: The size of a checkpoint: how many events it seals.
            from_: The size of the older log.
        """
        return self._send(
            _get_audit_event_consistency.call(
                tree_size,
                from_=from_,
            )
        )

    def get_range(
        self,
        tree_size: int,
        *,
        from_: int,
        to: int,
    ) -> AuditRangeProof:
        """Read the proof of a range of exported leaves (`format=leaves` of the export).

        Needs the permission `audit.read`.

        Args:
            tree_size: The size of a checkpoint: how many events it seals.
            from_: The first position.
            to: The position after the last one.
        """
        return self._send(
            _get_audit_event_range.call(
                tree_size,
                from_=from_,
                to=to,
            )
        )

    def list_keys(
        self,
    ) -> AuditLogKeys:
        """List the public keys for checkpoint signatures.

        There is one for each name that the log has had.

        Needs the permission `audit.read`.

        """
        return self._send(_list_audit_event_keys.call())

    def get_stats(
        self,
        *,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        action: str | Sequence[str] | None = None,
        decision: AuditDecision | Sequence[AuditDecision] | None = None,
    ) -> AuditStats:
        """Count audit events by hour.

        Fast for a log of any length, and current.

        Needs the permission `audit.read`.

        Args:
            since: Counts from the hour of this time; by default the last 24 hours.
            until: Counts to the end of the hour before this time, or of its hour; by default now.
        """
        return self._send(
            _get_audit_event_stats.call(
                since=since,
                until=until,
                action=action,
                decision=decision,
            )
        )

    def get(
        self,
        event_id: str,
    ) -> AuditEvent:
        """Read one audit event, a call with its outcome.

        Needs the permission `audit.read`.

        Args:
            event_id: The id of an audit event.
        """
        return self._send(
            _get_audit_event.call(
                event_id,
            )
        )

    def get_arguments(
        self,
        event_id: str,
    ) -> AuditArguments:
        """Read the recorded arguments of a call.

        Reading them is recorded as an event.

        Needs the permission `arguments.read`.

        Args:
            event_id: The id of an audit event.
        """
        return self._send(
            _get_audit_event_arguments.call(
                event_id,
            )
        )

    def get_proof(
        self,
        event_id: str,
    ) -> AuditEventProof:
        """Read the inclusion proof of an event; 404 `not_sealed_yet` in its first seconds.

        Needs the permission `audit.read`.

        Args:
            event_id: The id of an audit event.
        """
        return self._send(
            _get_audit_event_proof.call(
                event_id,
            )
        )


class AsyncAuditEventsResource(AsyncResource):
    """Who did what, when, and the decision: all calls through the gateway and all changes here."""

    def list(
        self,
        *,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        id: str | Sequence[str] | None = None,
        action: str | Sequence[str] | None = None,
        decision: AuditDecision | Sequence[AuditDecision] | None = None,
        reason_code: str | Sequence[str] | None = None,
        outcome: AuditOutcome | Sequence[AuditOutcome] | None = None,
        actor_id: str | Sequence[str] | None = None,
        actor_type: str | Sequence[str] | None = None,
        actor_name: str | Sequence[str] | None = None,
        on_behalf_of: str | Sequence[str] | None = None,
        token_id: str | Sequence[str] | None = None,
        server_id: str | Sequence[str] | None = None,
        server_slug: str | Sequence[str] | None = None,
        tool: str | Sequence[str] | None = None,
        object_id: str | Sequence[str] | None = None,
        policy_id: str | Sequence[str] | None = None,
        observed_policy_id: str | Sequence[str] | None = None,
        client_ip: str | Sequence[str] | None = None,
        client_name: str | Sequence[str] | None = None,
        client_version: str | Sequence[str] | None = None,
        client_user_agent: str | Sequence[str] | None = None,
        arguments_digest: str | Sequence[str] | None = None,
        changes: str | Sequence[str] | None = None,
        duration_ms_min: int | None = None,
        duration_ms_max: int | None = None,
        request_id: str | Sequence[str] | None = None,
        trace_id: str | Sequence[str] | None = None,
        q: str | None = None,
        page_size: int | None = None,
    ) -> AsyncListing[AuditEvent]:
        """List audit events, newest first; with `after`, in commit order without gaps.

        A filter without an index is searched for about a second per page: if few events match, a page may
        hold fewer than
        `limit`, or none, and still have a `next_cursor`.

        Needs the permission `audit.read`.

        Args:
            since: Only events at this time or later.
            until: Only events before this time.
            outcome: Needs `since`.
            actor_name: The full name of `actor`, case-insensitive.
            policy_id: Policies that decided.
            observed_policy_id: Policies in the mode `observe` that would have changed the decision.
            changes: Names of changed fields; `changes` has one of them.
            duration_ms_min: Minimum in milliseconds. Needs `since`.
            duration_ms_max: Maximum in milliseconds. Needs `since`.
            q: Text in the names of identities, service accounts and servers.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_audit_events.call(
                since=since,
                until=until,
                id=id,
                action=action,
                decision=decision,
                reason_code=reason_code,
                outcome=outcome,
                actor_id=actor_id,
                actor_type=actor_type,
                actor_name=actor_name,
                on_behalf_of=on_behalf_of,
                token_id=token_id,
                server_id=server_id,
                server_slug=server_slug,
                tool=tool,
                object_id=object_id,
                policy_id=policy_id,
                observed_policy_id=observed_policy_id,
                client_ip=client_ip,
                client_name=client_name,
                client_version=client_version,
                client_user_agent=client_user_agent,
                arguments_digest=arguments_digest,
                changes=changes,
                duration_ms_min=duration_ms_min,
                duration_ms_max=duration_ms_max,
                request_id=request_id,
                trace_id=trace_id,
                q=q,
                limit=page_size,
                cursor=cursor,
            )
        )

    def follow(
        self,
        *,
        after: str | None = None,
        wait: bool = True,
        interval: float = 2.0,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        id: str | Sequence[str] | None = None,
        action: str | Sequence[str] | None = None,
        decision: AuditDecision | Sequence[AuditDecision] | None = None,
        reason_code: str | Sequence[str] | None = None,
        outcome: AuditOutcome | Sequence[AuditOutcome] | None = None,
        actor_id: str | Sequence[str] | None = None,
        actor_type: str | Sequence[str] | None = None,
        actor_name: str | Sequence[str] | None = None,
        on_behalf_of: str | Sequence[str] | None = None,
        token_id: str | Sequence[str] | None = None,
        server_id: str | Sequence[str] | None = None,
        server_slug: str | Sequence[str] | None = None,
        tool: str | Sequence[str] | None = None,
        object_id: str | Sequence[str] | None = None,
        policy_id: str | Sequence[str] | None = None,
        observed_policy_id: str | Sequence[str] | None = None,
        client_ip: str | Sequence[str] | None = None,
        client_name: str | Sequence[str] | None = None,
        client_version: str | Sequence[str] | None = None,
        client_user_agent: str | Sequence[str] | None = None,
        arguments_digest: str | Sequence[str] | None = None,
        changes: str | Sequence[str] | None = None,
        duration_ms_min: int | None = None,
        duration_ms_max: int | None = None,
        request_id: str | Sequence[str] | None = None,
        trace_id: str | Sequence[str] | None = None,
        q: str | None = None,
    ) -> AsyncFollowing[AuditEvent]:
        """Each one as it comes, in the order in which they came, and none of them skipped.

        A filter without an index is searched for about a second per page: if few events match, a page may
        hold fewer than
        `limit`, or none, and still have a `next_cursor`.

        Needs the permission `audit.read`.

        Args:
            after: The `cursor` at which an earlier one stopped, with the same filters. Without: from the beginning, or `since`.
            wait: Whether to wait for more at the end, or to stop there.
            interval: How many seconds to wait before asking whether there is more.
            since: Only events at this time or later.
            until: Only events before this time.
            outcome: Needs `since`.
            actor_name: The full name of `actor`, case-insensitive.
            policy_id: Policies that decided.
            observed_policy_id: Policies in the mode `observe` that would have changed the decision.
            changes: Names of changed fields; `changes` has one of them.
            duration_ms_min: Minimum in milliseconds. Needs `since`.
            duration_ms_max: Maximum in milliseconds. Needs `since`.
            q: Text in the names of identities, service accounts and servers.
        """
        return self._follow(
            lambda after: _list_audit_events.call(
                since=since,
                until=until,
                id=id,
                action=action,
                decision=decision,
                reason_code=reason_code,
                outcome=outcome,
                actor_id=actor_id,
                actor_type=actor_type,
                actor_name=actor_name,
                on_behalf_of=on_behalf_of,
                token_id=token_id,
                server_id=server_id,
                server_slug=server_slug,
                tool=tool,
                object_id=object_id,
                policy_id=policy_id,
                observed_policy_id=observed_policy_id,
                client_ip=client_ip,
                client_name=client_name,
                client_version=client_version,
                client_user_agent=client_user_agent,
                arguments_digest=arguments_digest,
                changes=changes,
                duration_ms_min=duration_ms_min,
                duration_ms_max=duration_ms_max,
                request_id=request_id,
                trace_id=trace_id,
                q=q,
                after=after,
            ),
            after,
            wait=wait,
            interval=interval,
        )

    def list_checkpoints(
        self,
        *,
        page_size: int | None = None,
    ) -> AsyncListing[AuditCheckpoint]:
        """List checkpoints of the sealed audit log, newest first.

        Needs the permission `audit.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_audit_event_checkpoints.call(
                limit=page_size,
                cursor=cursor,
            )
        )

    async def get_checkpoint(
        self,
        tree_size: int,
    ) -> AuditCheckpoint:
        """Read one checkpoint.

        Needs the permission `audit.read`.

        Args:
            tree_size: The size of a checkpoint: how many events it seals.
        """
        return await self._send(
            _get_audit_event_checkpoint.call(
                tree_size,
            )
        )

    async def get_consistency(
        self,
        tree_size: int,
        *,
        from_: int,
    ) -> AuditConsistencyProof:
        """Read the consistency proof between a checkpoint and an older one.

        Needs the permission `audit.read`.

        Args:
            tree_size: The size of a checkpoint: how many events it seals.
            from_: The size of the older log.
        """
        return await self._send(
            _get_audit_event_consistency.call(
                tree_size,
                from_=from_,
            )
        )

    async def get_range(
        self,
        tree_size: int,
        *,
        from_: int,
        to: int,
    ) -> AuditRangeProof:
        """Read the proof of a range of exported leaves (`format=leaves` of the export).

        Needs the permission `audit.read`.

        Args:
            tree_size: The size of a checkpoint: how many events it seals.
            from_: The first position.
            to: The position after the last one.
        """
        return await self._send(
            _get_audit_event_range.call(
                tree_size,
                from_=from_,
                to=to,
            )
        )

    async def list_keys(
        self,
    ) -> AuditLogKeys:
        """List the public keys for checkpoint signatures.

        There is one for each name that the log has had.

        Needs the permission `audit.read`.

        """
        return await self._send(_list_audit_event_keys.call())

    async def get_stats(
        self,
        *,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        action: str | Sequence[str] | None = None,
        decision: AuditDecision | Sequence[AuditDecision] | None = None,
    ) -> AuditStats:
        """Count audit events by hour.

        Fast for a log of any length, and current.

        Needs the permission `audit.read`.

        Args:
            since: Counts from the hour of this time; by default the last 24 hours.
            until: Counts to the end of the hour before this time, or of its hour; by default now.
        """
        return await self._send(
            _get_audit_event_stats.call(
                since=since,
                until=until,
                action=action,
                decision=decision,
            )
        )

    async def get(
        self,
        event_id: str,
    ) -> AuditEvent:
        """Read one audit event, a call with its outcome.

        Needs the permission `audit.read`.

        Args:
            event_id: The id of an audit event.
        """
        return await self._send(
            _get_audit_event.call(
                event_id,
            )
        )

    async def get_arguments(
        self,
        event_id: str,
    ) -> AuditArguments:
        """Read the recorded arguments of a call.

        Reading them is recorded as an event.

        Needs the permission `arguments.read`.

        Args:
            event_id: The id of an audit event.
        """
        return await self._send(
            _get_audit_event_arguments.call(
                event_id,
            )
        )

    async def get_proof(
        self,
        event_id: str,
    ) -> AuditEventProof:
        """Read the inclusion proof of an event; 404 `not_sealed_yet` in its first seconds.

        Needs the permission `audit.read`.

        Args:
            event_id: The id of an audit event.
        """
        return await self._send(
            _get_audit_event_proof.call(
                event_id,
            )
        )
