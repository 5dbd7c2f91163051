"""The operations of administrators, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.administrator import Administrator
from ...models.administrator_order import AdministratorOrder
from ...models.administrator_status import AdministratorStatus
from ...models.role import Role
from ...types import UNSET, Unset
from . import disable_administrator as _disable_administrator
from . import enable_administrator as _enable_administrator
from . import get_administrator as _get_administrator
from . import list_administrators as _list_administrators


class AdministratorsResource(Resource):
    """People with a role at this API. Disabling one ends their access immediately."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: AdministratorStatus | Sequence[AdministratorStatus] | None = None,
        role: Role | Sequence[Role] | None = None,
        identity_id: str | Sequence[str] | None = None,
        q: str | None = None,
        sort: AdministratorOrder | None = None,
    ) -> Listing[Administrator]:
        """List administrators, newest first.

        Needs the permission `administrators.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            q: Text in user name, display name or email.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_administrators.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                role=role,
                identity_id=identity_id,
                q=q,
                sort=sort,
                cursor=cursor,
            )
        )

    def get(
        self,
        administrator_id: str,
    ) -> Administrator:
        """Read one administrator.

        Needs the permission `administrators.read`.

        Args:
            administrator_id: The id of an administrator.
        """
        return self._send(
            _get_administrator.call(
                administrator_id,
            )
        )

    def disable(
        self,
        administrator_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Administrator:
        """Disable an administrator, regardless of their token.

        The service accounts that they own keep working: suspend or offboard the identity to stop those too.

        Needs the permission `administrators.write`.

        Args:
            administrator_id: The id of an administrator.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _disable_administrator.call(
                administrator_id,
                if_match=if_match,
            )
        )

    def enable(
        self,
        administrator_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Administrator:
        """Enable a disabled administrator.

        The provider determines their roles.

        Needs the permission `administrators.write`.

        Args:
            administrator_id: The id of an administrator.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _enable_administrator.call(
                administrator_id,
                if_match=if_match,
            )
        )


class AsyncAdministratorsResource(AsyncResource):
    """People with a role at this API. Disabling one ends their access immediately."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: AdministratorStatus | Sequence[AdministratorStatus] | None = None,
        role: Role | Sequence[Role] | None = None,
        identity_id: str | Sequence[str] | None = None,
        q: str | None = None,
        sort: AdministratorOrder | None = None,
    ) -> AsyncListing[Administrator]:
        """List administrators, newest first.

        Needs the permission `administrators.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            q: Text in user name, display name or email.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_administrators.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                role=role,
                identity_id=identity_id,
                q=q,
                sort=sort,
                cursor=cursor,
            )
        )

    async def get(
        self,
        administrator_id: str,
    ) -> Administrator:
        """Read one administrator.

        Needs the permission `administrators.read`.

        Args:
            administrator_id: The id of an administrator.
        """
        return await self._send(
            _get_administrator.call(
                administrator_id,
            )
        )

    async def disable(
        self,
        administrator_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Administrator:
        """Disable an administrator, regardless of their token.

        The service accounts that they own keep working: suspend or offboard the identity to stop those too.

        Needs the permission `administrators.write`.

        Args:
            administrator_id: The id of an administrator.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _disable_administrator.call(
                administrator_id,
                if_match=if_match,
            )
        )

    async def enable(
        self,
        administrator_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Administrator:
        """Enable a disabled administrator.

        The provider determines their roles.

        Needs the permission `administrators.write`.

        Args:
            administrator_id: The id of an administrator.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _enable_administrator.call(
                administrator_id,
                if_match=if_match,
            )
        )
