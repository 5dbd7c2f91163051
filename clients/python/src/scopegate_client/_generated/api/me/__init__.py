"""The operations of me, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.me import Me
from ...types import UNSET, Unset
from . import get_me as _get_me


class MeResource(Resource):
    """Who the caller is, and what they may do."""

    def get(
        self,
    ) -> Me:
        """Who the caller is, with role and permissions.

        Needs the permission `self.read`.

        """
        return self._send(_get_me.call())


class AsyncMeResource(AsyncResource):
    """Who the caller is, and what they may do."""

    async def get(
        self,
    ) -> Me:
        """Who the caller is, with role and permissions.

        Needs the permission `self.read`.

        """
        return await self._send(_get_me.call())
