"""The operations of tools, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.json_schema import JsonSchema
from ...models.risk import Risk
from ...models.settable_tool_state import SettableToolState
from ...models.tool import Tool
from ...models.tool_annotations import ToolAnnotations
from ...models.tool_caller import ToolCaller
from ...models.tool_changes import ToolChanges
from ...models.tool_grant import ToolGrant
from ...models.tool_order import ToolOrder
from ...models.tool_state import ToolState
from ...types import UNSET, Unset
from . import approve_tool as _approve_tool
from . import create_tool as _create_tool
from . import delete_tool as _delete_tool
from . import get_tool as _get_tool
from . import get_tool_changes as _get_tool_changes
from . import list_tool_access as _list_tool_access
from . import list_tool_grants as _list_tool_grants
from . import list_tools as _list_tools
from . import update_tool as _update_tool


class ToolsResource(Resource):
    """The tools that syncs found on the servers, their risk, and their approved definitions."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        server_id: str | Sequence[str] | None = None,
        name: str | Sequence[str] | None = None,
        risk: Risk | Sequence[Risk] | None = None,
        state: ToolState | Sequence[ToolState] | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: ToolOrder | None = None,
    ) -> Listing[Tool]:
        """List tools, newest first.

        Needs the permission `tools.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            state: Removed tools are left out by default.
            q: Text in name, title or description.
            include: `ended`: also ended ones; needs `audit.read`.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_tools.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                server_id=server_id,
                name=name,
                risk=risk,
                state=state,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    def create(
        self,
        *,
        server_id: str,
        name: str,
        input_schema: JsonSchema | JsonObject,
        title: str | None | Unset = UNSET,
        description: str | None | Unset = UNSET,
        output_schema: JsonSchema | JsonObject | None | Unset = UNSET,
        annotations: ToolAnnotations | JsonObject | None | Unset = UNSET,
        risk: Risk | None | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> Tool:
        """Create a tool manually, active immediately.

        Usually, you sync the server instead.

        Needs the permission `tools.write`.

        Args:
            server_id: The id of a server.
            name: The name on its server.
            input_schema: A JSON Schema.
            title: The title from its server.
            description: The description from its server.
            output_schema: The JSON Schema of its structured results.
            annotations: Hints from the server.
            risk: Read from annotations and name when absent.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_tool.call(
                {
                    "server_id": server_id,
                    "name": name,
                    "input_schema": input_schema,
                    "title": title,
                    "description": description,
                    "output_schema": output_schema,
                    "annotations": annotations,
                    "risk": risk,
                },
                idempotency_key=idempotency_key,
            )
        )

    def get(
        self,
        tool_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> Tool:
        """Read one tool; a removed one with `include=ended`.

        Needs the permission `tools.read`.

        Args:
            tool_id: The id of a tool.
            include: `ended`: also ended ones; needs `audit.read`.
        """
        return self._send(
            _get_tool.call(
                tool_id,
                include=include,
            )
        )

    def delete(
        self,
        tool_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """Remove a tool, immediately for every token.

        If a sync finds it again, it is quarantined.

        Needs the permission `tools.write`.

        Args:
            tool_id: The id of a tool.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_tool.call(
                tool_id,
                if_match=if_match,
            )
        )

    def update(
        self,
        tool_id: str,
        *,
        risk: Risk | None | Unset = UNSET,
        state: SettableToolState | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Tool:
        """Change a tool: override the risk, or quarantine and release it (merge patch).

        Needs the permission `tools.write`.

        Args:
            tool_id: The id of a tool.
            risk: Null: from the approved definition.
            state: `quarantined` holds a tool until it is set to active again.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _update_tool.call(
                tool_id,
                {
                    "risk": risk,
                    "state": state,
                },
                if_match=if_match,
            )
        )

    def list_access(
        self,
        tool_id: str,
        *,
        at: datetime.datetime | None = None,
        page_size: int | None = None,
    ) -> Listing[ToolCaller]:
        """List who can call a tool, and why.

        The identities that can call the tool by a grant of their own or of a group, decided as calls are.

        Newest first. If few of many identities can call it, a page may hold fewer than `limit`, or none,
        and still have a
        `next_cursor`.

        Needs the permission `grants.read`.

        Args:
            tool_id: The id of a tool.
            at: The time to ask about; now by default. The past is answered from the history, the future by the
                current rules.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_tool_access.call(
                tool_id,
                at=at,
                limit=page_size,
                cursor=cursor,
            )
        )

    def approve(
        self,
        tool_id: str,
        *,
        definition_digest: str,
        if_match: int | str | None = None,
    ) -> Tool:
        """Approve the definition with this digest.

        The tool becomes active, and its annotations determine the risk.

        Needs the permission `tools.write`.

        Args:
            tool_id: The id of a tool.
            definition_digest: SHA-256 over name, title, description, schemas and annotations, in hexadecimal.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _approve_tool.call(
                tool_id,
                {
                    "definition_digest": definition_digest,
                },
                if_match=if_match,
            )
        )

    def get_changes(
        self,
        tool_id: str,
    ) -> ToolChanges:
        """Compare the approved definition of a tool with the pending one, by member.

        Needs the permission `tools.read`.

        Args:
            tool_id: The id of a tool.
        """
        return self._send(
            _get_tool_changes.call(
                tool_id,
            )
        )

    def list_grants(
        self,
        tool_id: str,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        unused_for_days: int | None = None,
    ) -> Listing[ToolGrant]:
        """List the grants that reach a tool.

        The active grants that include the tool by its server's current labels and its own risk, newest
        first, with the
        last use by each. Policies can still deny calls: `/tools/{id}/access` evaluates them.

        Needs the permission `grants.read`.

        Args:
            tool_id: The id of a tool.
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            unused_for_days: Only grants without a use of the tool for this many days. Uses are recorded within a minute;
                nothing is known of the time before `observed_since`.
        """
        return self._list(
            lambda cursor: _list_tool_grants.call(
                tool_id,
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                unused_for_days=unused_for_days,
                cursor=cursor,
            )
        )


