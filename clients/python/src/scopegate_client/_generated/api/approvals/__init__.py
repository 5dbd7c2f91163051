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
    """Calls that wait for a decision, and access requests: what, by whom, and who may approve."""

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

        All of them with the permission `approvals.read`; else your own requests, those of your agents, and
        those of your
        groups.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
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

        For yourself, or for an agent that you own, to a server of `GET /api/v1/me/requestable-servers`. The
        request
        gives no access by itself: members of the group that owns the server, or callers with
        `approvals.decide`, decide on
        it.

        Needs the permission `self.write`.

        Args:
            server: The slug or the id of the server.
            tools: The tools of the selected servers: all, by name, or by risk.
            expires_at: When the access should expire: at most a year from now.
            reason: The reason, for the people who decide.
            identity_id: Your agent that needs it; yourself by default.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_approval.call(
                {
                    "kind": kind,
                    "server": server,
                    "tools": tools,
                    "expires_at": expires_at,
                    "reason": reason,
                    "identity_id": identity_id,
                },
                idempotency_key=idempotency_key,
            )
        )

    def get(
        self,
        approval_id: str,
    ) -> Approval:
        """Read one approval.

        The request, the requester, the reasons and the state.

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
        """Approve a call, once, or a request for access.

        When the call is repeated with the same arguments, it runs, once. Access becomes a grant, as
        requested or
        narrowed by `access`. Needs the permission `approvals.decide` or membership of the group that
        decides; you cannot
        approve a call or request of your own.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
            reason: In your own words; the caller sees it.
            access: Less than requested; only for access requests.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _approve_approval.call(
                approval_id,
                {
                    "reason": reason,
                    "access": access,
                },
                if_match=if_match,
            )
        )

    def get_arguments(
        self,
        approval_id: str,
    ) -> ApprovalArguments:
        """Read the arguments of a call.

        Works if the server keeps arguments. Needs the permission `arguments.read`, or that you can decide
        the approval
        as a member of its group. Each reading is an audit event.

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
        """Deny an approval.

        The requester gets the reason. Needs the same permission as approving.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
            reason: In your own words; the caller sees it.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _deny_approval.call(
                approval_id,
                {
                    "reason": reason,
                },
                if_match=if_match,
            )
        )

    def withdraw(
        self,
        approval_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Approval:
        """Withdraw a request for access.

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
    """Calls that wait for a decision, and access requests: what, by whom, and who may approve."""

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

        All of them with the permission `approvals.read`; else your own requests, those of your agents, and
        those of your
        groups.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
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

        For yourself, or for an agent that you own, to a server of `GET /api/v1/me/requestable-servers`. The
        request
        gives no access by itself: members of the group that owns the server, or callers with
        `approvals.decide`, decide on
        it.

        Needs the permission `self.write`.

        Args:
            server: The slug or the id of the server.
            tools: The tools of the selected servers: all, by name, or by risk.
            expires_at: When the access should expire: at most a year from now.
            reason: The reason, for the people who decide.
            identity_id: Your agent that needs it; yourself by default.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_approval.call(
                {
                    "kind": kind,
                    "server": server,
                    "tools": tools,
                    "expires_at": expires_at,
                    "reason": reason,
                    "identity_id": identity_id,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def get(
        self,
        approval_id: str,
    ) -> Approval:
        """Read one approval.

        The request, the requester, the reasons and the state.

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
        """Approve a call, once, or a request for access.

        When the call is repeated with the same arguments, it runs, once. Access becomes a grant, as
        requested or
        narrowed by `access`. Needs the permission `approvals.decide` or membership of the group that
        decides; you cannot
        approve a call or request of your own.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
            reason: In your own words; the caller sees it.
            access: Less than requested; only for access requests.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _approve_approval.call(
                approval_id,
                {
                    "reason": reason,
                    "access": access,
                },
                if_match=if_match,
            )
        )

    async def get_arguments(
        self,
        approval_id: str,
    ) -> ApprovalArguments:
        """Read the arguments of a call.

        Works if the server keeps arguments. Needs the permission `arguments.read`, or that you can decide
        the approval
        as a member of its group. Each reading is an audit event.

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
        """Deny an approval.

        The requester gets the reason. Needs the same permission as approving.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
            reason: In your own words; the caller sees it.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _deny_approval.call(
                approval_id,
                {
                    "reason": reason,
                },
                if_match=if_match,
            )
        )

    async def withdraw(
        self,
        approval_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Approval:
        """Withdraw a request for access.

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
