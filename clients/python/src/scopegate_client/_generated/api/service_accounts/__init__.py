"""The operations of service_accounts, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.issued_credential import IssuedCredential
from ...models.role import Role
from ...models.service_account import ServiceAccount
from ...models.service_account_credential import ServiceAccountCredential
from ...models.service_account_order import ServiceAccountOrder
from ...models.service_account_status import ServiceAccountStatus
from ...types import UNSET, Unset
from . import create_service_account as _create_service_account
from . import create_service_account_credential as _create_service_account_credential
from . import delete_service_account as _delete_service_account
from . import get_service_account as _get_service_account
from . import list_service_account_credentials as _list_service_account_credentials
from . import list_service_accounts as _list_service_accounts
from . import revoke_service_account_credential as _revoke_service_account_credential
from . import update_service_account as _update_service_account


class ServiceAccountsResource(Resource):
    """Programs that manage Scopegate itself, and their client secrets."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: ServiceAccountStatus | Sequence[ServiceAccountStatus] | None = None,
        role: Role | Sequence[Role] | None = None,
        owner_id: str | Sequence[str] | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: ServiceAccountOrder | None = None,
    ) -> Listing[ServiceAccount]:
        """List service accounts, newest first.

        Needs the permission `service_accounts.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            q: Text in the name.
            include: `ended` shows ended ones too; needs the permission audit.read.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_service_accounts.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                role=role,
                owner_id=owner_id,
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
        owner_id: str,
        role: Role,
        idempotency_key: str | None = None,
    ) -> ServiceAccount:
        """Create a service account with at most the caller's own role.

        Needs the permission `service_accounts.write`.

        Args:
            name: Its display name.
            owner_id: The id of an identity.
            role: What a caller may do at the API, strongest first.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_service_account.call(
                {
                    "name": name,
                    "owner_id": owner_id,
                    "role": role,
                },
                idempotency_key=idempotency_key,
            )
        )

    def get(
        self,
        service_account_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> ServiceAccount:
        """Read one service account.

        Needs the permission `service_accounts.read`.

        Args:
            service_account_id: The id of a service account.
            include: `ended` shows ended ones too; needs the permission audit.read.
        """
        return self._send(
            _get_service_account.call(
                service_account_id,
                include=include,
            )
        )

    def delete(
        self,
        service_account_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End a service account with its credentials and bearers.

        Needs the permission `service_accounts.write`.

        Args:
            service_account_id: The id of a service account.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_service_account.call(
                service_account_id,
                if_match=if_match,
            )
        )

    def update(
        self,
        service_account_id: str,
        *,
        name: str | Unset = UNSET,
        owner_id: str | Unset = UNSET,
        role: Role | Unset = UNSET,
        status: ServiceAccountStatus | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> ServiceAccount:
        """Change a service account.

        You cannot change your own role or status.

        Needs the permission `service_accounts.write`.

        Args:
            service_account_id: The id of a service account.
            name: Its display name.
            owner_id: An active identity; a new owner makes a flagged account work again.
            role: What a caller may do at the API, strongest first.
            status: A `disabled` account cannot sign in, and its bearers do not work.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _update_service_account.call(
                service_account_id,
                {
                    "name": name,
                    "owner_id": owner_id,
                    "role": role,
                    "status": status,
                },
                if_match=if_match,
            )
        )

    def list_credentials(
        self,
        service_account_id: str,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
    ) -> Listing[ServiceAccountCredential]:
        """List the credentials of a service account, including revoked ones, newest first.

        Needs the permission `service_accounts.read`.

        Args:
            service_account_id: The id of a service account.
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_service_account_credentials.call(
                service_account_id,
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                cursor=cursor,
            )
        )

    def create_credential(
        self,
        service_account_id: str,
        *,
        idempotency_key: str | None = None,
    ) -> IssuedCredential:
        """Create a client secret.

        Only this response shows it.

        Needs the permission `service_accounts.write`.

        Args:
            service_account_id: The id of a service account.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_service_account_credential.call(
                service_account_id,
                idempotency_key=idempotency_key,
            )
        )

    def revoke_credential(
        self,
        service_account_id: str,
        credential_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """Revoke a client secret and all bearers issued for it.

        Needs the permission `service_accounts.write`.

        Args:
            service_account_id: The id of a service account.
            credential_id: The id of a credential.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _revoke_service_account_credential.call(
                service_account_id,
                credential_id,
                if_match=if_match,
            )
        )