class AsyncToolsResource(AsyncResource):
    """The tools that syncs found on the servers, their risk, and their approved definitions."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        server_id: str | Sequence[str] | None = None,
        name: str | Sequence[str] | None = None,
        risk: Risk | Sequence[Risk] | None = None,
        state: ToolState | Sequence[ToolState] | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: ToolOrder | None = None,
    ) -> AsyncListing[Tool]:
        """List tools, newest first.

        Needs the permission `tools.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            state: Removed tools are left out by default.
            q: Text in name, title or description.
            include: `ended`: also ended ones; needs `audit.read`.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_tools.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                server_id=server_id,
                name=name,
                risk=risk,
                state=state,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    async def create(
        self,
        *,
        server_id: str,
        name: str,
        input_schema: JsonSchema | JsonObject,
        title: str | None | Unset = UNSET,
        description: str | None | Unset = UNSET,
        output_schema: JsonSchema | JsonObject | None | Unset = UNSET,
        annotations: ToolAnnotations | JsonObject | None | Unset = UNSET,
        risk: Risk | None | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> Tool:
        """Create a tool manually, active immediately.

        Usually, you sync the server instead.

        Needs the permission `tools.write`.

        Args:
            server_id: The id of a server.
            name: The name on its server.
            input_schema: A JSON Schema.
            title: The title from its server.
            description: The description from its server.
            output_schema: The JSON Schema of its structured results.
            annotations: Hints from the server.
            risk: Read from annotations and name when absent.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_tool.call(
                {
                    "server_id": server_id,
                    "name": name,
                    "input_schema": input_schema,
                    "title": title,
                    "description": description,
                    "output_schema": output_schema,
                    "annotations": annotations,
                    "risk": risk,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def get(
        self,
        tool_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> Tool:
        """Read one tool; a removed one with `include=ended`.

        Needs the permission `tools.read`.

        Args:
            tool_id: The id of a tool.
            include: `ended`: also ended ones; needs `audit.read`.
        """
        return await self._send(
            _get_tool.call(
                tool_id,
                include=include,
            )
        )

    async def delete(
        self,
        tool_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """Remove a tool, immediately for every token.

        If a sync finds it again, it is quarantined.

        Needs the permission `tools.write`.

        Args:
            tool_id: The id of a tool.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_tool.call(
                tool_id,
                if_match=if_match,
            )
        )

    async def update(
        self,
        tool_id: str,
        *,
        risk: Risk | None | Unset = UNSET,
        state: SettableToolState | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Tool:
        """Change a tool: override the risk, or quarantine and release it (merge patch).

        Needs the permission `tools.write`.

        Args:
            tool_id: The id of a tool.
            risk: Null: from the approved definition.
            state: `quarantined` holds a tool until it is set to active again.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _update_tool.call(
                tool_id,
                {
                    "risk": risk,
                    "state": state,
                },
                if_match=if_match,
            )
        )

    def list_access(
        self,
        tool_id: str,
        *,
        at: datetime.datetime | None = None,
        page_size: int | None = None,
    ) -> AsyncListing[ToolCaller]:
        """List who can call a tool, and why.

        The identities that can call the tool by a grant of their own or of a group, decided as calls are.

        Newest first. If few of many identities can call it, a page may hold fewer than `limit`, or none,
        and still have a
        `next_cursor`.

        Needs the permission `grants.read`.

        Args:
            tool_id: The id of a tool.
            at: The time to ask about; now by default. The past is answered from the history, the future by the
                current rules.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_tool_access.call(
                tool_id,
                at=at,
                limit=page_size,
                cursor=cursor,
            )
        )

    async def approve(
        self,
        tool_id: str,
        *,
        definition_digest: str,
        if_match: int | str | None = None,
    ) -> Tool:
        """Approve the definition with this digest.

        The tool becomes active, and its annotations determine the risk.

        Needs the permission `tools.write`.

        Args:
            tool_id: The id of a tool.
            definition_digest: SHA-256 over name, title, description, schemas and annotations, in hexadecimal.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _approve_tool.call(
                tool_id,
                {
                    "definition_digest": definition_digest,
                },
                if_match=if_match,
            )
        )

    async def get_changes(
        self,
        tool_id: str,
    ) -> ToolChanges:
        """Compare the approved definition of a tool with the pending one, by member.

        Needs the permission `tools.read`.

        Args:
            tool_id: The id of a tool.
        """
        return await self._send(
            _get_tool_changes.call(
                tool_id,
            )
        )

    def list_grants(
        self,
        tool_id: str,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        unused_for_days: int | None = None,
    ) -> AsyncListing[ToolGrant]:
        """List the grants that reach a tool.

        The active grants that include the tool by its server's current labels and its own risk, newest
        first, with the
        last use by each. Policies can still deny calls: `/tools/{id}/access` evaluates them.

        Needs the permission `grants.read`.

        Args:
            tool_id: The id of a tool.
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            unused_for_days: Only grants without a use of the tool for this many days. Uses are recorded within a minute;
                nothing is known of the time before `observed_since`.
        """
        return self._list(
            lambda cursor: _list_tool_grants.call(
                tool_id,
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                unused_for_days=unused_for_days,
                cursor=cursor,
            )
        )
