"""The operations of servers, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.bearer_credential import BearerCredential
from ...models.env_credential import EnvCredential
from ...models.header_credential import HeaderCredential
from ...models.keep_arguments import KeepArguments
from ...models.label_changes import LabelChanges
from ...models.labels import Labels
from ...models.new_tools import NewTools
from ...models.no_credential import NoCredential
from ...models.o_auth_client_credential import OAuthClientCredential
from ...models.server import Server
from ...models.server_instructions import ServerInstructions
from ...models.server_order import ServerOrder
from ...models.server_status import ServerStatus
from ...models.sync_state import SyncState
from ...models.transport import Transport
from ...models.upstream_credential import UpstreamCredential
from ...types import UNSET, Unset
from . import approve_server_instructions as _approve_server_instructions
from . import create_server as _create_server
from . import delete_identity_credential as _delete_identity_credential
from . import delete_server as _delete_server
from . import delete_server_credential as _delete_server_credential
from . import get_server as _get_server
from . import get_server_instructions as _get_server_instructions
from . import list_server_credentials as _list_server_credentials
from . import list_servers as _list_servers
from . import set_identity_credential as _set_identity_credential
from . import set_server_credential as _set_server_credential
from . import sync_server as _sync_server
from . import update_server as _update_server


class ServersResource(Resource):
    """MCP servers: their addresses, the credentials for calls to them, and their tools."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: ServerStatus | Sequence[ServerStatus] | None = None,
        transport: Transport | Sequence[Transport] | None = None,
        sync_state: SyncState | Sequence[SyncState] | None = None,
        slug: str | Sequence[str] | None = None,
        owner_group_id: str | Sequence[str] | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: ServerOrder | None = None,
    ) -> Listing[Server]:
        """List servers, newest first.

        Needs the permission `servers.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            q: Text in slug, name or description.
            include: `ended`: also ended ones; needs `audit.read`.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_servers.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                transport=transport,
                sync_state=sync_state,
                slug=slug,
                owner_group_id=owner_group_id,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    def create(
        self,
        *,
        slug: str,
        name: str | None | Unset = UNSET,
        description: str | None | Unset = UNSET,
        labels: Labels | JsonObject | Unset = UNSET,
        owner_group_id: str | None | Unset = UNSET,
        transport: Transport | Unset = UNSET,
        url: str | None | Unset = UNSET,
        command: str | None | Unset = UNSET,
        args: Sequence[str] | None | Unset = UNSET,
        env_names: Sequence[str] | None | Unset = UNSET,
        status: ServerStatus | Unset = UNSET,
        new_tools: NewTools | Unset = UNSET,
        keep_arguments: KeepArguments | Unset = UNSET,
        requestable: bool | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> Server:
        """Register a server.

        Nothing is sent to it; `POST /servers/{id}/sync` reads its tools.

        Needs the permission `servers.write`.

        Args:
            slug: Part of `/mcp/{slug}` and prefix of tool names; never changes.
            name: By default the slug.
            description: What it is for.
            labels: Labels by key.
            owner_group_id: The id of a group.
            transport: `streamable_http`: a server at a URL; `stdio`: a command on the gateway's host.
            url: The streamable HTTP endpoint.
            command: The program of a `stdio` server, by its absolute path. The operator decides which may run.
            args: Its arguments. Do not put a secret here: process lists of the host show them.
            env_names: The names of its environment variables; a credential of the kind `env` has the values. The
                operator decides which names.
            status: A `disabled` server is not listed and cannot be called.
            new_tools: The state of new tools in later syncs: `quarantine` holds them until they are approved.
            keep_arguments: Which arguments are recorded: none, those of calls that need an approval, or all.
            requestable: Whether every signed-in person sees the server and its tools by name, and may request access to
                it. The members of its `owner_group_id` decide such requests.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_server.call(
                {
                    "slug": slug,
                    "name": name,
                    "description": description,
                    "labels": labels,
                    "owner_group_id": owner_group_id,
                    "transport": transport,
                    "url": url,
                    "command": command,
                    "args": args,
                    "env_names": env_names,
                    "status": status,
                    "new_tools": new_tools,
                    "keep_arguments": keep_arguments,
                    "requestable": requestable,
                },
                idempotency_key=idempotency_key,
            )
        )

    def get(
        self,
        server_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> Server:
        """Read one server.

        Needs the permission `servers.read`.

        Args:
            server_id: The id of a server.
            include: `ended`: also ended ones; needs `audit.read`.
        """
        return self._send(
            _get_server.call(
                server_id,
                include=include,
            )
        )

    def delete(
        self,
        server_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End a server, immediately for every token.

        Its credentials are deleted, and its slug is reserved for 90 days.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_server.call(
                server_id,
                if_match=if_match,
            )
        )

    def update(
        self,
        server_id: str,
        *,
        name: str | Unset = UNSET,
        description: str | None | Unset = UNSET,
        labels: LabelChanges | JsonObject | Unset = UNSET,
        owner_group_id: str | None | Unset = UNSET,
        url: str | Unset = UNSET,
        command: str | Unset = UNSET,
        args: Sequence[str] | Unset = UNSET,
        env_names: Sequence[str] | Unset = UNSET,
        status: ServerStatus | Unset = UNSET,
        new_tools: NewTools | Unset = UNSET,
        keep_arguments: KeepArguments | Unset = UNSET,
        requestable: bool | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Server:
        """Change a server (merge patch).

        The slug and the transport never change.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            name: Its display name.
            description: What it is for.
            labels: Labels to set by key; null removes a label.
            owner_group_id: The id of a group.
            url: The origin can change only while no credential is stored.
            command: For a `stdio` server; only while no credential is stored.
            args: The same.
            env_names: The same.
            status: A `disabled` server is not listed and cannot be called.
            new_tools: The state of new tools in later syncs: `quarantine` holds them until they are approved.
            keep_arguments: Which arguments are recorded: none, those of calls that need an approval, or all.
            requestable: Whether every signed-in person sees the server and its tools by name, and may request access to
                it. The members of its `owner_group_id` decide such requests.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _update_server.call(
                server_id,
                {
                    "name": name,
                    "description": description,
                    "labels": labels,
                    "owner_group_id": owner_group_id,
                    "url": url,
                    "command": command,
                    "args": args,
                    "env_names": env_names,
                    "status": status,
                    "new_tools": new_tools,
                    "keep_arguments": keep_arguments,
                    "requestable": requestable,
                },
                if_match=if_match,
            )
        )

    def set_credential(
        self,
        server_id: str,
        body: BearerCredential
        | EnvCredential
        | HeaderCredential
        | NoCredential
        | OAuthClientCredential
        | JsonObject,
        *,
        if_match: int | str | None = None,
    ) -> UpstreamCredential:
        """Set the credential of a server, which replaces the client's token.

        It can be replaced, never read.

        `If-Match` takes the server's `ETag`.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _set_server_credential.call(
                server_id,
                body,
                if_match=if_match,
            )
        )

    def delete_credential(
        self,
        server_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """Remove the credential of a server: calls carry none.

        `If-Match` takes the server's `ETag`.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_server_credential.call(
                server_id,
                if_match=if_match,
            )
        )

    def list_credentials(
        self,
        server_id: str,
        *,
        page_size: int | None = None,
    ) -> Listing[UpstreamCredential]:
        """List the credentials of a server, its own and those of identities, newest first.

        Needs the permission `servers.read`.

        Args:
            server_id: The id of a server.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_server_credentials.call(
                server_id,
                limit=page_size,
                cursor=cursor,
            )
        )

    def set_identity_credential(
        self,
        server_id: str,
        identity_id: str,
        body: BearerCredential
        | EnvCredential
        | HeaderCredential
        | NoCredential
        | OAuthClientCredential
        | JsonObject,
        *,
        if_match: int | str | None = None,
    ) -> UpstreamCredential:
        """Set the credential for one identity's calls to a server, instead of the server's own.

        `If-Match` takes the server's `ETag`.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _set_identity_credential.call(
                server_id,
                identity_id,
                body,
                if_match=if_match,
            )
        )

    def delete_identity_credential(
        self,
        server_id: str,
        identity_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """Remove the credential of one identity: its calls carry the server's own.

        `If-Match` takes the server's `ETag`.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_identity_credential.call(
                server_id,
                identity_id,
                if_match=if_match,
            )
        )

    def get_instructions(
        self,
        server_id: str,
    ) -> ServerInstructions:
        """Read the instructions of a server: the latest text and the approved one that clients get.

        Needs the permission `servers.read`.

        Args:
            server_id: The id of a server.
        """
        return self._send(
            _get_server_instructions.call(
                server_id,
            )
        )

    def approve_instructions(
        self,
        server_id: str,
        *,
        digest: str,
        if_match: int | str | None = None,
    ) -> ServerInstructions:
        """Approve the instructions of a server, the text with this digest.

        Clients that reach the whole server get them. `If-Match` takes the server's `ETag`.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            digest: SHA-256 of the text, in hexadecimal.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _approve_server_instructions.call(
                server_id,
                {
                    "digest": digest,
                },
                if_match=if_match,
            )
        )

    def sync(
        self,
        server_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Server:
        """Read the server's tools.

        A failed sync also returns 200, with `sync.state` `error` and the reason, and changes
        nothing else. One that takes longer than 2 seconds returns 202 and continues.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _sync_server.call(
                server_id,
                if_match=if_match,
            )
        )


