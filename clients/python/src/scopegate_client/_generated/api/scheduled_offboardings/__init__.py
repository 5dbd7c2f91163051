"""The operations of scheduled_offboardings, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.scheduled_offboarding import ScheduledOffboarding
from ...models.scheduled_offboarding_status import ScheduledOffboardingStatus
from ...types import UNSET, Unset
from . import cancel_scheduled_offboarding as _cancel_scheduled_offboarding
from . import get_scheduled_offboarding as _get_scheduled_offboarding
from . import list_scheduled_offboardings as _list_scheduled_offboardings


class ScheduledOffboardingsResource(Resource):
    """Offboardings at a later time: when, why, and their result."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        identity_id: str | Sequence[str] | None = None,
        status: ScheduledOffboardingStatus | Sequence[ScheduledOffboardingStatus] | None = None,
    ) -> Listing[ScheduledOffboarding]:
        """List scheduled offboardings, newest first.

        Needs the permission `identities.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_scheduled_offboardings.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                identity_id=identity_id,
                status=status,
                cursor=cursor,
            )
        )

    def get(
        self,
        scheduled_offboarding_id: str,
    ) -> ScheduledOffboarding:
        """Read one scheduled offboarding.

        Needs the permission `identities.read`.

        Args:
            scheduled_offboarding_id: The id of a scheduled offboarding.
        """
        return self._send(
            _get_scheduled_offboarding.call(
                scheduled_offboarding_id,
            )
        )

    def cancel(
        self,
        scheduled_offboarding_id: str,
        *,
        if_match: int | str | None = None,
    ) -> ScheduledOffboarding:
        """Cancel a scheduled offboarding.

        Cancels it. A repeat changes nothing; one that has happened cannot be cancelled.

        Needs the permission `identities.offboard`.

        Args:
            scheduled_offboarding_id: The id of a scheduled offboarding.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _cancel_scheduled_offboarding.call(
                scheduled_offboarding_id,
                if_match=if_match,
            )
        )


class AsyncScheduledOffboardingsResource(AsyncResource):
    """Offboardings at a later time: when, why, and their result."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        identity_id: str | Sequence[str] | None = None,
        status: ScheduledOffboardingStatus | Sequence[ScheduledOffboardingStatus] | None = None,
    ) -> AsyncListing[ScheduledOffboarding]:
        """List scheduled offboardings, newest first.

        Needs the permission `identities.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_scheduled_offboardings.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                identity_id=identity_id,
                status=status,
                cursor=cursor,
            )
        )

    async def get(
        self,
        scheduled_offboarding_id: str,
    ) -> ScheduledOffboarding:
        """Read one scheduled offboarding.

        Needs the permission `identities.read`.

        Args:
            scheduled_offboarding_id: The id of a scheduled offboarding.
        """
        return await self._send(
            _get_scheduled_offboarding.call(
                scheduled_offboarding_id,
            )
        )

    async def cancel(
        self,
        scheduled_offboarding_id: str,
        *,
        if_match: int | str | None = None,
    ) -> ScheduledOffboarding:
        """Cancel a scheduled offboarding.

        Cancels it. A repeat changes nothing; one that has happened cannot be cancelled.

        Needs the permission `identities.offboard`.

        Args:
            scheduled_offboarding_id: The id of a scheduled offboarding.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _cancel_scheduled_offboarding.call(
                scheduled_offboarding_id,
                if_match=if_match,
            )
        )
