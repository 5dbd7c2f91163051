"""The operations of health, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.get_liveness_response_get_liveness import GetLivenessResponseGetLiveness
from ...types import UNSET, Unset
from . import get_liveness as _get_liveness
from . import get_readiness as _get_readiness


class HealthResource(Resource):
    """For load balancers and monitoring."""

    def get_liveness(
        self,
    ) -> GetLivenessResponseGetLiveness:
        """Check that the process runs.

        Needs no bearer.

        """
        return self._send(_get_liveness.call())

    def get_readiness(
        self,
    ) -> Any:
        """Check that the database is reachable, migrated and writable.

        Warnings do not make it unready.

        Needs no bearer.

        """
        return self._send(_get_readiness.call())


class AsyncHealthResource(AsyncResource):
    """For load balancers and monitoring."""

    async def get_liveness(
        self,
    ) -> GetLivenessResponseGetLiveness:
        """Check that the process runs.

        Needs no bearer.

        """
        return await self._send(_get_liveness.call())

    async def get_readiness(
        self,
    ) -> Any:
        """Check that the database is reachable, migrated and writable.

        Warnings do not make it unready.

        Needs no bearer.

        """
        return await self._send(_get_readiness.call())
