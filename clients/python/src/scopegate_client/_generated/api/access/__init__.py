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
    """Explanations of decisions, now or on another day."""

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

        Decide the call as the gateway does and list every grant, scope and policy that was considered, with
        what ruled
        each of them out. Nothing is called, counted or recorded.

        With `event_id`, the call is decided again as of that time, and the recorded decision is returned
        with it.

        Needs the permission `access.explain`.

        Args:
            identity_id: The caller, with the widest possible token.
            token_id: The token of the call.
            event_id: The audit event of the decision. The call is decided again as of its time, with its arguments if
                they were kept.
            server: The slug or the id of the server.
            tool: The name of the tool; absent: access to the server.
            part: The resources or prompts, instead of a tool.
            arguments: The arguments of the call. Without them, policies that read arguments are skipped.
            at: The time to ask about; now by default.
            ip: The client address of the call.
            client: The client program of the call.
        """
        return self._send(
            _explain_access.call(
                {
                    "identity_id": identity_id,
                    "token_id": token_id,
                    "event_id": event_id,
                    "server": server,
                    "tool": tool,
                    "part": part,
                    "arguments": arguments,
                    "at": at,
                    "ip": ip,
                    "client": client,
                },
            )
        )

    def get_matrix(
        self,
        *,
        identity_id: str | Sequence[str],
        server_id: str | Sequence[str],
    ) -> AccessMatrix:
        """Count what identities reach of servers.

        For each pair, how many of the server's tools the identity can call now by its live grants and those
        of its
        groups, decided as calls are. `/identities/{id}/access` lists them.

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

        The active grants and tokens that were not used, or only in part, in the window. Uses are recorded
        within a
        minute; nothing is known of the time before `observed_since`.

        Grants come first, then tokens, each newest first. If few of many are unused, a page may hold fewer
        than `limit`, or
        none, and still have a `next_cursor`.

        Needs the permission `grants.read`.

        Args:
            unused_for_days: Length of the window, in days until now.
            state: By default, everything that could be narrowed. Only unused tokens are listed.
            identity_id: Grants of these identities themselves, and their tokens.
            group_id: Grants of these groups, and tokens of their members.
            grant_id: Only these grants, and no tokens.
            server_id: Only what reaches this server now.
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

        Compute each proposal again and apply it if its `digest` is the one that was sent, which is not so
        if the grant
        was changed or used further. From then on, calls that it no longer allows are refused, for existing
        tokens too.

        Needs the permission `grants.write`.

        Args:
            unused_for_days: Length of the window, in days until now.
            items: The items of this page.
            dry_run: Return what would change, and change nothing.
        """
        return self._send(
            _apply_stale_access.call(
                {
                    "unused_for_days": unused_for_days,
                    "items": items,
                },
                dry_run=dry_run,
            )
        )


class AsyncAccessResource(AsyncResource):
    """Explanations of decisions, now or on another day."""

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

        Decide the call as the gateway does and list every grant, scope and policy that was considered, with
        what ruled
        each of them out. Nothing is called, counted or recorded.

        With `event_id`, the call is decided again as of that time, and the recorded decision is returned
        with it.

        Needs the permission `access.explain`.

        Args:
            identity_id: The caller, with the widest possible token.
            token_id: The token of the call.
            event_id: The audit event of the decision. The call is decided again as of its time, with its arguments if
                they were kept.
            server: The slug or the id of the server.
            tool: The name of the tool; absent: access to the server.
            part: The resources or prompts, instead of a tool.
            arguments: The arguments of the call. Without them, policies that read arguments are skipped.
            at: The time to ask about; now by default.
            ip: The client address of the call.
            client: The client program of the call.
        """
        return await self._send(
            _explain_access.call(
                {
                    "identity_id": identity_id,
                    "token_id": token_id,
                    "event_id": event_id,
                    "server": server,
                    "tool": tool,
                    "part": part,
                    "arguments": arguments,
                    "at": at,
                    "ip": ip,
                    "client": client,
                },
            )
        )

    async def get_matrix(
        self,
        *,
        identity_id: str | Sequence[str],
        server_id: str | Sequence[str],
    ) -> AccessMatrix:
        """Count what identities reach of servers.

        For each pair, how many of the server's tools the identity can call now by its live grants and those
        of its
        groups, decided as calls are. `/identities/{id}/access` lists them.

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

        The active grants and tokens that were not used, or only in part, in the window. Uses are recorded
        within a
        minute; nothing is known of the time before `observed_since`.

        Grants come first, then tokens, each newest first. If few of many are unused, a page may hold fewer
        than `limit`, or
        none, and still have a `next_cursor`.

        Needs the permission `grants.read`.

        Args:
            unused_for_days: Length of the window, in days until now.
            state: By default, everything that could be narrowed. Only unused tokens are listed.
            identity_id: Grants of these identities themselves, and their tokens.
            group_id: Grants of these groups, and tokens of their members.
            grant_id: Only these grants, and no tokens.
            server_id: Only what reaches this server now.
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

        Compute each proposal again and apply it if its `digest` is the one that was sent, which is not so
        if the grant
        was changed or used further. From then on, calls that it no longer allows are refused, for existing
        tokens too.

        Needs the permission `grants.write`.

        Args:
            unused_for_days: Length of the window, in days until now.
            items: The items of this page.
            dry_run: Return what would change, and change nothing.
        """
        return await self._send(
            _apply_stale_access.call(
                {
                    "unused_for_days": unused_for_days,
                    "items": items,
                },
                dry_run=dry_run,
            )
        )
