"""The operations of grants, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.all_servers import AllServers
from ...models.all_tools import AllTools
from ...models.grant import Grant
from ...models.grant_order import GrantOrder
from ...models.grant_preview import GrantPreview
from ...models.grant_status import GrantStatus
from ...models.group_principal import GroupPrincipal
from ...models.identity_principal import IdentityPrincipal
from ...models.servers_by_ids import ServersByIds
from ...models.servers_by_labels import ServersByLabels
from ...models.tools_by_names import ToolsByNames
from ...models.tools_by_risk import ToolsByRisk
from ...types import UNSET, Unset
from . import create_grant as _create_grant
from . import delete_grant as _delete_grant
from . import get_grant as _get_grant
from . import list_grants as _list_grants
from . import preview_grant as _preview_grant
from . import update_grant as _update_grant


class GrantsResource(Resource):
    """Durable rights: who may use which tools of which servers, from when, until when."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        identity_id: str | Sequence[str] | None = None,
        group_id: str | Sequence[str] | None = None,
        server_id: str | Sequence[str] | None = None,
        status: GrantStatus | Sequence[GrantStatus] | None = None,
        expires_after: datetime.datetime | None = None,
        expires_before: datetime.datetime | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: GrantOrder | None = None,
    ) -> Listing[Grant]:
        """List grants, newest first.

        Needs the permission `grants.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            identity_id: Grants of these identities themselves.
            group_id: Grants of these groups.
            server_id: Grants that reach one of these servers, by id, by current labels, or as grants of all servers.
            expires_after: Only those that expire after this time, or never.
            expires_before: Only those that expire before this time.
            q: Text in the reason.
            include: `ended` shows ended ones too, to callers who may read the audit log.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_grants.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                identity_id=identity_id,
                group_id=group_id,
                server_id=server_id,
                status=status,
                expires_after=expires_after,
                expires_before=expires_before,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    def create(
        self,
        *,
        principal: GroupPrincipal | IdentityPrincipal | JsonObject,
        servers: AllServers | ServersByIds | ServersByLabels | JsonObject,
        tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject,
        resources: bool | None | Unset = UNSET,
        prompts: bool | None | Unset = UNSET,
        not_before: datetime.datetime | None | Unset = UNSET,
        expires_at: datetime.datetime | None | Unset = UNSET,
        reason: str | None | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> Grant:
        """Give a right.

        Needs the permission `grants.write`.

        Args:
            principal: The holder of the grant: an identity, or the members of a group.
            servers: The servers: by id, by labels, or all.
            tools: The tools of the selected servers: all, by name, or by risk.
            resources: Reaches the servers' resources; by default true when the tools are all.
            prompts: Reaches the servers' prompts; by default true when the tools are all.
            not_before: When it starts; null: at its creation.
            expires_at: When it expires; null: it does not.
            reason: The reason for the grant.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_grant.call(
                {
                    "principal": principal,
                    "servers": servers,
                    "tools": tools,
                    "resources": resources,
                    "prompts": prompts,
                    "not_before": not_before,
                    "expires_at": expires_at,
                    "reason": reason,
                },
                idempotency_key=idempotency_key,
            )
        )

    def preview(
        self,
        *,
        servers: AllServers | ServersByIds | ServersByLabels | JsonObject,
        tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject,
    ) -> GrantPreview:
        """Preview the reach of a grant.

        Evaluates the servers and tools as they are now, for any holder. Nothing is stored or granted. A
        grant by labels,
        by risk or of everything changes with the fleet: later it can reach more or less.

        Needs the permission `grants.read`.

        Args:
            servers: The servers: by id, by labels, or all.
            tools: The tools of the selected servers: all, by name, or by risk.
        """
        return self._send(
            _preview_grant.call(
                {
                    "servers": servers,
                    "tools": tools,
                },
            )
        )

    def get(
        self,
        grant_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> Grant:
        """Read one grant.

        Needs the permission `grants.read`.

        Args:
            grant_id: The id of a grant.
            include: `ended`: also when it has ended; needs `audit.read`.
        """
        return self._send(
            _get_grant.call(
                grant_id,
                include=include,
            )
        )

    def delete(
        self,
        grant_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End a grant.

        Needs the permission `grants.write`.

        Args:
            grant_id: The id of a grant.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_grant.call(
                grant_id,
                if_match=if_match,
            )
        )

    def update(
        self,
        grant_id: str,
        *,
        servers: AllServers | ServersByIds | ServersByLabels | JsonObject | Unset = UNSET,
        tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject | Unset = UNSET,
        resources: bool | Unset = UNSET,
        prompts: bool | Unset = UNSET,
        not_before: datetime.datetime | None | Unset = UNSET,
        expires_at: datetime.datetime | None | Unset = UNSET,
        reason: str | None | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Grant:
        """Change a grant, also for existing tokens.

        Needs the permission `grants.write`.

        Args:
            grant_id: The id of a grant.
            servers: The servers: by id, by labels, or all.
            tools: The tools of the selected servers: all, by name, or by risk.
            resources: Whether it reaches the servers' resources.
            prompts: Whether it reaches the servers' prompts.
            not_before: When it starts; null: at its creation.
            expires_at: When it expires; null: it does not.
            reason: The reason for the grant.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _update_grant.call(
                grant_id,
                {
                    "servers": servers,
                    "tools": tools,
                    "resources": resources,
                    "prompts": prompts,
                    "not_before": not_before,
                    "expires_at": expires_at,
                    "reason": reason,
                },
                if_match=if_match,
            )
        )


class AsyncGrantsResource(AsyncResource):
    """Durable rights: who may use which tools of which servers, from when, until when."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        identity_id: str | Sequence[str] | None = None,
        group_id: str | Sequence[str] | None = None,
        server_id: str | Sequence[str] | None = None,
        status: GrantStatus | Sequence[GrantStatus] | None = None,
        expires_after: datetime.datetime | None = None,
        expires_before: datetime.datetime | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: GrantOrder | None = None,
    ) -> AsyncListing[Grant]:
        """List grants, newest first.

        Needs the permission `grants.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            identity_id: Grants of these identities themselves.
            group_id: Grants of these groups.
            server_id: Grants that reach one of these servers, by id, by current labels, or as grants of all servers.
            expires_after: Only those that expire after this time, or never.
            expires_before: Only those that expire before this time.
            q: Text in the reason.
            include: `ended` shows ended ones too, to callers who may read the audit log.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_grants.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                identity_id=identity_id,
                group_id=group_id,
                server_id=server_id,
                status=status,
                expires_after=expires_after,
                expires_before=expires_before,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    async def create(
        self,
        *,
        principal: GroupPrincipal | IdentityPrincipal | JsonObject,
        servers: AllServers | ServersByIds | ServersByLabels | JsonObject,
        tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject,
        resources: bool | None | Unset = UNSET,
        prompts: bool | None | Unset = UNSET,
        not_before: datetime.datetime | None | Unset = UNSET,
        expires_at: datetime.datetime | None | Unset = UNSET,
        reason: str | None | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> Grant:
        """Give a right.

        Needs the permission `grants.write`.

        Args:
            principal: The holder of the grant: an identity, or the members of a group.
            servers: The servers: by id, by labels, or all.
            tools: The tools of the selected servers: all, by name, or by risk.
            resources: Reaches the servers' resources; by default true when the tools are all.
            prompts: Reaches the servers' prompts; by default true when the tools are all.
            not_before: When it starts; null: at its creation.
            expires_at: When it expires; null: it does not.
            reason: The reason for the grant.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_grant.call(
                {
                    "principal": principal,
                    "servers": servers,
                    "tools": tools,
                    "resources": resources,
                    "prompts": prompts,
                    "not_before": not_before,
                    "expires_at": expires_at,
                    "reason": reason,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def preview(
        self,
        *,
        servers: AllServers | ServersByIds | ServersByLabels | JsonObject,
        tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject,
    ) -> GrantPreview:
        """Preview the reach of a grant.

        Evaluates the servers and tools as they are now, for any holder. Nothing is stored or granted. A
        grant by labels,
        by risk or of everything changes with the fleet: later it can reach more or less.

        Needs the permission `grants.read`.

        Args:
            servers: The servers: by id, by labels, or all.
            tools: The tools of the selected servers: all, by name, or by risk.
        """
        return await self._send(
            _preview_grant.call(
                {
                    "servers": servers,
                    "tools": tools,
                },
            )
        )

    async def get(
        self,
        grant_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> Grant:
        """Read one grant.

        Needs the permission `grants.read`.

        Args:
            grant_id: The id of a grant.
            include: `ended`: also when it has ended; needs `audit.read`.
        """
        return await self._send(
            _get_grant.call(
                grant_id,
                include=include,
            )
        )

    async def delete(
        self,
        grant_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End a grant.

        Needs the permission `grants.write`.

        Args:
            grant_id: The id of a grant.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_grant.call(
                grant_id,
                if_match=if_match,
            )
        )

    async def update(
        self,
        grant_id: str,
        *,
        servers: AllServers | ServersByIds | ServersByLabels | JsonObject | Unset = UNSET,
        tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject | Unset = UNSET,
        resources: bool | Unset = UNSET,
        prompts: bool | Unset = UNSET,
        not_before: datetime.datetime | None | Unset = UNSET,
        expires_at: datetime.datetime | None | Unset = UNSET,
        reason: str | None | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Grant:
        """Change a grant, also for existing tokens.

        Needs the permission `grants.write`.

        Args:
            grant_id: The id of a grant.
            servers: The servers: by id, by labels, or all.
            tools: The tools of the selected servers: all, by name, or by risk.
            resources: Whether it reaches the servers' resources.
            prompts: Whether it reaches the servers' prompts.
            not_before: When it starts; null: at its creation.
            expires_at: When it expires; null: it does not.
            reason: The reason for the grant.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _update_grant.call(
                grant_id,
                {
                    "servers": servers,
                    "tools": tools,
                    "resources": resources,
                    "prompts": prompts,
                    "not_before": not_before,
                    "expires_at": expires_at,
                    "reason": reason,
                },
                if_match=if_match,
            )
        )
