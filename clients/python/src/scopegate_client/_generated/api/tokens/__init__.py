"""The operations of tokens, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.connection_check import ConnectionCheck
from ...models.grants_scope import GrantsScope
from ...models.issued_token import IssuedToken
from ...models.listed_scope import ListedScope
from ...models.secret import Secret
from ...models.token import Token
from ...models.token_bulk_revocation import TokenBulkRevocation
from ...models.token_bulk_revoke_filter import TokenBulkRevokeFilter
from ...models.token_delivery import TokenDelivery
from ...models.token_order import TokenOrder
from ...models.token_pickup import TokenPickup
from ...models.token_revocation import TokenRevocation
from ...models.token_status import TokenStatus
from ...types import UNSET, Unset
from . import bulk_revoke_tokens as _bulk_revoke_tokens
from . import cancel_token_pickup as _cancel_token_pickup
from . import check_token as _check_token
from . import create_token as _create_token
from . import create_token_pickup as _create_token_pickup
from . import get_token as _get_token
from . import get_token_pickup as _get_token_pickup
from . import list_token_pickups as _list_token_pickups
from . import list_tokens as _list_tokens
from . import narrow_token as _narrow_token
from . import revoke_token as _revoke_token
from . import rotate_token as _rotate_token


class TokensResource(Resource):
    """Scoped tokens for MCP clients: each is issued to one identity, within its grants, and can be revoked."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        identity_id: str | Sequence[str] | None = None,
        parent_id: str | Sequence[str] | None = None,
        server_id: str | None = None,
        status: TokenStatus | Sequence[TokenStatus] | None = None,
        expires_after: datetime.datetime | None = None,
        expires_before: datetime.datetime | None = None,
        q: str | None = None,
        sort: TokenOrder | None = None,
    ) -> Listing[Token]:
        """List tokens, newest first.

        Needs the permission `tokens.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            server_id: Tokens whose scope can reach this server.
            expires_after: Only those that expire after this time.
            expires_before: Only those that expire before this time.
            q: Text in the name.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_tokens.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                identity_id=identity_id,
                parent_id=parent_id,
                server_id=server_id,
                status=status,
                expires_after=expires_after,
                expires_before=expires_before,
                q=q,
                sort=sort,
                cursor=cursor,
            )
        )

    def create(
        self,
        *,
        identity_id: str,
        name: str,
        scope: GrantsScope | ListedScope | JsonObject,
        expires_at: datetime.datetime,
        ip_allow: Sequence[str] | Unset = UNSET,
        parent_id: str | None | Unset = UNSET,
        delivery: TokenDelivery | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> IssuedToken:
        """Issue or attenuate a token.

        Only this response has the secret; with `delivery: pickup` it is created when its recipient signs in
        and uses the
        link in `pickup`.

        Needs the permission `tokens.issue`.

        Args:
            identity_id: The id of an identity.
            name: Its display name.
            scope: What a token may use, limited to what its identity's current grants allow.
            expires_at: In the future, and at most the configured maximum away.
            ip_allow: Address ranges the token may be used from; empty: any.
            parent_id: Attenuate this token: for its identity or an agent that its identity owns, with no wider scope
                and no later expiry.
            delivery: How the secret reaches its recipient. `reveal`: in the response. `pickup`: it is created when
                its recipient signs in and uses a link.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_token.call(
                {
                    "identity_id": identity_id,
                    "name": name,
                    "scope": scope,
                    "expires_at": expires_at,
                    "ip_allow": ip_allow,
                    "parent_id": parent_id,
                    "delivery": delivery,
                },
                idempotency_key=idempotency_key,
            )
        )

    def bulk_revoke(
        self,
        *,
        filter: TokenBulkRevokeFilter | JsonObject,
        reason: str,
        dry_run: bool = False,
    ) -> TokenBulkRevocation:
        """Revoke all matching tokens.

        Revokes them in one transaction, with every token attenuated from them.

        Needs the permission `tokens.revoke`.

        Args:
            filter: Conditions that a token must all meet. At least one is required; descendants are revoked too.
            reason: The reason, stored with the revoked tokens, not in the audit log.
            dry_run: Return what would change, and change nothing.
        """
        return self._send(
            _bulk_revoke_tokens.call(
                {
                    "filter": filter,
                    "reason": reason,
                },
                dry_run=dry_run,
            )
        )

    def get(
        self,
        token_id: str,
    ) -> Token:
        """Read one token.

        Needs the permission `tokens.read`.

        Args:
            token_id: The id of a token.
        """
        return self._send(
            _get_token.call(
                token_id,
            )
        )

    def narrow(
        self,
        token_id: str,
        *,
        name: str | Unset = UNSET,
        scope: GrantsScope | ListedScope | JsonObject | Unset = UNSET,
        expires_at: datetime.datetime | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Token:
        """Change a token.

        A later expiry of child tokens is reduced too; their scope is limited by the parent's at each use
        anyway.

        Needs the permission `tokens.issue`.

        Args:
            token_id: The id of a token.
            name: Its display name.
            scope: What a token may use, limited to what its identity's current grants allow.
            expires_at: An earlier expiry.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _narrow_token.call(
                token_id,
                {
                    "name": name,
                    "scope": scope,
                    "expires_at": expires_at,
                },
                if_match=if_match,
            )
        )

    def check(
        self,
        token_id: str,
        *,
        secret: Secret | str | Unset = UNSET,
        server_ids: Sequence[str] | Unset = UNSET,
    ) -> ConnectionCheck:
        """Check whether a token works.

        The same for any token. Callers who may explain access also see why the last request was refused,
        and callers who
        may read servers see why one does not answer.

        Needs the permission `tokens.read`.

        Args:
            token_id: The id of a token.
            server_ids: The servers to ask; by default the first 8 in reach by slug.
        """
        return self._send(
            _check_token.call(
                token_id,
                {
                    "secret": secret,
                    "server_ids": server_ids,
                },
            )
        )

    def list_pickups(
        self,
        token_id: str,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
    ) -> Listing[TokenPickup]:
        """List a token's pickup links, newest first.

        All links with their states; at most one is pending.

        Needs the permission `tokens.read`.

        Args:
            token_id: The id of a token.
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_token_pickups.call(
                token_id,
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                cursor=cursor,
            )
        )

    def create_pickup(
        self,
        token_id: str,
        *,
        overlap_s: int | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> TokenPickup:
        """Create a pickup link for a token.

        For a person who lost the secret, or the link. Once it is used, earlier secrets work for `overlap_s`
        more
        seconds; until then nothing changes for them. A pending link is cancelled.

        Needs the permission `tokens.issue`.

        Args:
            token_id: The id of a token.
            overlap_s: Seconds that earlier secrets still work after the pickup; until then they all work.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_token_pickup.call(
                token_id,
                {
                    "overlap_s": overlap_s,
                },
                idempotency_key=idempotency_key,
            )
        )

    def get_pickup(
        self,
        token_id: str,
        pickup_id: str,
    ) -> TokenPickup:
        """Read a pickup link.

        The state of the link, and when it was used.

        Needs the permission `tokens.read`.

        Args:
            token_id: The id of a token.
            pickup_id: The id of a pickup link.
        """
        return self._send(
            _get_token_pickup.call(
                token_id,
                pickup_id,
            )
        )

    def cancel_pickup(
        self,
        token_id: str,
        pickup_id: str,
        *,
        if_match: int | str | None = None,
    ) -> TokenPickup:
        """Cancel a pickup link.

        It can no longer be used. A repeat changes nothing; a used link cannot be cancelled.

        Needs the permission `tokens.issue`.

        Args:
            token_id: The id of a token.
            pickup_id: The id of a pickup link.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _cancel_token_pickup.call(
                token_id,
                pickup_id,
                if_match=if_match,
            )
        )

    def revoke(
        self,
        token_id: str,
        *,
        reason: str,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> TokenRevocation:
        """Revoke a token.

        Ends all its secrets, and every token attenuated from it. After the response, no new call can use
        it.

        Needs the permission `tokens.revoke`.

        Args:
            token_id: The id of a token.
            reason: The reason, stored with the revoked tokens, not in the audit log.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _revoke_token.call(
                token_id,
                {
                    "reason": reason,
                },
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    def rotate(
        self,
        token_id: str,
        *,
        overlap_s: int | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> IssuedToken:
        """Rotate a token.

        Earlier secrets work for `overlap_s` more seconds, unless they expire before.

        Needs the permission `tokens.issue`.

        Args:
            token_id: The id of a token.
            overlap_s: Seconds that earlier secrets still work.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _rotate_token.call(
                token_id,
                {
                    "overlap_s": overlap_s,
                },
                if_match=if_match,
            )
        )


