"""The operations of access, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.access_explanation import AccessExplanation
from ...models.asked_arguments import AskedArguments
from ...models.asking_client import AskingClient
from ...models.server_part import ServerPart
from ...types import UNSET, Unset
from . import explain_access as _explain_access


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
