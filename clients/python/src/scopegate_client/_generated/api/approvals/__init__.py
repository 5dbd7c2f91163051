"""The operations of approvals, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.access_narrowing import AccessNarrowing
from ...models.all_tools import AllTools
from ...models.approval import Approval
from ...models.approval_arguments import ApprovalArguments
from ...models.approval_kind import ApprovalKind
from ...models.approval_status import ApprovalStatus
from ...models.tools_by_names import ToolsByNames
from ...models.tools_by_risk import ToolsByRisk
from ...types import UNSET, Unset
from . import approve_approval as _approve_approval
from . import create_approval as _create_approval
from . import deny_approval as _deny_approval
from . import get_approval as _get_approval
from . import get_approval_arguments as _get_approval_arguments
from . import list_approvals as _list_approvals
from . import withdraw_approval as _withdraw_approval


class ApprovalsResource(Resource):
    """Calls that wait for a person, and access that people ask for: what, by whom, and who may say yes."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        state: ApprovalStatus | Sequence[ApprovalStatus] | None = None,
        kind: ApprovalKind | Sequence[ApprovalKind] | None = None,
        identity_id: str | Sequence[str] | None = None,
        token_id: str | Sequence[str] | None = None,
        server_id: str | Sequence[str] | None = None,
        tool: str | Sequence[str] | None = None,
        approver_group: str | Sequence[str] | None = None,
    ) -> Listing[Approval]:
        """List approvals, newest first.

        All of them with the permission `approvals.read`; else those that you or your agents asked for, and
        those that
        name a group you are in.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only those made after this time.
            created_before: Only those made before this time.
            identity_id: Who asked.
            tool: The tool, by its name on the server.
            approver_group: The group whose members may decide.
        """
        return self._list(
            lambda cursor: _list_approvals.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                state=state,
                kind=kind,
                identity_id=identity_id,
                token_id=token_id,
                server_id=server_id,
                tool=tool,
                approver_group=approver_group,
                cursor=cursor,
            )
        )

    def create(
        self,
        *,
        kind: Literal["access"],
        server: str,
        tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject,
        expires_at: datetime.datetime,
        reason: str,
        identity_id: str | None | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> Approval:
        """Ask for access to a server.

        For yourself, or for an agent that you answer for, to a server of `GET /api/v1/me/requestable-
        servers`. It gives
        nothing by itself: members of the group that owns the server decide, or callers with
        `approvals.decide`.

        Needs the permission `self.write`.

        Args:
            server: The slug or the id of the server.
            tools: Which tools of the selected servers: all, by name, or by risk.
            expires_at: Until when it is needed: at most a year from now.
            reason: Why, for those who decide.
            identity_id: The agent of yours that needs it; absent: you do.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_approval.call(
                kind=kind,
                server=server,
                tools=tools,
                expires_at=expires_at,
                reason=reason,
                identity_id=identity_id,
                idempotency_key=idempotency_key,
            )
        )

    def get(
        self,
        approval_id: str,
    ) -> Approval:
        """Read one approval.

        What is asked, by whom, why, and how it stands.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
        """
        return self._send(
            _get_approval.call(
                approval_id,
            )
        )

    def approve(
        self,
        approval_id: str,
        *,
        reason: str | None | Unset = UNSET,
        access: AccessNarrowing | JsonObject | None | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Approval:
        """Let the call through, once, or give the access.

        When the call is repeated with the same arguments, it runs, once; access becomes a grant, as it was
        asked for or,
        by `access`, less of it. Needs the permission `approvals.decide` or membership of the group that
        decides; whose call
        or request it is may not.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
            reason: In your own words; the caller reads it.
            access: Less than what is asked for; of requests for access alone.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _approve_approval.call(
                approval_id,
                reason=reason,
                access=access,
                if_match=if_match,
            )
        )

    def get_arguments(
        self,
        approval_id: str,
    ) -> ApprovalArguments:
        """Read the arguments that are asked about.

        Where the server has them kept. Needs the permission `arguments.read`, or that you can decide the
        approval as a
        member of its group. Each reading is an audit event.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
        """
        return self._send(
            _get_approval_arguments.call(
                approval_id,
            )
        )

    def deny(
        self,
        approval_id: str,
        *,
        reason: str | None | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Approval:
        """Refuse the call, or the access.

        The requester gets the reason. Needs the same permission as approving.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
            reason: In your own words; the caller reads it.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _deny_approval.call(
                approval_id,
                reason=reason,
                if_match=if_match,
            )
        )

    def withdraw(
        self,
        approval_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Approval:
        """Take back a request for access.

        Your own request, or one for an agent that you own, while it is pending.

        Needs the permission `self.write`.

        Args:
            approval_id: The id of an approval.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _withdraw_approval.call(
                approval_id,
                if_match=if_match,
            )
        )