class AsyncServersResource(AsyncResource):
    """MCP servers: their addresses, the credentials for calls to them, and their tools."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: ServerStatus | Sequence[ServerStatus] | None = None,
        transport: Transport | Sequence[Transport] | None = None,
        sync_state: SyncState | Sequence[SyncState] | None = None,
        slug: str | Sequence[str] | None = None,
        owner_group_id: str | Sequence[str] | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: ServerOrder | None = None,
    ) -> AsyncListing[Server]:
        """List servers, newest first.

        Needs the permission `servers.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            q: Text in slug, name or description.
            include: `ended`: also ended ones; needs `audit.read`.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_servers.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                transport=transport,
                sync_state=sync_state,
                slug=slug,
                owner_group_id=owner_group_id,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    async def create(
        self,
        *,
        slug: str,
        name: str | None | Unset = UNSET,
        description: str | None | Unset = UNSET,
        labels: Labels | JsonObject | Unset = UNSET,
        owner_group_id: str | None | Unset = UNSET,
        transport: Transport | Unset = UNSET,
        url: str | None | Unset = UNSET,
        command: str | None | Unset = UNSET,
        args: Sequence[str] | None | Unset = UNSET,
        env_names: Sequence[str] | None | Unset = UNSET,
        status: ServerStatus | Unset = UNSET,
        new_tools: NewTools | Unset = UNSET,
        keep_arguments: KeepArguments | Unset = UNSET,
        requestable: bool | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> Server:
        """Register a server.

        Nothing is sent to it; `POST /servers/{id}/sync` reads its tools.

        Needs the permission `servers.write`.

        Args:
            slug: Part of `/mcp/{slug}` and prefix of tool names; never changes.
            name: By default the slug.
            description: What it is for.
            labels: Labels by key.
            owner_group_id: The id of a group.
            transport: `streamable_http`: a server at a URL; `stdio`: a command on the gateway's host.
            url: The streamable HTTP endpoint.
            command: The program of a `stdio` server, by its absolute path. The operator decides which may run.
            args: Its arguments. Do not put a secret here: process lists of the host show them.
            env_names: The names of its environment variables; a credential of the kind `env` has the values. The
                operator decides which names.
            status: A `disabled` server is not listed and cannot be called.
            new_tools: The state of new tools in later syncs: `quarantine` holds them until they are approved.
            keep_arguments: Which arguments are recorded: none, those of calls that need an approval, or all.
            requestable: Whether every signed-in person sees the server and its tools by name, and may request access to
                it. The members of its `owner_group_id` decide such requests.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_server.call(
                {
                    "slug": slug,
                    "name": name,
                    "description": description,
                    "labels": labels,
                    "owner_group_id": owner_group_id,
                    "transport": transport,
                    "url": url,
                    "command": command,
                    "args": args,
                    "env_names": env_names,
                    "status": status,
                    "new_tools": new_tools,
                    "keep_arguments": keep_arguments,
                    "requestable": requestable,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def get(
        self,
        server_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> Server:
        """Read one server.

        Needs the permission `servers.read`.

        Args:
            server_id: The id of a server.
            include: `ended`: also ended ones; needs `audit.read`.
        """
        return await self._send(
            _get_server.call(
                server_id,
                include=include,
            )
        )

    async def delete(
        self,
        server_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End a server, immediately for every token.

        Its credentials are deleted, and its slug is reserved for 90 days.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_server.call(
                server_id,
                if_match=if_match,
            )
        )

    async def update(
        self,
        server_id: str,
        *,
        name: str | Unset = UNSET,
        description: str | None | Unset = UNSET,
        labels: LabelChanges | JsonObject | Unset = UNSET,
        owner_group_id: str | None | Unset = UNSET,
        url: str | Unset = UNSET,
        command: str | Unset = UNSET,
        args: Sequence[str] | Unset = UNSET,
        env_names: Sequence[str] | Unset = UNSET,
        status: ServerStatus | Unset = UNSET,
        new_tools: NewTools | Unset = UNSET,
        keep_arguments: KeepArguments | Unset = UNSET,
        requestable: bool | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Server:
        """Change a server (merge patch).

        The slug and the transport never change.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            name: Its display name.
            description: What it is for.
            labels: Labels to set by key; null removes a label.
            owner_group_id: The id of a group.
            url: The origin can change only while no credential is stored.
            command: For a `stdio` server; only while no credential is stored.
            args: The same.
            env_names: The same.
            status: A `disabled` server is not listed and cannot be called.
            new_tools: The state of new tools in later syncs: `quarantine` holds them until they are approved.
            keep_arguments: Which arguments are recorded: none, those of calls that need an approval, or all.
            requestable: Whether every signed-in person sees the server and its tools by name, and may request access to
                it. The members of its `owner_group_id` decide such requests.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _update_server.call(
                server_id,
                {
                    "name": name,
                    "description": description,
                    "labels": labels,
                    "owner_group_id": owner_group_id,
                    "url": url,
                    "command": command,
                    "args": args,
                    "env_names": env_names,
                    "status": status,
                    "new_tools": new_tools,
                    "keep_arguments": keep_arguments,
                    "requestable": requestable,
                },
                if_match=if_match,
            )
        )

    async def set_credential(
        self,
        server_id: str,
        body: BearerCredential
        | EnvCredential
        | HeaderCredential
        | NoCredential
        | OAuthClientCredential
        | JsonObject,
        *,
        if_match: int | str | None = None,
    ) -> UpstreamCredential:
        """Set the credential of a server, which replaces the client's token.

        It can be replaced, never read.

        `If-Match` takes the server's `ETag`.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _set_server_credential.call(
                server_id,
                body,
                if_match=if_match,
            )
        )

    async def delete_credential(
        self,
        server_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """Remove the credential of a server: calls carry none.

        `If-Match` takes the server's `ETag`.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_server_credential.call(
                server_id,
                if_match=if_match,
            )
        )

    def list_credentials(
        self,
        server_id: str,
        *,
        page_size: int | None = None,
    ) -> AsyncListing[UpstreamCredential]:
        """List the credentials of a server, its own and those of identities, newest first.

        Needs the permission `servers.read`.

        Args:
            server_id: The id of a server.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_server_credentials.call(
                server_id,
                limit=page_size,
                cursor=cursor,
            )
        )

    async def set_identity_credential(
        self,
        server_id: str,
        identity_id: str,
        body: BearerCredential
        | EnvCredential
        | HeaderCredential
        | NoCredential
        | OAuthClientCredential
        | JsonObject,
        *,
        if_match: int | str | None = None,
    ) -> UpstreamCredential:
        """Set the credential for one identity's calls to a server, instead of the server's own.

        `If-Match` takes the server's `ETag`.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _set_identity_credential.call(
                server_id,
                identity_id,
                body,
                if_match=if_match,
            )
        )

    async def delete_identity_credential(
        self,
        server_id: str,
        identity_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """Remove the credential of one identity: its calls carry the server's own.

        `If-Match` takes the server's `ETag`.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_identity_credential.call(
                server_id,
                identity_id,
                if_match=if_match,
            )
        )

    async def get_instructions(
        self,
        server_id: str,
    ) -> ServerInstructions:
        """Read the instructions of a server: the latest text and the approved one that clients get.

        Needs the permission `servers.read`.

        Args:
            server_id: The id of a server.
        """
        return await self._send(
            _get_server_instructions.call(
                server_id,
            )
        )

    async def approve_instructions(
        self,
        server_id: str,
        *,
        digest: str,
        if_match: int | str | None = None,
    ) -> ServerInstructions:
        """Approve the instructions of a server, the text with this digest.

        Clients that reach the whole server get them. `If-Match` takes the server's `ETag`.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            digest: SHA-256 of the text, in hexadecimal.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _approve_server_instructions.call(
                server_id,
                {
                    "digest": digest,
                },
                if_match=if_match,
            )
        )

    async def sync(
        self,
        server_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Server:
        """Read the server's tools.

        A failed sync also returns 200, with `sync.state` `error` and the reason, and changes
        nothing else. One that takes longer than 2 seconds returns 202 and continues.

        Needs the permission `servers.write`.

        Args:
            server_id: The id of a server.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _sync_server.call(
                server_id,
                if_match=if_match,
            )
        )
