"""The operations of oauth, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.access_token import AccessToken
from ...models.secret import Secret
from ...types import UNSET, Unset
from . import create_access_token as _create_access_token


class OauthResource(Resource):
    """Bearers for service accounts (RFC 6749, client credentials)."""

    def create_access_token(
        self,
        *,
        grant_type: Literal["client_credentials"],
        client_id: str | Unset = UNSET,
        client_secret: Secret | str | Unset = UNSET,
    ) -> AccessToken:
        """Exchange a service account's client secret for a bearer (grant `client_credentials`).

        Needs no bearer.

        Args:
            client_id: Here or in HTTP Basic, not both.
        """
        return self._send(
            _create_access_token.call(
                {
                    "grant_type": grant_type,
                    "client_id": client_id,
                    "client_secret": client_secret,
                },
            )
        )


class AsyncOauthResource(AsyncResource):
    """Bearers for service accounts (RFC 6749, client credentials)."""

    async def create_access_token(
        self,
        *,
        grant_type: Literal["client_credentials"],
        client_id: str | Unset = UNSET,
        client_secret: Secret | str | Unset = UNSET,
    ) -> AccessToken:
        """Exchange a service account's client secret for a bearer (grant `client_credentials`).

        Needs no bearer.

        Args:
            client_id: Here or in HTTP Basic, not both.
        """
        return await self._send(
            _create_access_token.call(
                {
                    "grant_type": grant_type,
                    "client_id": client_id,
                    "client_secret": client_secret,
                },
            )
        )
