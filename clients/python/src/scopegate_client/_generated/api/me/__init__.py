"""The operations of me, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.connection_check import ConnectionCheck
from ...models.identity import Identity
from ...models.identity_status import IdentityStatus
from ...models.issued_token import IssuedToken
from ...models.me import Me
from ...models.own_token_pickup import OwnTokenPickup
from ...models.reached_server import ReachedServer
from ...models.requestable_server import RequestableServer
from ...models.secret import Secret
from ...models.token import Token
from ...models.token_order import TokenOrder
from ...models.token_pickup import TokenPickup
from ...models.token_revocation import TokenRevocation
from ...models.token_status import TokenStatus
from ...types import UNSET, Unset
from . import check_own_token as _check_own_token
from . import get_me as _get_me
from . import get_own_pickup as _get_own_pickup
from . import list_own_access as _list_own_access
from . import list_own_agents as _list_own_agents
from . import list_own_pickups as _list_own_pickups
from . import list_own_tokens as _list_own_tokens
from . import list_requestable_servers as _list_requestable_servers
from . import revoke_own_token as _revoke_own_token
from . import rotate_own_token as _rotate_own_token
from . import take_own_pickup as _take_own_pickup


class MeResource(Resource):
    """The caller and its permissions."""

    def get(
        self,
    ) -> Me:
        """Read your roles and permissions.

        Needs the permission `self.read`.

        """
        return self._send(_get_me.call())

    def list_own_access(
        self,
        *,
        at: datetime.datetime | None = None,
        page_size: int | None = None,
        server_id: str | Sequence[str] | None = None,
    ) -> Listing[ReachedServer]:
        """List what you reach, and why, by slug.

        What your live grants and those of your groups reach, decided as calls are. Only people who sign in
        have access
        of their own here. Callers who may read grants read the access of an agent at
        `/identities/{id}/access`.

        Needs the permission `self.read`.

        Args:
            at: The time to ask about; now by default. The past is answered from the history, the future by the
                current rules.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_own_access.call(
                at=at,
                limit=page_size,
                server_id=server_id,
                cursor=cursor,
            )
        )

    def list_own_agents(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: IdentityStatus | Sequence[IdentityStatus] | None = None,
        q: str | None = None,
    ) -> Listing[Identity]:
        """List your own agents, newest first.

        The agents that you own.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            q: Text in user name, display name or email.
        """
        return self._list(
            lambda cursor: _list_own_agents.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                q=q,
                cursor=cursor,
            )
        )

    def list_own_pickups(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
    ) -> Listing[TokenPickup]:
        """List your pending pickup links.

        Newest first, in case you lost the message with the link.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_own_pickups.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                cursor=cursor,
            )
        )

    def get_own_pickup(
        self,
        pickup_id: str,
    ) -> OwnTokenPickup:
        """Read a pickup link of your own.

        The token and state of the link. Opening a link that was already used is audited and reported, since
        someone else
        may have used it.

        Needs the permission `self.read`.

        Args:
            pickup_id: The id of a pickup link.
        """
        return self._send(
            _get_own_pickup.call(
                pickup_id,
            )
        )

    def take_own_pickup(
        self,
        pickup_id: str,
        *,
        if_match: int | str | None = None,
    ) -> IssuedToken:
        """Pick up the secret of a token.

        Works once, for its recipient. The secret is created now and only in this response. For a used link
        the error has
        the time of its use, and the attempt is audited.

        Needs the permission `self.write`.

        Args:
            pickup_id: The id of a pickup link.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _take_own_pickup.call(
                pickup_id,
                if_match=if_match,
            )
        )

    def list_requestable_servers(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        q: str | None = None,
    ) -> Listing[RequestableServer]:
        """List the servers that you can request, newest first.

        Servers with `requestable`, each with its active tools. Request access by `POST /api/v1/approvals`.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            q: Text in slug, name or description, or in name or title of a tool.
        """
        return self._list(
            lambda cursor: _list_requestable_servers.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                q=q,
                cursor=cursor,
            )
        )

    def list_own_tokens(
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
        """List your own tokens, newest first.

        Your tokens and those of your agents. Only people who sign in themselves have any.

        Needs the permission `self.read`.

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
            lambda cursor: _list_own_tokens.call(
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

    def check_own_token(
        self,
        token_id: str,
        *,
        secret: Secret | str | Unset = UNSET,
        server_ids: Sequence[str] | Unset = UNSET,
    ) -> ConnectionCheck:
        """Check whether a token of your own works.

        Checks the given secret, the token, its identity, what it reaches and the last refusal, and asks the
        servers in
        reach whether they answer now. Each failed step has a remedy.

        Works for your own tokens and those of agents that you own.

        Needs the permission `self.write`.

        Args:
            token_id: The id of a token.
            server_ids: The servers to ask; by default the first 8 in reach by slug.
        """
        return self._send(
            _check_own_token.call(
                token_id,
                {
                    "secret": secret,
                    "server_ids": server_ids,
                },
            )
        )

    def revoke_own_token(
        self,
        token_id: str,
        *,
        reason: str,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> TokenRevocation:
        """Revoke a token of your own.

        Ends all its secrets, and every token attenuated from it. After the response, no new call can use
        it.

        Needs the permission `self.write`.

        Args:
            token_id: The id of a token.
            reason: The reason, stored with the revoked tokens, not in the audit log.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _revoke_own_token.call(
                token_id,
                {
                    "reason": reason,
                },
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    def rotate_own_token(
        self,
        token_id: str,
        *,
        overlap_s: int | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> IssuedToken:
        """Rotate a token of your own.

        Scope and expiry stay the same. Earlier secrets work for `overlap_s` more seconds.

        A token that an agent had before it was transferred to you needs a pickup link from a caller who
        issues tokens.

        Needs the permission `self.write`.

        Args:
            token_id: The id of a token.
            overlap_s: Seconds that earlier secrets still work.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _rotate_own_token.call(
                token_id,
                {
                    "overlap_s": overlap_s,
                },
                if_match=if_match,
            )
        )


class AsyncMeResource(AsyncResource):
    """The caller and its permissions."""

    async def get(
        self,
    ) -> Me:
        """Read your roles and permissions.

        Needs the permission `self.read`.

        """
        return await self._send(_get_me.call())

    def list_own_access(
        self,
        *,
        at: datetime.datetime | None = None,
        page_size: int | None = None,
        server_id: str | Sequence[str] | None = None,
    ) -> AsyncListing[ReachedServer]:
        """List what you reach, and why, by slug.

        What your live grants and those of your groups reach, decided as calls are. Only people who sign in
        have access
        of their own here. Callers who may read grants read the access of an agent at
        `/identities/{id}/access`.

        Needs the permission `self.read`.

        Args:
            at: The time to ask about; now by default. The past is answered from the history, the future by the
                current rules.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_own_access.call(
                at=at,
                limit=page_size,
                server_id=server_id,
                cursor=cursor,
            )
        )

    def list_own_agents(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: IdentityStatus | Sequence[IdentityStatus] | None = None,
        q: str | None = None,
    ) -> AsyncListing[Identity]:
        """List your own agents, newest first.

        The agents that you own.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            q: Text in user name, display name or email.
        """
        return self._list(
            lambda cursor: _list_own_agents.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                q=q,
                cursor=cursor,
            )
        )

    def list_own_pickups(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
    ) -> AsyncListing[TokenPickup]:
        """List your pending pickup links.

        Newest first, in case you lost the message with the link.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_own_pickups.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                cursor=cursor,
            )
        )

    async def get_own_pickup(
        self,
        pickup_id: str,
    ) -> OwnTokenPickup:
        """Read a pickup link of your own.

        The token and state of the link. Opening a link that was already used is audited and reported, since
        someone else
        may have used it.

        Needs the permission `self.read`.

        Args:
            pickup_id: The id of a pickup link.
        """
        return await self._send(
            _get_own_pickup.call(
                pickup_id,
            )
        )

    async def take_own_pickup(
        self,
        pickup_id: str,
        *,
        if_match: int | str | None = None,
    ) -> IssuedToken:
        """Pick up the secret of a token.

        Works once, for its recipient. The secret is created now and only in this response. For a used link
        the error has
        the time of its use, and the attempt is audited.

        Needs the permission `self.write`.

        Args:
            pickup_id: The id of a pickup link.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _take_own_pickup.call(
                pickup_id,
                if_match=if_match,
            )
        )

    def list_requestable_servers(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        q: str | None = None,
    ) -> AsyncListing[RequestableServer]:
        """List the servers that you can request, newest first.

        Servers with `requestable`, each with its active tools. Request access by `POST /api/v1/approvals`.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            q: Text in slug, name or description, or in name or title of a tool.
        """
        return self._list(
            lambda cursor: _list_requestable_servers.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                q=q,
                cursor=cursor,
            )
        )

    def list_own_tokens(
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
        """List your own tokens, newest first.

        Your tokens and those of your agents. Only people who sign in themselves have any.

        Needs the permission `self.read`.

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
            lambda cursor: _list_own_tokens.call(
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

    async def check_own_token(
        self,
        token_id: str,
        *,
        secret: Secret | str | Unset = UNSET,
        server_ids: Sequence[str] | Unset = UNSET,
    ) -> ConnectionCheck:
        """Check whether a token of your own works.

        Checks the given secret, the token, its identity, what it reaches and the last refusal, and asks the
        servers in
        reach whether they answer now. Each failed step has a remedy.

        Works for your own tokens and those of agents that you own.

        Needs the permission `self.write`.

        Args:
            token_id: The id of a token.
            server_ids: The servers to ask; by default the first 8 in reach by slug.
        """
        return await self._send(
            _check_own_token.call(
                token_id,
                {
                    "secret": secret,
                    "server_ids": server_ids,
                },
            )
        )

    async def revoke_own_token(
        self,
        token_id: str,
        *,
        reason: str,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> TokenRevocation:
        """Revoke a token of your own.

        Ends all its secrets, and every token attenuated from it. After the response, no new call can use
        it.

        Needs the permission `self.write`.

        Args:
            token_id: The id of a token.
            reason: The reason, stored with the revoked tokens, not in the audit log.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _revoke_own_token.call(
                token_id,
                {
                    "reason": reason,
                },
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    async def rotate_own_token(
        self,
        token_id: str,
        *,
        overlap_s: int | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> IssuedToken:
        """Rotate a token of your own.

        Scope and expiry stay the same. Earlier secrets work for `overlap_s` more seconds.

        A token that an agent had before it was transferred to you needs a pickup link from a caller who
        issues tokens.

        Needs the permission `self.write`.

        Args:
            token_id: The id of a token.
            overlap_s: Seconds that earlier secrets still work.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _rotate_own_token.call(
                token_id,
                {
                    "overlap_s": overlap_s,
                },
                if_match=if_match,
            )
        )
