"""The operations of access, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.access_explanation import AccessExplanation
from ...models.access_matrix import AccessMatrix
from ...models.applied_proposal import AppliedProposal
from ...models.asked_arguments import AskedArguments
from ...models.asking_client import AskingClient
from ...models.server_part import ServerPart
from ...models.stale_applied import StaleApplied
from ...models.stale_grant import StaleGrant
from ...models.stale_kind import StaleKind
from ...models.stale_state import StaleState
from ...models.stale_token import StaleToken
from ...types import UNSET, Unset
from . import apply_stale_access as _apply_stale_access
from . import explain_access as _explain_access
from . import get_access_matrix as _get_access_matrix
from . import list_stale_access as _list_stale_access


class AccessResource(Resource):
    """Why a call is decided as it is, now or on another day."""

    def explain(
        self,
        *,
        identity_id: str | None | Unset = UNSET,
        token_id: str | None | Unset = UNSET,
        event_id: str | None | Unset = UNSET,
        server: str | None | Unset = UNSET,
        tool: str | None | Unset = UNSET,
        part: ServerPart | None | Unset = UNSET,
        arguments: AskedArguments | JsonObject | None | Unset = UNSET,
        at: datetime.datetime | None | Unset = UNSET,
        ip: str | None | Unset = UNSET,
        client: AskingClient | JsonObject | None | Unset = UNSET,
    ) -> AccessExplanation:
        """Explain why a call is decided as it is.

        Decides the call as the gateway does, and tells every grant, scope and policy that was considered,
        with what
        kept each from mattering. Nothing is called, counted or recorded.

        Of an `event_id`, it is decided again as of that time, and what was recorded stands beside it.

        Needs the permission `access.explain`.

        Args:
            identity_id: Who asks, with the widest token possible.
            token_id: The token that asks.
            event_id: The audit event of the decision, as its answer names it. It is decided again as of its time,
                with its arguments where they were kept.
            server: The slug or the id of the server.
            tool: The name of the tool; absent: reaching the server.
            part: Its resources or prompts, in place of a tool.
            arguments: The arguments of the call. Without, policies that read them stand aside.
            at: The moment to ask about; now when absent.
            ip: The address that the call comes from.
            client: The program that it comes from.
        """
        return self._send(
            _explain_access.call(
                identity_id=identity_id,
                token_id=token_id,
                event_id=event_id,
                server=server,
                tool=tool,
                part=part,
                arguments=arguments,
                at=at,
                ip=ip,
                client=client,
            )
        )

    def get_matrix(
        self,
        *,
        identity_id: str | Sequence[str],
        server_id: str | Sequence[str],
    ) -> AccessMatrix:
        """Count what identities reach of servers.

        For each pair, how many of the server's tools the identity's live grants and those of its groups
        reach now,
        decided as calls are. `/identities/{id}/access` says which, and why.

        Needs the permission `access.explain`.

        Args:
            identity_id: The rows, at most 50.
            server_id: The columns, at most 20.
        """
        return self._send(
            _get_access_matrix.call(
                identity_id=identity_id,
                server_id=server_id,
            )
        )

    def list_stale(
        self,
        *,
        unused_for_days: int | None = None,
        kind: StaleKind | Sequence[StaleKind] | None = None,
        state: StaleState | Sequence[StaleState] | None = None,
        identity_id: str | Sequence[str] | None = None,
        group_id: str | Sequence[str] | None = None,
        grant_id: str | Sequence[str] | None = None,
        server_id: str | None = None,
        page_size: int | None = None,
    ) -> Listing[StaleGrant | StaleToken]:
        """List unused access, with proposals to narrow it.

        The grants that are in force and the tokens that live, of which nothing or not all was used in the
        window. Uses
        are written down within a minute, and only since `observed_since` is anything known of them.

        Grants come first, newest first, then tokens. Where few of many are stale, a page may hold fewer
        than `limit`, or
        none, and still have a `next_cursor`.

        Needs the permission `grants.read`.

        Args:
            unused_for_days: How many days back the window goes.
            state: By default what could be narrowed. Of tokens, only unused ones are listed.
            identity_id: Grants made to these identities themselves, and their tokens.
            group_id: Grants made to these groups, and tokens of their members.
            grant_id: Only these grants, and no tokens.
            server_id: What reaches this server now.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_stale_access.call(
                unused_for_days=unused_for_days,
                kind=kind,
                state=state,
                identity_id=identity_id,
                group_id=group_id,
                grant_id=grant_id,
                server_id=server_id,
                limit=page_size,
                cursor=cursor,
            )
        )

    def apply_stale(
        self,
        *,
        unused_for_days: int,
        items: Sequence[AppliedProposal | JsonObject],
        dry_run: bool = False,
    ) -> StaleApplied:
        """Narrow or end grants as the report proposes.

        Works each proposal out again, and applies it if it is still the one whose `digest` was sent: not if
        the grant
        was changed, or more of it was used. From then on, calls of what it no longer gives are refused,
        with tokens in use
        too.

        Needs the permission `grants.write`.

        Args:
            unused_for_days: How many days back the window goes.
            items: The items of this page.
            dry_run: Change nothing; answer what would change.
        """
        return self._send(
            _apply_stale_access.call(
                unused_for_days=unused_for_days,
                items=items,
                dry_run=dry_run,
            )
        )


