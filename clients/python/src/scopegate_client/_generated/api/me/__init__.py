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
    """Who the caller is, and what they may do."""

    def get(
        self,
    ) -> Me:
        """Read who you are, with roles and permissions.

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

        What your live grants and those of your groups reach, decided as calls are. People alone reach
        something, who
        sign in themselves. An agent's access is its own: who may read grants reads it at
        `/identities/{id}/access`.

        Needs the permission `self.read`.

        Args:
            at: The moment to ask about; now when absent. Of the past, what the history keeps is told; of the
                future, what the rules of now say of it.
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

        The agents that you answer for.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only those made after this time.
            created_before: Only those made before this time.
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
        """List the pick-up links that wait for you.

        Newest first, in case you lost the message with the link.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only those made after this time.
            created_before: Only those made before this time.
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
        """Read a pick-up link for you.

        What is behind it, and whether it still waits. That one is opened which was used already is on
        record, and told
        to whoever watches: it may not have been its recipient who used it.

        Needs the permission `self.read`.

        Args:
            pickup_id: The id of a pick-up link.
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
        """Take the secret that a pick-up link is for.

        Once, by its recipient. The secret is made now, is in this answer and nowhere else. A link that was
        used says
        when, and that it was tried again is on record.

        Needs the permission `self.write`.

        Args:
            pickup_id: The id of a pick-up link.
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
        """List the servers that you can ask for, newest first.

        Those whose administrators set `requestable`, each with its active tools. Ask by `POST
        /api/v1/approvals`.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only those made after this time.
            created_before: Only those made before this time.
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

        Yours and those of the agents that you answer for. People alone have some, who sign in themselves.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only those made after this time.
            created_before: Only those made before this time.
            server_id: Tokens whose scope can reach this server.
            expires_after: Only those that expire after this time.
            expires_before: Only those that expire before this time.
            q: Text in the name.
            sort: What tokens are sorted by; `-` before it is from the top. Newest first by default.
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
        """Check whether a token of one's own works.

        Looks at the secret that is given, the token, its identity, what it reaches and the last refusal,
        and asks the
        servers in reach whether they answer now. Each step that is not well says what to do.

        Of one's own tokens and those of agents that one answers for.

        Needs the permission `self.write`.

        Args:
            token_id: The id of a token.
            server_ids: The servers to ask; without, the first 8 in reach by slug.
        """
        return self._send(
            _check_own_token.call(
                token_id,
                secret=secret,
                server_ids=server_ids,
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
        """End a token of your own at once.

        All its secrets end, and everything attenuated from it. When this has answered, no call with it
        begins.

        Needs the permission `self.write`.

        Args:
            token_id: The id of a token.
            reason: Why; it is kept with the tokens that end, not in the audit trail.
            dry_run: Change nothing; answer what would change.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _revoke_own_token.call(
                token_id,
                reason=reason,
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
        """Give a token of your own a new secret.

        What it may do and until when stays as it is. The secrets so far work for `overlap_s` more seconds.

        A token that an agent had before it was handed over to you is renewed by a pick-up link, from
        whoever issues tokens.

        Needs the permission `self.write`.

        Args:
            token_id: The id of a token.
            overlap_s: How many seconds the secrets so far still work.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _rotate_own_token.call(
                token_id,
                overlap_s=overlap_s,
                if_match=if_match,
            )
        )


class AsyncMeResource(AsyncResource):
    """Who the caller is, and what they may do."""

    async def get(
        self,
    ) -> Me:
        """Read who you are, with roles and permissions.

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

        What your live grants and those of your groups reach, decided as calls are. People alone reach
        something, who
        sign in themselves. An agent's access is its own: who may read grants reads it at
        `/identities/{id}/access`.

        Needs the permission `self.read`.

        Args:
            at: The moment to ask about; now when absent. Of the past, what the history keeps is told; of the
                future, what the rules of now say of it.
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

        The agents that you answer for.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only those made after this time.
            created_before: Only those made before this time.
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
        """List the pick-up links that wait for you.

        Newest first, in case you lost the message with the link.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only those made after this time.
            created_before: Only those made before this time.
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
        """Read a pick-up link for you.

        What is behind it, and whether it still waits. That one is opened which was used already is on
        record, and told
        to whoever watches: it may not have been its recipient who used it.

        Needs the permission `self.read`.

        Args:
            pickup_id: The id of a pick-up link.
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
        """Take the secret that a pick-up link is for.

        Once, by its recipient. The secret is made now, is in this answer and nowhere else. A link that was
        used says
        when, and that it was tried again is on record.

        Needs the permission `self.write`.

        Args:
            pickup_id: The id of a pick-up link.
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
        """List the servers that you can ask for, newest first.

        Those whose administrators set `requestable`, each with its active tools. Ask by `POST
        /api/v1/approvals`.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only those made after this time.
            created_before: Only those made before this time.
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

        Yours and those of the agents that you answer for. People alone have some, who sign in themselves.

        Needs the permission `self.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only those made after this time.
            created_before: Only those made before this time.
            server_id: Tokens whose scope can reach this server.
            expires_after: Only those that expire after this time.
            expires_before: Only those that expire before this time.
            q: Text in the name.
            sort: What tokens are sorted by; `-` before it is from the top. Newest first by default.
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
        """Check whether a token of one's own works.

        Looks at the secret that is given, the token, its identity, what it reaches and the last refusal,
        and asks the
        servers in reach whether they answer now. Each step that is not well says what to do.

        Of one's own tokens and those of agents that one answers for.

        Needs the permission `self.write`.

        Args:
            token_id: The id of a token.
            server_ids: The servers to ask; without, the first 8 in reach by slug.
        """
        return await self._send(
            _check_own_token.call(
                token_id,
                secret=secret,
                server_ids=server_ids,
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
        """End a token of your own at once.

        All its secrets end, and everything attenuated from it. When this has answered, no call with it
        begins.

        Needs the permission `self.write`.

        Args:
            token_id: The id of a token.
            reason: Why; it is kept with the tokens that end, not in the audit trail.
            dry_run: Change nothing; answer what would change.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _revoke_own_token.call(
                token_id,
                reason=reason,
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
        """Give a token of your own a new secret.

        What it may do and until when stays as it is. The secrets so far work for `overlap_s` more seconds.

        A token that an agent had before it was handed over to you is renewed by a pick-up link, from
        whoever issues tokens.

        Needs the permission `self.write`.

        Args:
            token_id: The id of a token.
            overlap_s: How many seconds the secrets so far still work.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _rotate_own_token.call(
                token_id,
                overlap_s=overlap_s,
                if_match=if_match,
            )
        )
