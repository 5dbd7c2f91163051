"""``tools/list`` on ``/mcp``: the live lists of all servers in reach, filtered, in the order of their slugs."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.gateway.aggregate_calls import upstream_refused
from app.gateway.answers import REDACTED, dump, parse, secrets_of
from app.gateway.catalogue import filter_tools, make_private
from app.gateway.envelope import Message
from app.gateway.http import Exchange, result_body
from app.gateway.pipeline import Ask, Cut, Denied, Flight, Passed, Pipeline
from app.gateway.ports import SyncRequests
from app.gateway.refusals import Refused
from app.gateway.relay import Watch
from app.gateway.upstream_sessions import Connection, UpstreamSessions
from app.kit.mcp_upstream import McpUpstreamError
from app.kit.outbound import NotForwarded

UNREACHABLE_KEY = "io.scopegate/unreachable"
LIST_SECONDS = 10.0
MAX_PAGES = 100
MAX_BYTES = 8 * 1024 * 1024
"""Of all pages of one upstream together: sixteen hostile ones at once must not fill the memory."""
MAX_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class AggregateList:
    """Carries one list. Each server's part is an admitted request of its own."""

    pipeline: Pipeline
    upstreams: UpstreamSessions
    sync_requests: SyncRequests
    exchange: Exchange
    message: Message
    session_id: UUID | None

    async def forward(self, passed: Passed) -> str:
        """Ask all servers in reach at once and answer with what came; a dead one is named, not waited for."""
        asked = asyncio.Semaphore(MAX_AT_ONCE)
        at = self.pipeline.snapshots.now()
        slugs = [
            slug for slug in sorted(passed.view.servers) if self._ask(slug).redecide(passed.view, at).allowed
        ]
        with Watch(self.exchange, passed.flight, self.message.modern):
            parts = await _all([self._part(passed, slug, asked) for slug in slugs])
        tools = [tool for part in parts if part is not None for tool in part]
        result: dict[str, Any] = {"tools": tools}
        unreachable = [slug for slug, part in zip(slugs, parts, strict=True) if part is None]
        if unreachable:
            result["_meta"] = {UNREACHABLE_KEY: unreachable}
        if self.message.modern:
            result["resultType"] = "complete"
            make_private(result)
        await self.exchange.answer(200, result_body(self.message.id, result))
        return "success"

    def _ask(self, slug: str) -> Ask:
        return Ask(
            "tools.list", "tools/list", slug, self.exchange.address, lists=True, session_id=self.session_id
        )

    async def _part(self, passed: Passed, slug: str, asked: asyncio.Semaphore) -> list[Any] | None:
        """One server's visible tools under their aggregate names; ``None`` when it did not answer."""
        found: list[Any] = []

        async def forward(part: Passed) -> str:
            async with asyncio.timeout(LIST_SECONDS):
                found.extend(await self._fetch(part))
            return "success"

        async with asked:
            try:
                await self.pipeline.run(self.exchange, passed.view, self._ask(slug), forward)
            except (Denied, Cut):
                return []
            except TimeoutError:
                return None
            except Refused as refused:
                if refused.status in {502, 503, 504}:
                    return None
                raise
        return found

    async def _fetch(self, part: Passed) -> list[Any]:
        key = (self.session_id or part.view.token.id, part.on.id)
        may_start = part.flight.may_start
        try:
            async with self.upstreams.use(
                key, part.to, modern=self.message.modern, before_send=may_start
            ) as connection:
                result = {"tools": await _all_pages(connection, part.flight)}
        except McpUpstreamError as error:
            if error.kind == "session_lost":
                raise NotForwarded from None
            raise upstream_refused(error) from None
        filter_tools(result, part.on, part.names, self.sync_requests)
        tools = [{**tool, "name": f"{part.on.slug}__{tool['name']}"} for tool in result["tools"]]
        return _without(tools, secrets_of(part.to))


async def _all(parts: Sequence[Coroutine[Any, Any, list[Any] | None]]) -> list[list[Any] | None]:
    """All results in order; when one fails or we are cancelled, none is left running."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _all_pages(connection: Connection, flight: Flight) -> list[Any]:
    """Every page of one upstream. Only the first is guarded by the admission's age."""
    tools: list[Any] = []
    size = 0
    params: dict[str, Any] = {}
    before_send = flight.may_start
    for _ in range(MAX_PAGES):
        page = await connection.request("tools/list", params, before_send=before_send)
        listed = page.get("tools")
        tools += listed if isinstance(listed, list) else []
        size += len(dump(listed))
        if size > MAX_BYTES:
            raise McpUpstreamError("too_large", "The list of tools is too large.")
        cursor = page.get("nextCursor")
        if not isinstance(cursor, str) or not cursor:
            break
        params = {"cursor": cursor}
        before_send = flight.not_cut
    return tools


def _without(tools: list[Any], secrets: tuple[bytes, ...]) -> list[Any]:
    raw = dump(tools)
    if not any(secret in raw for secret in secrets):
        return tools
    for secret in secrets:
        raw = raw.replace(secret, REDACTED)
    clean: list[Any] = parse(raw)
    return clean