class AsyncApprovalsResource(AsyncResource):
    """Calls that wait for a person, and access that people ask for: what, by whom, and who may say yes."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        state: ApprovalStatus | Sequence[ApprovalStatus] | None = None,
        kind: ApprovalKind | Sequence[ApprovalKind] | None = None,
        identity_id: str | Sequence[str] | None = None,
        token_id: str | Sequence[str] | None = None,
        server_id: str | Sequence[str] | None = None,
        tool: str | Sequence[str] | None = None,
        approver_group: str | Sequence[str] | None = None,
    ) -> AsyncListing[Approval]:
        """List approvals, newest first.

        All of them with the permission `approvals.read`; else those that you or your agents asked for, and
        those that
        name a group you are in.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only those made after this time.
            created_before: Only those made before this time.
            identity_id: Who asked.
            tool: The tool, by its name on the server.
            approver_group: The group whose members may decide.
        """
        return self._list(
            lambda cursor: _list_approvals.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                state=state,
                kind=kind,
                identity_id=identity_id,
                token_id=token_id,
                server_id=server_id,
                tool=tool,
                approver_group=approver_group,
                cursor=cursor,
            )
        )

    async def create(
        self,
        *,
        kind: Literal["access"],
        server: str,
        tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject,
        expires_at: datetime.datetime,
        reason: str,
        identity_id: str | None | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> Approval:
        """Ask for access to a server.

        For yourself, or for an agent that you answer for, to a server of `GET /api/v1/me/requestable-
        servers`. It gives
        nothing by itself: members of the group that owns the server decide, or callers with
        `approvals.decide`.

        Needs the permission `self.write`.

        Args:
            server: The slug or the id of the server.
            tools: Which tools of the selected servers: all, by name, or by risk.
            expires_at: Until when it is needed: at most a year from now.
            reason: Why, for those who decide.
            identity_id: The agent of yours that needs it; absent: you do.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_approval.call(
                kind=kind,
                server=server,
                tools=tools,
                expires_at=expires_at,
                reason=reason,
                identity_id=identity_id,
                idempotency_key=idempotency_key,
            )
        )

    async def get(
        self,
        approval_id: str,
    ) -> Approval:
        """Read one approval.

        What is asked, by whom, why, and how it stands.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
        """
        return await self._send(
            _get_approval.call(
                approval_id,
            )
        )

    async def approve(
        self,
        approval_id: str,
        *,
        reason: str | None | Unset = UNSET,
        access: AccessNarrowing | JsonObject | None | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Approval:
        """Let the call through, once, or give the access.

        When the call is repeated with the same arguments, it runs, once; access becomes a grant, as it was
        asked for or,
        by `access`, less of it. Needs the permission `approvals.decide` or membership of the group that
        decides; whose call
        or request it is may not.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
            reason: In your own words; the caller reads it.
            access: Less than what is asked for; of requests for access alone.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _approve_approval.call(
                approval_id,
                reason=reason,
                access=access,
                if_match=if_match,
            )
        )

    async def get_arguments(
        self,
        approval_id: str,
    ) -> ApprovalArguments:
        """Read the arguments that are asked about.

        Where the server has them kept. Needs the permission `arguments.read`, or that you can decide the
        approval as a
        member of its group. Each reading is an audit event.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
        """
        return await self._send(
            _get_approval_arguments.call(
                approval_id,
            )
        )

    async def deny(
        self,
        approval_id: str,
        *,
        reason: str | None | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Approval:
        """Refuse the call, or the access.

        The requester gets the reason. Needs the same permission as approving.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
            reason: In your own words; the caller reads it.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _deny_approval.call(
                approval_id,
                reason=reason,
                if_match=if_match,
            )
        )

    async def withdraw(
        self,
        approval_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Approval:
        """Take back a request for access.

        Your own request, or one for an agent that you own, while it is pending.

        Needs the permission `self.write`.

        Args:
            approval_id: The id of an approval.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _withdraw_approval.call(
                approval_id,
                if_match=if_match,
            )
        )
