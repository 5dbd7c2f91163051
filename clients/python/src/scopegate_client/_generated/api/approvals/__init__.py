"""The operations of approvals, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.approval import Approval
from ...models.approval_arguments import ApprovalArguments
from ...models.approval_status import ApprovalStatus
from ...types import UNSET, Unset
from . import approve_approval as _approve_approval
from . import deny_approval as _deny_approval
from . import get_approval as _get_approval
from . import get_approval_arguments as _get_approval_arguments
from . import list_approvals as _list_approvals


class ApprovalsResource(Resource):
    """Calls that wait for a person: what is asked, by whom, and who may say yes, once."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        state: ApprovalStatus | Sequence[ApprovalStatus] | None = None,
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
                identity_id=identity_id,
                token_id=token_id,
                server_id=server_id,
                tool=tool,
                approver_group=approver_group,
                cursor=cursor,
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
        if_match: int | str | None = None,
    ) -> Approval:
        """Let the call through, once.

        When the call is repeated with the same arguments, it runs, once. Needs the permission
        `approvals.decide` or
        membership of the group that the policy names; whose call it is may not.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
            reason: In your own words; the caller reads it.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _approve_approval.call(
                approval_id,
                reason=reason,
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
        member of its group. Whoever reads them is on record.

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
        """Refuse the call.

        The caller is told, with the reason. Needs what approving needs.

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


class AsyncApprovalsResource(AsyncResource):
    """Calls that wait for a person: what is asked, by whom, and who may say yes, once."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        state: ApprovalStatus | Sequence[ApprovalStatus] | None = None,
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
                identity_id=identity_id,
                token_id=token_id,
                server_id=server_id,
                tool=tool,
                approver_group=approver_group,
                cursor=cursor,
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
        if_match: int | str | None = None,
    ) -> Approval:
        """Let the call through, once.

        When the call is repeated with the same arguments, it runs, once. Needs the permission
        `approvals.decide` or
        membership of the group that the policy names; whose call it is may not.

        Needs the permission `self.read`.

        Args:
            approval_id: The id of an approval.
            reason: In your own words; the caller reads it.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _approve_approval.call(
                approval_id,
                reason=reason,
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
        member of its group. Whoever reads them is on record.

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
        """Refuse the call.

        The caller is told, with the reason. Needs what approving needs.

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
