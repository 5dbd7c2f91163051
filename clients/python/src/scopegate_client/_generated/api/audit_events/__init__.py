"""The operations of audit_events, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.audit_arguments import AuditArguments
from ...models.audit_decision import AuditDecision
from ...models.audit_event import AuditEvent
from ...models.audit_outcome import AuditOutcome
from ...models.audit_stats import AuditStats
from ...types import UNSET, Unset
from . import get_audit_event as _get_audit_event
from . import get_audit_event_arguments as _get_audit_event_arguments
from . import get_audit_event_stats as _get_audit_event_stats
from . import list_audit_events as _list_audit_events


class AuditEventsResource(Resource):
    """Who did what, when, and what was decided: every call through the gateway, every change here."""

    def list(
        self,
        *,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        action: str | Sequence[str] | None = None,
        decision: AuditDecision | Sequence[AuditDecision] | None = None,
        reason_code: str | Sequence[str] | None = None,
        outcome: AuditOutcome | Sequence[AuditOutcome] | None = None,
        actor_id: str | Sequence[str] | None = None,
        actor_type: str | Sequence[str] | None = None,
        on_behalf_of: str | Sequence[str] | None = None,
        token_id: str | Sequence[str] | None = None,
        server_id: str | Sequence[str] | None = None,
        tool: str | Sequence[str] | None = None,
        object_id: str | Sequence[str] | None = None,
        policy_id: str | Sequence[str] | None = None,
        observed_policy_id: str | Sequence[str] | None = None,
        client_ip: str | Sequence[str] | None = None,
        client_name: str | Sequence[str] | None = None,
        arguments_digest: str | Sequence[str] | None = None,
        request_id: str | Sequence[str] | None = None,
        trace_id: str | Sequence[str] | None = None,
        q: str | None = None,
        page_size: int | None = None,
    ) -> Listing[AuditEvent]:
        """Newest first, calls with their outcomes; with `after`, in the order of commits without skipping any.

        Needs the permission `audit.read`.

        Args:
            since: Only events at this time or later.
            until: Only events before this time.
            outcome: Needs `since`.
            policy_id: Policies that decided.
            observed_policy_id: Policies in the mode `observe` that would have decided otherwise.
            q: Text in the names of identities, service accounts and servers.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_audit_events.call(
                since=since,
                until=until,
                action=action,
                decision=decision,
                reason_code=reason_code,
                outcome=outcome,
                actor_id=actor_id,
                actor_type=actor_type,
                on_behalf_of=on_behalf_of,
                token_id=token_id,
                server_id=server_id,
                tool=tool,
                object_id=object_id,
                policy_id=policy_id,
                observed_policy_id=observed_policy_id,
                client_ip=client_ip,
                client_name=client_name,
                arguments_digest=arguments_digest,
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
        action: str | Sequence[str] | None = None,
        decision: AuditDecision | Sequence[AuditDecision] | None = None,
        reason_code: str | Sequence[str] | None = None,
        outcome: AuditOutcome | Sequence[AuditOutcome] | None = None,
        actor_id: str | Sequence[str] | None = None,
        actor_type: str | Sequence[str] | None = None,
        on_behalf_of: str | Sequence[str] | None = None,
        token_id: str | Sequence[str] | None = None,
        server_id: str | Sequence[str] | None = None,
        tool: str | Sequence[str] | None = None,
        object_id: str | Sequence[str] | None = None,
        policy_id: str | Sequence[str] | None = None,
        observed_policy_id: str | Sequence[str] | None = None,
        client_ip: str | Sequence[str] | None = None,
        client_name: str | Sequence[str] | None = None,
        arguments_digest: str | Sequence[str] | None = None,
        request_id: str | Sequence[str] | None = None,
        trace_id: str | Sequence[str] | None = None,
        q: str | None = None,
    ) -> Following[AuditEvent]:
        """Each one as it comes, in the order in which they came, and none of them skipped.

        Needs the permission `audit.read`.

        Args:
            after: The `cursor` at which an earlier one stopped, with the same filters. Without: from the beginning, or `since`.
            wait: Whether to wait for more at the end, or to stop there.
            interval: How many seconds to wait before asking whether there is more.
            since: Only events at this time or later.
            until: Only events before this time.
            outcome: Needs `since`.
            policy_id: Policies that decided.
            observed_policy_id: Policies in the mode `observe` that would have decided otherwise.
            q: Text in the names of identities, service accounts and servers.
        """
        return self._follow(
            lambda after: _list_audit_events.call(
                since=since,
                until=until,
                action=action,
                decision=decision,
                reason_code=reason_code,
                outcome=outcome,
                actor_id=actor_id,
                actor_type=actor_type,
                on_behalf_of=on_behalf_of,
                token_id=token_id,
                server_id=server_id,
                tool=tool,
                object_id=object_id,
                policy_id=policy_id,
                observed_policy_id=observed_policy_id,
                client_ip=client_ip,
                client_name=client_name,
                arguments_digest=arguments_digest,
                request_id=request_id,
                trace_id=trace_id,
                q=q,
                after=after,
            ),
            after,
            wait=wait,
            interval=interval,
        )

    def get_stats(
        self,
        *,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        action: str | Sequence[str] | None = None,
        decision: AuditDecision | Sequence[AuditDecision] | None = None,
    ) -> AuditStats:
        """How many events there were, by the hour.

        Cheap however long the trail is, and of the moment.

        Needs the permission `audit.read`.

        Args:
            since: Counts from the hour that this is in; by default the last 24 hours.
            until: Counts to the end of the hour before this time, or that it is in; by default now.
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
        """One event, a call with its outcome.

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
        """The arguments of a call, where its server has them kept.

        Who looks at them is an event of its own.

        Needs the permission `arguments.read`.

        Args:
            event_id: The id of an audit event.
        """
        return self._send(
            _get_audit_event_arguments.call(
                event_id,
            )
        )


