"""The operations of break_glass, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.break_glass_token import BreakGlassToken
from ...models.secret import Secret
from ...types import UNSET, Unset
from . import create_break_glass_token as _create_break_glass_token


class BreakGlassResource(Resource):
    """Sign-in with a password if no OpenID provider can be reached. Off unless configured."""

    def create_token(
        self,
        *,
        password: Secret | str,
        reason: str,
    ) -> BreakGlassToken:
        """Sign in as the break-glass administrator, if one is configured.

        Every attempt is recorded.

        Needs no bearer.

        Args:
            reason: Stored with the session as its reason.
        """
        return self._send(
            _create_break_glass_token.call(
                {
                    "password": password,
                    "reason": reason,
                },
            )
        )


class AsyncBreakGlassResource(AsyncResource):
    """Sign-in with a password if no OpenID provider can be reached. Off unless configured."""

    async def create_token(
        self,
        *,
        password: Secret | str,
        reason: str,
    ) -> BreakGlassToken:
        """Sign in as the break-glass administrator, if one is configured.

        Every attempt is recorded.

        Needs no bearer.

        Args:
            reason: Stored with the session as its reason.
        """
        return await self._send(
            _create_break_glass_token.call(
                {
                    "password": password,
                    "reason": reason,
                },
            )
        )
