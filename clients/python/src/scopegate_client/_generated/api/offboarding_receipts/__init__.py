"""The operations of offboarding_receipts, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.json_web_key_set import JsonWebKeySet
from ...models.offboarding_receipt import OffboardingReceipt
from ...types import UNSET, Unset
from . import get_offboarding_receipt as _get_offboarding_receipt
from . import get_public_keys as _get_public_keys
from . import list_offboarding_receipts as _list_offboarding_receipts


class OffboardingReceiptsResource(Resource):
    """Signed proof of what each offboarding ended; and the keys to verify it."""

    def get_public_keys(
        self,
    ) -> JsonWebKeySet:
        """The public signing keys.

        The public keys of all configured signing keys. Keep them with the receipts that you want to prove
        later.

        Needs no bearer.

        """
        return self._send(_get_public_keys.call())

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        identity_id: str | Sequence[str] | None = None,
    ) -> Listing[OffboardingReceipt]:
        """List the receipts of offboardings, newest first.

        Needs the permission `identities.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_offboarding_receipts.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                identity_id=identity_id,
                cursor=cursor,
            )
        )

    def get(
        self,
        receipt_id: str,
    ) -> OffboardingReceipt:
        """Read the receipt of an offboarding.

        The ended objects, also as a signed text to keep: it outlives an erasure.

        Needs the permission `identities.read`.

        Args:
            receipt_id: The id of an audit event.
        """
        return self._send(
            _get_offboarding_receipt.call(
                receipt_id,
            )
        )


class AsyncOffboardingReceiptsResource(AsyncResource):
    """Signed proof of what each offboarding ended; and the keys to verify it."""

    async def get_public_keys(
        self,
    ) -> JsonWebKeySet:
        """The public signing keys.

        The public keys of all configured signing keys. Keep them with the receipts that you want to prove
        later.

        Needs no bearer.

        """
        return await self._send(_get_public_keys.call())

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        identity_id: str | Sequence[str] | None = None,
    ) -> AsyncListing[OffboardingReceipt]:
        """List the receipts of offboardings, newest first.

        Needs the permission `identities.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_offboarding_receipts.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                identity_id=identity_id,
                cursor=cursor,
            )
        )

    async def get(
        self,
        receipt_id: str,
    ) -> OffboardingReceipt:
        """Read the receipt of an offboarding.

        The ended objects, also as a signed text to keep: it outlives an erasure.

        Needs the permission `identities.read`.

        Args:
            receipt_id: The id of an audit event.
        """
        return await self._send(
            _get_offboarding_receipt.call(
                receipt_id,
            )
        )