class AsyncAuditEventsResource(AsyncResource):
    """Who did what, when, and what was decided: every call through the gateway, every change here."""

    def list(
        self,
        *,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        action: str | Sequence[str] | None = None,
        decision: AuditDecision | Sequence[AuditDecision] | None = None,
        reason_code: str | Sequence[str] | None = None,
        outcome: AuditOutcome | Sequence[AuditOutcome] | None = None,
        actor_id: str | Sequence[str] | None = None,
        actor_type: str | Sequence[str] | None = None,
        on_behalf_of: str | Sequence[str] | None = None,
        token_id: str | Sequence[str] | None = None,
        server_id: str | Sequence[str] | None = None,
        tool: str | Sequence[str] | None = None,
        object_id: str | Sequence[str] | None = None,
        policy_id: str | Sequence[str] | None = None,
        observed_policy_id: str | Sequence[str] | None = None,
        client_ip: str | Sequence[str] | None = None,
        client_name: str | Sequence[str] | None = None,
        arguments_digest: str | Sequence[str] | None = None,
        request_id: str | Sequence[str] | None = None,
        trace_id: str | Sequence[str] | None = None,
        q: str | None = None,
        page_size: int | None = None,
    ) -> AsyncListing[AuditEvent]:
        """Newest first, calls with their outcomes; with `after`, in the order of commits without skipping any.

        Needs the permission `audit.read`.

        Args:
            since: Only events at this time or later.
            until: Only events before this time.
            outcome: Needs `since`.
            policy_id: Policies that decided.
            observed_policy_id: Policies in the mode `observe` that would have decided otherwise.
            q: Text in the names of identities, service accounts and servers.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_audit_events.call(
                since=since,
                until=until,
                action=action,
                decision=decision,
                reason_code=reason_code,
                outcome=outcome,
                actor_id=actor_id,
                actor_type=actor_type,
                on_behalf_of=on_behalf_of,
                token_id=token_id,
                server_id=server_id,
                tool=tool,
                object_id=object_id,
                policy_id=policy_id,
                observed_policy_id=observed_policy_id,
                client_ip=client_ip,
                client_name=client_name,
                arguments_digest=arguments_digest,
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
        action: str | Sequence[str] | None = None,
        decision: AuditDecision | Sequence[AuditDecision] | None = None,
        reason_code: str | Sequence[str] | None = None,
        outcome: AuditOutcome | Sequence[AuditOutcome] | None = None,
        actor_id: str | Sequence[str] | None = None,
        actor_type: str | Sequence[str] | None = None,
        on_behalf_of: str | Sequence[str] | None = None,
        token_id: str | Sequence[str] | None = None,
        server_id: str | Sequence[str] | None = None,
        tool: str | Sequence[str] | None = None,
        object_id: str | Sequence[str] | None = None,
        policy_id: str | Sequence[str] | None = None,
        observed_policy_id: str | Sequence[str] | None = None,
        client_ip: str | Sequence[str] | None = None,
        client_name: str | Sequence[str] | None = None,
        arguments_digest: str | Sequence[str] | None = None,
        request_id: str | Sequence[str] | None = None,
        trace_id: str | Sequence[str] | None = None,
        q: str | None = None,
    ) -> AsyncFollowing[AuditEvent]:
        """Each one as it comes, in the order in which they came, and none of them skipped.

        Needs the permission `audit.read`.

        Args:
            after: The `cursor` at which an earlier one stopped, with the same filters. Without: from the beginning, or `since`.
            wait: Whether to wait for more at the end, or to stop there.
            interval: How many seconds to wait before asking whether there is more.
            since: Only events at this time or later.
            until: Only events before this time.
            outcome: Needs `since`.
            policy_id: Policies that decided.
            observed_policy_id: Policies in the mode `observe` that would have decided otherwise.
            q: Text in the names of identities, service accounts and servers.
        """
        return self._follow(
            lambda after: _list_audit_events.call(
                since=since,
                until=until,
                action=action,
                decision=decision,
                reason_code=reason_code,
                outcome=outcome,
                actor_id=actor_id,
                actor_type=actor_type,
                on_behalf_of=on_behalf_of,
                token_id=token_id,
                server_id=server_id,
                tool=tool,
                object_id=object_id,
                policy_id=policy_id,
                observed_policy_id=observed_policy_id,
                client_ip=client_ip,
                client_name=client_name,
                arguments_digest=arguments_digest,
                request_id=request_id,
                trace_id=trace_id,
                q=q,
                after=after,
            ),
            after,
            wait=wait,
            interval=interval,
        )

    async def get_stats(
        self,
        *,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        action: str | Sequence[str] | None = None,
        decision: AuditDecision | Sequence[AuditDecision] | None = None,
    ) -> AuditStats:
        """How many events there were, by the hour.

        Cheap however long the trail is, and of the moment.

        Needs the permission `audit.read`.

        Args:
            since: Counts from the hour that this is in; by default the last 24 hours.
            until: Counts to the end of the hour before this time, or that it is in; by default now.
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
        """One event, a call with its outcome.

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
        """The arguments of a call, where its server has them kept.

        Who looks at them is an event of its own.

        Needs the permission `arguments.read`.

        Args:
            event_id: The id of an audit event.
        """
        return await self._send(
            _get_audit_event_arguments.call(
                event_id,
            )
        )
