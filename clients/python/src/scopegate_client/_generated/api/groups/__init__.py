"""The operations of groups, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.group import Group
from ...models.group_member import GroupMember
from ...models.group_order import GroupOrder
from ...models.source import Source
from ...types import UNSET, Unset
from . import add_group_member as _add_group_member
from . import create_group as _create_group
from . import delete_group as _delete_group
from . import get_group as _get_group
from . import get_group_member as _get_group_member
from . import list_group_members as _list_group_members
from . import list_groups as _list_groups
from . import remove_group_member as _remove_group_member
from . import update_group as _update_group


class GroupsResource(Resource):
    """Sets of identities that can receive grants."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        name: str | Sequence[str] | None = None,
        external_id: str | Sequence[str] | None = None,
        source: Source | Sequence[Source] | None = None,
        member_id: str | Sequence[str] | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: GroupOrder | None = None,
    ) -> Listing[Group]:
        """List groups, newest first.

        Needs the permission `groups.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            member_id: Groups that have one of these members.
            q: Text in name or description.
            include: `ended` shows ended ones too, to callers who may read the audit log.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_groups.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                name=name,
                external_id=external_id,
                source=source,
                member_id=member_id,
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
        description: str | None | Unset = UNSET,
        external_id: str | None | Unset = UNSET,
        owner_group_id: str | None | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> Group:
        """Create a group.

        Needs the permission `groups.write`.

        Args:
            name: Unique among groups that have not ended, ignoring case.
            description: Its purpose.
            external_id: Its id in the system that it comes from.
            owner_group_id: The id of a group.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_group.call(
                {
                    "name": name,
                    "description": description,
                    "external_id": external_id,
                    "owner_group_id": owner_group_id,
                },
                idempotency_key=idempotency_key,
            )
        )

    def get(
        self,
        group_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> Group:
        """Read one group.

        Needs the permission `groups.read`.

        Args:
            group_id: The id of a group.
            include: `ended`: also when it has ended; needs `audit.read`.
        """
        return self._send(
            _get_group.call(
                group_id,
                include=include,
            )
        )

    def delete(
        self,
        group_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End a group, its grants and its memberships.

        Needs the permission `groups.write`.

        Args:
            group_id: The id of a group.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_group.call(
                group_id,
                if_match=if_match,
            )
        )

    def update(
        self,
        group_id: str,
        *,
        name: str | Unset = UNSET,
        description: str | None | Unset = UNSET,
        external_id: str | None | Unset = UNSET,
        owner_group_id: str | None | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Group:
        """Change a group.

        Needs the permission `groups.write`.

        Args:
            group_id: The id of a group.
            name: Unique among groups that have not ended, ignoring case.
            description: Its purpose.
            external_id: Its id in the system that it comes from.
            owner_group_id: The id of a group.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _update_group.call(
                group_id,
                {
                    "name": name,
                    "description": description,
                    "external_id": external_id,
                    "owner_group_id": owner_group_id,
                },
                if_match=if_match,
            )
        )

    def list_members(
        self,
        group_id: str,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
    ) -> Listing[GroupMember]:
        """List the members of a group, newest first.

        Needs the permission `groups.read`.

        Args:
            group_id: The id of a group.
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_group_members.call(
                group_id,
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                cursor=cursor,
            )
        )

    def get_member(
        self,
        group_id: str,
        identity_id: str,
    ) -> GroupMember:
        """Read one membership.

        Needs the permission `groups.read`.

        Args:
            group_id: The id of a group.
            identity_id: The id of an identity.
        """
        return self._send(
            _get_group_member.call(
                group_id,
                identity_id,
            )
        )

    def add_member(
        self,
        group_id: str,
        identity_id: str,
        *,
        if_match: int | str | None = None,
    ) -> GroupMember:
        """Add an identity to a group.

        Needs the permission `groups.write`.

        Args:
            group_id: The id of a group.
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _add_group_member.call(
                group_id,
                identity_id,
                if_match=if_match,
            )
        )

    def remove_member(
        self,
        group_id: str,
        identity_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """Remove an identity from a group.

        Needs the permission `groups.write`.

        Args:
            group_id: The id of a group.
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _remove_group_member.call(
                group_id,
                identity_id,
                if_match=if_match,
            )
        )


