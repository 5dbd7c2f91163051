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
    """The tools that syncing found on the servers, their risk, and the definitions that were approved."""

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
            created_after: Only those made after this time.
            created_before: Only those made before this time.
            state: Removed tools are left out unless they are asked for.
            q: Text in name, title or description.
            include: `ended`: those that have ended too; needs `audit.read`.
            sort: What tools are sorted by; `-` before it is from the top. Newest first by default.
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
            title: The title that its server gives it.
            description: What its server says about it.
            output_schema: The JSON Schema of its structured results.
            annotations: Hints of the server about it.
            risk: Read from annotations and name when absent.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_tool.call(
                server_id=server_id,
                name=name,
                input_schema=input_schema,
                title=title,
                description=description,
                output_schema=output_schema,
                annotations=annotations,
                risk=risk,
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
            include: `ended`: those that have ended too; needs `audit.read`.
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
            risk: Null: what the approved definition says.
            state: `quarantined` holds a tool until it is made active again.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _update_tool.call(
                tool_id,
                risk=risk,
                state=state,
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

        The identities whose grants, or those of whose groups, reach the tool, decided as calls are.

        Newest first. Where few of many identities can call it, a page may hold fewer than `limit`, or none,
        and still
        have a `next_cursor`.

        Needs the permission `grants.read`.

        Args:
            tool_id: The id of a tool.
            at: The moment to ask about; now when absent. Of the past, what the history keeps is told; of the
                future, what the rules of now say of it.
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
                definition_digest=definition_digest,
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
        """List the grants that reach a tool, and when it was last used by each.

        The grants in force whose servers and tools take it in, newest first: by its server's labels and its
        own risk as
        they are now. Whether calls pass is for policies to say too: `/tools/{id}/access` asks them.

        Needs the permission `grants.read`.

        Args:
            tool_id: The id of a tool.
            page_size: How many to fetch at a time, at most 200.
            created_after: Only those made after this time.
            created_before: Only those made before this time.
            unused_for_days: Only those by which nobody used the tool for so many days. Uses are written down within a
                minute, and only since `observed_since` is anything known of them.
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
    """The tools that syncing found on the servers, their risk, and the definitions that were approved."""

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
            created_after: Only those made after this time.
            created_before: Only those made before this time.
            state: Removed tools are left out unless they are asked for.
            q: Text in name, title or description.
            include: `ended`: those that have ended too; needs `audit.read`.
            sort: What tools are sorted by; `-` before it is from the top. Newest first by default.
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
            title: The title that its server gives it.
            description: What its server says about it.
            output_schema: The JSON Schema of its structured results.
            annotations: Hints of the server about it.
            risk: Read from annotations and name when absent.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_tool.call(
                server_id=server_id,
                name=name,
                input_schema=input_schema,
                title=title,
                description=description,
                output_schema=output_schema,
                annotations=annotations,
                risk=risk,
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
            include: `ended`: those that have ended too; needs `audit.read`.
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
            risk: Null: what the approved definition says.
            state: `quarantined` holds a tool until it is made active again.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _update_tool.call(
                tool_id,
                risk=risk,
                state=state,
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

        The identities whose grants, or those of whose groups, reach the tool, decided as calls are.

        Newest first. Where few of many identities can call it, a page may hold fewer than `limit`, or none,
        and still
        have a `next_cursor`.

        Needs the permission `grants.read`.

        Args:
            tool_id: The id of a tool.
            at: The moment to ask about; now when absent. Of the past, what the history keeps is told; of the
                future, what the rules of now say of it.
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
                definition_digest=definition_digest,
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
        """List the grants that reach a tool, and when it was last used by each.

        The grants in force whose servers and tools take it in, newest first: by its server's labels and its
        own risk as
        they are now. Whether calls pass is for policies to say too: `/tools/{id}/access` asks them.

        Needs the permission `grants.read`.

        Args:
            tool_id: The id of a tool.
            page_size: How many to fetch at a time, at most 200.
            created_after: Only those made after this time.
            created_before: Only those made before this time.
            unused_for_days: Only those by which nobody used the tool for so many days. Uses are written down within a
                minute, and only since `observed_since` is anything known of them.
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