class AsyncAccessResource(AsyncResource):
    """Why a call is decided as it is, now or on another day."""

    async def explain(
        self,
        *,
        identity_id: str | None | Unset = UNSET,
        token_id: str | None | Unset = UNSET,
        event_id: str | None | Unset = UNSET,
        server: str | None | Unset = UNSET,
        tool: str | None | Unset = UNSET,
        part: ServerPart | None | Unset = UNSET,
        arguments: AskedArguments | JsonObject | None | Unset = UNSET,
        at: datetime.datetime | None | Unset = UNSET,
        ip: str | None | Unset = UNSET,
        client: AskingClient | JsonObject | None | Unset = UNSET,
    ) -> AccessExplanation:
        """Explain why a call is decided as it is.

        Decides the call as the gateway does, and tells every grant, scope and policy that was considered,
        with what
        kept each from mattering. Nothing is called, counted or recorded.

        Of an `event_id`, it is decided again as of that time, and what was recorded stands beside it.

        Needs the permission `access.explain`.

        Args:
            identity_id: Who asks, with the widest token possible.
            token_id: The token that asks.
            event_id: The audit event of the decision, as its answer names it. It is decided again as of its time,
                with its arguments where they were kept.
            server: The slug or the id of the server.
            tool: The name of the tool; absent: reaching the server.
            part: Its resources or prompts, in place of a tool.
            arguments: The arguments of the call. Without, policies that read them stand aside.
            at: The moment to ask about; now when absent.
            ip: The address that the call comes from.
            client: The program that it comes from.
        """
        return await self._send(
            _explain_access.call(
                identity_id=identity_id,
                token_id=token_id,
                event_id=event_id,
                server=server,
                tool=tool,
                part=part,
                arguments=arguments,
                at=at,
                ip=ip,
                client=client,
            )
        )

    async def get_matrix(
        self,
        *,
        identity_id: str | Sequence[str],
        server_id: str | Sequence[str],
    ) -> AccessMatrix:
        """Count what identities reach of servers.

        For each pair, how many of the server's tools the identity's live grants and those of its groups
        reach now,
        decided as calls are. `/identities/{id}/access` says which, and why.

        Needs the permission `access.explain`.

        Args:
            identity_id: The rows, at most 50.
            server_id: The columns, at most 20.
        """
        return await self._send(
            _get_access_matrix.call(
                identity_id=identity_id,
                server_id=server_id,
            )
        )

    def list_stale(
        self,
        *,
        unused_for_days: int | None = None,
        kind: StaleKind | Sequence[StaleKind] | None = None,
        state: StaleState | Sequence[StaleState] | None = None,
        identity_id: str | Sequence[str] | None = None,
        group_id: str | Sequence[str] | None = None,
        grant_id: str | Sequence[str] | None = None,
        server_id: str | None = None,
        page_size: int | None = None,
    ) -> AsyncListing[StaleGrant | StaleToken]:
        """List unused access, with proposals to narrow it.

        The grants that are in force and the tokens that live, of which nothing or not all was used in the
        window. Uses
        are written down within a minute, and only since `observed_since` is anything known of them.

        Grants come first, newest first, then tokens. Where few of many are stale, a page may hold fewer
        than `limit`, or
        none, and still have a `next_cursor`.

        Needs the permission `grants.read`.

        Args:
            unused_for_days: How many days back the window goes.
            state: By default what could be narrowed. Of tokens, only unused ones are listed.
            identity_id: Grants made to these identities themselves, and their tokens.
            group_id: Grants made to these groups, and tokens of their members.
            grant_id: Only these grants, and no tokens.
            server_id: What reaches this server now.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_stale_access.call(
                unused_for_days=unused_for_days,
                kind=kind,
                state=state,
                identity_id=identity_id,
                group_id=group_id,
                grant_id=grant_id,
                server_id=server_id,
                limit=page_size,
                cursor=cursor,
            )
        )

    async def apply_stale(
        self,
        *,
        unused_for_days: int,
        items: Sequence[AppliedProposal | JsonObject],
        dry_run: bool = False,
    ) -> StaleApplied:
        """Narrow or end grants as the report proposes.

        Works each proposal out again, and applies it if it is still the one whose `digest` was sent: not if
        the grant
        was changed, or more of it was used. From then on, calls of what it no longer gives are refused,
        with tokens in use
        too.

        Needs the permission `grants.write`.

        Args:
            unused_for_days: How many days back the window goes.
            items: The items of this page.
            dry_run: Change nothing; answer what would change.
        """
        return await self._send(
            _apply_stale_access.call(
                unused_for_days=unused_for_days,
                items=items,
                dry_run=dry_run,
            )
        )