class AsyncGroupsResource(AsyncResource):
    """Sets of identities that can receive grants."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        name: str | Sequence[str] | None = None,
        external_id: str | Sequence[str] | None = None,
        source: Source | Sequence[Source] | None = None,
        member_id: str | Sequence[str] | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: GroupOrder | None = None,
    ) -> AsyncListing[Group]:
        """List groups, newest first.

        Needs the permission `groups.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            member_id: Groups that have one of these members.
            q: Text in name or description.
            include: `ended` shows ended ones too, to callers who may read the audit log.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_groups.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                name=name,
                external_id=external_id,
                source=source,
                member_id=member_id,
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
        description: str | None | Unset = UNSET,
        external_id: str | None | Unset = UNSET,
        owner_group_id: str | None | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> Group:
        """Create a group.

        Needs the permission `groups.write`.

        Args:
            name: Unique among groups that have not ended, ignoring case.
            description: Its purpose.
            external_id: Its id in the system that it comes from.
            owner_group_id: The id of a group.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_group.call(
                {
                    "name": name,
                    "description": description,
                    "external_id": external_id,
                    "owner_group_id": owner_group_id,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def get(
        self,
        group_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> Group:
        """Read one group.

        Needs the permission `groups.read`.

        Args:
            group_id: The id of a group.
            include: `ended`: also when it has ended; needs `audit.read`.
        """
        return await self._send(
            _get_group.call(
                group_id,
                include=include,
            )
        )

    async def delete(
        self,
        group_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End a group, its grants and its memberships.

        Needs the permission `groups.write`.

        Args:
            group_id: The id of a group.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_group.call(
                group_id,
                if_match=if_match,
            )
        )

    async def update(
        self,
        group_id: str,
        *,
        name: str | Unset = UNSET,
        description: str | None | Unset = UNSET,
        external_id: str | None | Unset = UNSET,
        owner_group_id: str | None | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Group:
        """Change a group.

        Needs the permission `groups.write`.

        Args:
            group_id: The id of a group.
            name: Unique among groups that have not ended, ignoring case.
            description: Its purpose.
            external_id: Its id in the system that it comes from.
            owner_group_id: The id of a group.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _update_group.call(
                group_id,
                {
                    "name": name,
                    "description": description,
                    "external_id": external_id,
                    "owner_group_id": owner_group_id,
                },
                if_match=if_match,
            )
        )

    def list_members(
        self,
        group_id: str,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
    ) -> AsyncListing[GroupMember]:
        """List the members of a group, newest first.

        Needs the permission `groups.read`.

        Args:
            group_id: The id of a group.
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_group_members.call(
                group_id,
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                cursor=cursor,
            )
        )

    async def get_member(
        self,
        group_id: str,
        identity_id: str,
    ) -> GroupMember:
        """Read one membership.

        Needs the permission `groups.read`.

        Args:
            group_id: The id of a group.
            identity_id: The id of an identity.
        """
        return await self._send(
            _get_group_member.call(
                group_id,
                identity_id,
            )
        )

    async def add_member(
        self,
        group_id: str,
        identity_id: str,
        *,
        if_match: int | str | None = None,
    ) -> GroupMember:
        """Add an identity to a group.

        Needs the permission `groups.write`.

        Args:
            group_id: The id of a group.
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _add_group_member.call(
                group_id,
                identity_id,
                if_match=if_match,
            )
        )

    async def remove_member(
        self,
        group_id: str,
        identity_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """Remove an identity from a group.

        Needs the permission `groups.write`.

        Args:
            group_id: The id of a group.
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _remove_group_member.call(
                group_id,
                identity_id,
                if_match=if_match,
            )
        )