class AsyncServiceAccountsResource(AsyncResource):
    """Programs that manage Scopegate itself, and their client secrets."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: ServiceAccountStatus | Sequence[ServiceAccountStatus] | None = None,
        role: Role | Sequence[Role] | None = None,
        owner_id: str | Sequence[str] | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: ServiceAccountOrder | None = None,
    ) -> AsyncListing[ServiceAccount]:
        """List service accounts, newest first.

        Needs the permission `service_accounts.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            q: Text in the name.
            include: `ended` shows ended ones too; needs the permission audit.read.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_service_accounts.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                role=role,
                owner_id=owner_id,
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
        owner_id: str,
        role: Role,
        idempotency_key: str | None = None,
    ) -> ServiceAccount:
        """Create a service account with at most the caller's own role.

        Needs the permission `service_accounts.write`.

        Args:
            name: Its display name.
            owner_id: The id of an identity.
            role: What a caller may do at the API, strongest first.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_service_account.call(
                {
                    "name": name,
                    "owner_id": owner_id,
                    "role": role,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def get(
        self,
        service_account_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> ServiceAccount:
        """Read one service account.

        Needs the permission `service_accounts.read`.

        Args:
            service_account_id: The id of a service account.
            include: `ended` shows ended ones too; needs the permission audit.read.
        """
        return await self._send(
            _get_service_account.call(
                service_account_id,
                include=include,
            )
        )

    async def delete(
        self,
        service_account_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End a service account with its credentials and bearers.

        Needs the permission `service_accounts.write`.

        Args:
            service_account_id: The id of a service account.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_service_account.call(
                service_account_id,
                if_match=if_match,
            )
        )

    async def update(
        self,
        service_account_id: str,
        *,
        name: str | Unset = UNSET,
        owner_id: str | Unset = UNSET,
        role: Role | Unset = UNSET,
        status: ServiceAccountStatus | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> ServiceAccount:
        """Change a service account.

        You cannot change your own role or status.

        Needs the permission `service_accounts.write`.

        Args:
            service_account_id: The id of a service account.
            name: Its display name.
            owner_id: An active identity; a new owner makes a flagged account work again.
            role: What a caller may do at the API, strongest first.
            status: A `disabled` account cannot sign in, and its bearers do not work.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _update_service_account.call(
                service_account_id,
                {
                    "name": name,
                    "owner_id": owner_id,
                    "role": role,
                    "status": status,
                },
                if_match=if_match,
            )
        )

    def list_credentials(
        self,
        service_account_id: str,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
    ) -> AsyncListing[ServiceAccountCredential]:
        """List the credentials of a service account, including revoked ones, newest first.

        Needs the permission `service_accounts.read`.

        Args:
            service_account_id: The id of a service account.
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_service_account_credentials.call(
                service_account_id,
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                cursor=cursor,
            )
        )

    async def create_credential(
        self,
        service_account_id: str,
        *,
        idempotency_key: str | None = None,
    ) -> IssuedCredential:
        """Create a client secret.

        Only this response shows it.

        Needs the permission `service_accounts.write`.

        Args:
            service_account_id: The id of a service account.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_service_account_credential.call(
                service_account_id,
                idempotency_key=idempotency_key,
            )
        )

    async def revoke_credential(
        self,
        service_account_id: str,
        credential_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """Revoke a client secret and all bearers issued for it.

        Needs the permission `service_accounts.write`.

        Args:
            service_account_id: The id of a service account.
            credential_id: The id of a credential.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _revoke_service_account_credential.call(
                service_account_id,
                credential_id,
                if_match=if_match,
            )
        )