class AsyncTokensResource(AsyncResource):
    """Scoped tokens for MCP clients: each is issued to one identity, within its grants, and can be revoked."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        identity_id: str | Sequence[str] | None = None,
        parent_id: str | Sequence[str] | None = None,
        server_id: str | None = None,
        status: TokenStatus | Sequence[TokenStatus] | None = None,
        expires_after: datetime.datetime | None = None,
        expires_before: datetime.datetime | None = None,
        q: str | None = None,
        sort: TokenOrder | None = None,
    ) -> AsyncListing[Token]:
        """List tokens, newest first.

        Needs the permission `tokens.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            server_id: Tokens whose scope can reach this server.
            expires_after: Only those that expire after this time.
            expires_before: Only those that expire before this time.
            q: Text in the name.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_tokens.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                identity_id=identity_id,
                parent_id=parent_id,
                server_id=server_id,
                status=status,
                expires_after=expires_after,
                expires_before=expires_before,
                q=q,
                sort=sort,
                cursor=cursor,
            )
        )

    async def create(
        self,
        *,
        identity_id: str,
        name: str,
        scope: GrantsScope | ListedScope | JsonObject,
        expires_at: datetime.datetime,
        ip_allow: Sequence[str] | Unset = UNSET,
        parent_id: str | None | Unset = UNSET,
        delivery: TokenDelivery | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> IssuedToken:
        """Issue or attenuate a token.

        Only this response has the secret; with `delivery: pickup` it is created when its recipient signs in
        and uses the
        link in `pickup`.

        Needs the permission `tokens.issue`.

        Args:
            identity_id: The id of an identity.
            name: Its display name.
            scope: What a token may use, limited to what its identity's current grants allow.
            expires_at: In the future, and at most the configured maximum away.
            ip_allow: Address ranges the token may be used from; empty: any.
            parent_id: Attenuate this token: for its identity or an agent that its identity owns, with no wider scope
                and no later expiry.
            delivery: How the secret reaches its recipient. `reveal`: in the response. `pickup`: it is created when
                its recipient signs in and uses a link.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_token.call(
                {
                    "identity_id": identity_id,
                    "name": name,
                    "scope": scope,
                    "expires_at": expires_at,
                    "ip_allow": ip_allow,
                    "parent_id": parent_id,
                    "delivery": delivery,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def bulk_revoke(
        self,
        *,
        filter: TokenBulkRevokeFilter | JsonObject,
        reason: str,
        dry_run: bool = False,
    ) -> TokenBulkRevocation:
        """Revoke all matching tokens.

        Revokes them in one transaction, with every token attenuated from them.

        Needs the permission `tokens.revoke`.

        Args:
            filter: Conditions that a token must all meet. At least one is required; descendants are revoked too.
            reason: The reason, stored with the revoked tokens, not in the audit log.
            dry_run: Return what would change, and change nothing.
        """
        return await self._send(
            _bulk_revoke_tokens.call(
                {
                    "filter": filter,
                    "reason": reason,
                },
                dry_run=dry_run,
            )
        )

    async def get(
        self,
        token_id: str,
    ) -> Token:
        """Read one token.

        Needs the permission `tokens.read`.

        Args:
            token_id: The id of a token.
        """
        return await self._send(
            _get_token.call(
                token_id,
            )
        )

    async def narrow(
        self,
        token_id: str,
        *,
        name: str | Unset = UNSET,
        scope: GrantsScope | ListedScope | JsonObject | Unset = UNSET,
        expires_at: datetime.datetime | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Token:
        """Change a token.

        A later expiry of child tokens is reduced too; their scope is limited by the parent's at each use
        anyway.

        Needs the permission `tokens.issue`.

        Args:
            token_id: The id of a token.
            name: Its display name.
            scope: What a token may use, limited to what its identity's current grants allow.
            expires_at: An earlier expiry.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _narrow_token.call(
                token_id,
                {
                    "name": name,
                    "scope": scope,
                    "expires_at": expires_at,
                },
                if_match=if_match,
            )
        )

    async def check(
        self,
        token_id: str,
        *,
        secret: Secret | str | Unset = UNSET,
        server_ids: Sequence[str] | Unset = UNSET,
    ) -> ConnectionCheck:
        """Check whether a token works.

        The same for any token. Callers who may explain access also see why the last request was refused,
        and callers who
        may read servers see why one does not answer.

        Needs the permission `tokens.read`.

        Args:
            token_id: The id of a token.
            server_ids: The servers to ask; by default the first 8 in reach by slug.
        """
        return await self._send(
            _check_token.call(
                token_id,
                {
                    "secret": secret,
                    "server_ids": server_ids,
                },
            )
        )

    def list_pickups(
        self,
        token_id: str,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
    ) -> AsyncListing[TokenPickup]:
        """List a token's pickup links, newest first.

        All links with their states; at most one is pending.

        Needs the permission `tokens.read`.

        Args:
            token_id: The id of a token.
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_token_pickups.call(
                token_id,
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                cursor=cursor,
            )
        )

    async def create_pickup(
        self,
        token_id: str,
        *,
        overlap_s: int | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> TokenPickup:
        """Create a pickup link for a token.

        For a person who lost the secret, or the link. Once it is used, earlier secrets work for `overlap_s`
        more
        seconds; until then nothing changes for them. A pending link is cancelled.

        Needs the permission `tokens.issue`.

        Args:
            token_id: The id of a token.
            overlap_s: Seconds that earlier secrets still work after the pickup; until then they all work.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_token_pickup.call(
                token_id,
                {
                    "overlap_s": overlap_s,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def get_pickup(
        self,
        token_id: str,
        pickup_id: str,
    ) -> TokenPickup:
        """Read a pickup link.

        The state of the link, and when it was used.

        Needs the permission `tokens.read`.

        Args:
            token_id: The id of a token.
            pickup_id: The id of a pickup link.
        """
        return await self._send(
            _get_token_pickup.call(
                token_id,
                pickup_id,
            )
        )

    async def cancel_pickup(
        self,
        token_id: str,
        pickup_id: str,
        *,
        if_match: int | str | None = None,
    ) -> TokenPickup:
        """Cancel a pickup link.

        It can no longer be used. A repeat changes nothing; a used link cannot be cancelled.

        Needs the permission `tokens.issue`.

        Args:
            token_id: The id of a token.
            pickup_id: The id of a pickup link.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _cancel_token_pickup.call(
                token_id,
                pickup_id,
                if_match=if_match,
            )
        )

    async def revoke(
        self,
        token_id: str,
        *,
        reason: str,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> TokenRevocation:
        """Revoke a token.

        Ends all its secrets, and every token attenuated from it. After the response, no new call can use
        it.

        Needs the permission `tokens.revoke`.

        Args:
            token_id: The id of a token.
            reason: The reason, stored with the revoked tokens, not in the audit log.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _revoke_token.call(
                token_id,
                {
                    "reason": reason,
                },
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    async def rotate(
        self,
        token_id: str,
        *,
        overlap_s: int | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> IssuedToken:
        """Rotate a token.

        Earlier secrets work for `overlap_s` more seconds, unless they expire before.

        Needs the permission `tokens.issue`.

        Args:
            token_id: The id of a token.
            overlap_s: Seconds that earlier secrets still work.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _rotate_token.call(
                token_id,
                {
                    "overlap_s": overlap_s,
                },
                if_match=if_match,
            )
        )
