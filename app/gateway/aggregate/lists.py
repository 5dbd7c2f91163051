"""Lists on ``/mcp``: the live lists of all servers in reach, filtered, in the order of their slugs.

A page ends where a page of a server ends. Its cursor contains the next position, so that any worker can continue
without a store. The cursor is sealed for this token and list.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic
from typing import Any
from uuid import UUID

import mcp_types as types
from mcp_types.jsonrpc import METHOD_NOT_FOUND
from pydantic import BaseModel, ValidationError

from app.domain.objects import Part
from app.gateway.access_check import AccessCheck
from app.gateway.aggregate.calls import Caller, translate_upstream_error
from app.gateway.aggregate.routes import is_uri, join_name, join_uri
from app.gateway.aggregate.sessions import Connection, UpstreamSessions
from app.gateway.limits import CallLimits
from app.gateway.pipeline import Cut, Denied, GatewayRequest, InFlightCall, Pipeline
from app.gateway.results import filter_tools, make_private
from app.gateway.sealed_ids import FLEET, SessionSealer
from app.gateway.wire.answers import dump, filter_item, parse, target_secrets
from app.gateway.wire.exchange import ClientWatch, result_body
from app.gateway.wire.messages import Headers, Message
from app.gateway.wire.refusals import Refused, invalid_params
from app.lib import strict_json
from app.lib.event_loop import MAX_UNCOUNTED_BYTES, off_loop
from app.lib.secret_matcher import SecretMatcher
from app.outbound.http import VIA, NotForwarded
from app.outbound.mcp.exchange import McpUpstreamError

PAGE_ITEMS = 1000
"""A page with this many items is complete."""
MAX_PAGES = 100
"""Pages of one server per page of ``/mcp``."""
MAX_BYTES = 8 * 1024 * 1024
"""Bytes of one server per page of ``/mcp``. Sixteen hostile servers at a time must not exhaust the memory."""
MAX_TAKEN = 10_000
"""Items of one server in total, because a hostile list may never end."""
MAX_CURSOR = 4096
_MAX_SEALED = 16 * 1024


@dataclass(frozen=True, slots=True)
class ListPosition:
    """The position in a list: a server, its own cursor, and the number of its items before."""

    slug: str
    cursor: str | None = None
    taken: int = 0


@dataclass(slots=True)
class ServerPage:
    """The items of one server for a page, the next position, and a reason if something is missing."""

    items: list[Any]
    next_position: ListPosition | None = None
    reason: str | None = None
    size: int = 0


class Cursors:
    """The cursors of one list for one token."""

    def __init__(self, sealer: SessionSealer, token_id: UUID, message: Message) -> None:
        self._sealer = sealer
        self._token_id = token_id
        self._message = message
        self._purpose = f"cursor:{message.method}".encode()

    def begin(self) -> ListPosition:
        """Return the first position of the requested page. Raises ``Refused`` for a cursor of another list."""
        if "cursor" not in self._message.params:
            return ListPosition("")
        cursor, opened = self._message.params["cursor"], None
        if isinstance(cursor, str) and cursor.isascii():
            opened = self._sealer.open(self._token_id, FLEET, cursor.encode(), self._purpose, _MAX_SEALED)
        if opened is None:
            raise invalid_params("The cursor is invalid for this list and token.", self._message.modern)
        parts: Any = strict_json.loads(opened)
        return ListPosition(*parts)

    def seal(self, position: ListPosition) -> str:
        """Seal a position as a cursor for the client."""
        parts = strict_json.dumps([position.slug, position.cursor, position.taken])
        return self._sealer.seal(self._token_id, FLEET, parts, self._purpose).decode()


async def fetch_pages(
    connection: Connection,
    call: InFlightCall,
    method: str,
    key: str,
    position: ListPosition,
    headers: Headers = (),
) -> ServerPage:
    """Fetch a server's own pages from a position on, until there are enough items.

    If the call may not continue, the page ends, and its cursor continues under the next admission. Raises
    ``NotForwarded`` if that happens before the first page, and ``McpUpstreamError``: ``too_large``, or
    ``invalid_response`` for a malformed or circular list.
    """
    server_page, cursor, taken = ServerPage([]), position.cursor, position.taken
    before_send, seen = call.may_start, {position.cursor}
    for _ in range(MAX_PAGES):
        params: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
        try:
            page, size = await _page(connection, method, params, before_send, headers)
        except NotForwarded:
            if cursor == position.cursor:
                raise
            break
        listed = page.get(key, [])
        if not isinstance(listed, list):
            raise McpUpstreamError("invalid_response", "a list is not an array")
        server_page.items += listed
        server_page.size += size
        if server_page.size > MAX_BYTES:
            raise McpUpstreamError("too_large", "the list is too large")
        cursor, taken = _next(page, seen), taken + max(1, len(listed))
        if cursor is None:
            return server_page
        if taken >= MAX_TAKEN:
            server_page.reason = "Its list is too long and was truncated."
            return server_page
        if len(server_page.items) >= PAGE_ITEMS:
            break
        before_send = call.may_continue
    server_page.next_position = ListPosition(position.slug, cursor, taken)
    return server_page


async def _page(
    connection: Connection, method: str, params: dict[str, Any], before_send: Any, headers: Headers
) -> tuple[dict[str, Any], int]:
    """Return a page and its size in bytes."""
    try:
        got = await connection.answer(
            method, params, before_send=before_send, extra_headers=headers, max_bytes=MAX_BYTES
        )
    except McpUpstreamError as error:
        if error.code == METHOD_NOT_FOUND and not params:
            return {}, 0  # The server does not have this part.
        raise
    return dict(got.result), got.size


def _next(page: dict[str, Any], seen: set[str | None]) -> str | None:
    cursor = page.get("nextCursor")
    if cursor is None or cursor == "":
        return None
    if not isinstance(cursor, str) or len(cursor) > MAX_CURSOR or cursor in seen:
        raise McpUpstreamError("invalid_response", "the pages of a list do not end")
    seen.add(cursor)
    return cursor


UNREACHABLE_KEY = "io.scopegate/unreachable"
LIST_SECONDS = 10.0
"""How long to wait for one server. After this time, a page does not query more servers."""
MAX_AT_ONCE = 16
PAGE_BYTES = 4 * 1024 * 1024
_TIMED_OUT = "It did not answer in time."
_INVALID_ITEMS = "Some of its items are invalid and were left out."


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of list. ``name_key`` is the member with the name or URI of an item."""

    action: str
    key: str
    name_key: str
    join: Callable[[str, str], str]
    model: type[BaseModel]
    part: Part | None = None


KINDS: Mapping[str, Kind] = {
    "tools/list": Kind("tools.list", "tools", "name", join_name, types.Tool),
    "prompts/list": Kind("prompts.list", "prompts", "name", join_name, types.Prompt, Part.PROMPTS),
    "resources/list": Kind("resources.list", "resources", "uri", join_uri, types.Resource, Part.RESOURCES),
    "resources/templates/list": Kind(
        "resources.list", "resourceTemplates", "uriTemplate", join_uri, types.ResourceTemplate, Part.RESOURCES
    ),
}


@dataclass(slots=True)
class _Page:
    items: list[Any] = field(default_factory=list)
    size: int = 0
    next_position: ListPosition | None = None
    reasons: list[dict[str, str]] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.items) >= PAGE_ITEMS or self.size >= PAGE_BYTES

    def take(self, slug: str, part: ServerPage) -> None:
        if self.full:
            self.next_position = self.next_position or ListPosition(slug)
            return
        self.items += part.items
        self.size += part.size
        if part.reason is not None:
            self.reasons.append({"server": slug, "reason": part.reason})
        self.next_position = part.next_position


@dataclass(frozen=True, slots=True)
class AggregateList:
    """One page of one list. The request to each server is admitted separately."""

    pipeline: Pipeline
    upstreams: UpstreamSessions
    limits: CallLimits
    caller: Caller
    kind: Kind
    cursors: Cursors
    begin: ListPosition

    async def forward(self, call: InFlightCall) -> str:
        """Query the servers in reach concurrently, and answer with their items. ``_meta`` lists failed servers."""
        message, exchange = self.caller.message, self.caller.exchange
        with ClientWatch(exchange, call, message.modern):
            page = await self._page(call)
        result: dict[str, Any] = {self.kind.key: page.items}
        if page.next_position is not None:
            result["nextCursor"] = self.cursors.seal(page.next_position)
        if page.reasons:
            result["_meta"] = {UNREACHABLE_KEY: page.reasons}
        if message.modern:
            result["resultType"] = "complete"
            make_private(result)
        large = page.size > MAX_UNCOUNTED_BYTES
        body = await off_loop(result_body, message.id, result) if large else result_body(message.id, result)
        await exchange.answer(200, body)
        return "success"

    async def _page(self, call: InFlightCall) -> _Page:
        page, slugs, until = _Page(), self._slugs(call), monotonic() + LIST_SECONDS
        following = list(islice(slugs, MAX_AT_ONCE))
        while following:
            asked = following
            self.limits.charge(call.view.token, len(asked))
            parts = await _gather([self._part(call, slug) for slug in asked])
            for slug, part in zip(asked, parts, strict=True):
                if page.next_position is None:
                    page.take(slug, part)
            if page.next_position is not None:
                break
            following = list(islice(slugs, MAX_AT_ONCE))
            if following and (page.full or monotonic() >= until):
                page.next_position = ListPosition(following[0])
                break
        return page

    def _slugs(self, call: InFlightCall) -> Iterator[str]:
        """Yield the servers in reach. They are decided lazily, because a page needs few servers of a large fleet."""
        view, at = call.view, self.pipeline.store.now()
        for slug in sorted(server.slug for server in view.within()):
            if slug >= self.begin.slug and self._access(slug).reevaluate(view, at).allowed:
                yield slug

    def _access(self, slug: str) -> AccessCheck:
        return AccessCheck(
            self.kind.action,
            slug,
            self.caller.exchange.address,
            lists=self.kind.part is None,
            part=self.kind.part,
            session_id=self.caller.session_id,
        )

    async def _part(self, call: InFlightCall, slug: str) -> ServerPage:
        """Fetch one server's items for the page, with their names on ``/mcp``."""
        server_page, caller = ServerPage([]), self.caller
        request = GatewayRequest(caller.exchange, call.view, self._access(slug), caller.message.method)
        try:
            async for part in self.pipeline.admitted(request):
                async with part, asyncio.timeout(LIST_SECONDS):
                    server_page = await self._fetch(part)
                    part.outcome = "success"
        except (Denied, Cut):
            return ServerPage([])
        except TimeoutError:
            return ServerPage([], reason=_TIMED_OUT)
        except Refused as refused:
            if refused.status in {502, 503, 504}:
                return ServerPage([], reason=refused.message)
            raise
        return server_page

    async def _fetch(self, part: InFlightCall) -> ServerPage:
        key = (self.caller.session_id or part.view.token.id, part.server.id)
        position = self.begin if self.begin.slug == part.server.slug else ListPosition(part.server.slug)
        method, modern = self.caller.message.method, self.caller.message.modern
        try:
            async with self.upstreams.use(
                key,
                part.target,
                modern=modern,
                before_send=part.may_start,
                before_next=part.may_continue,
                caller=part.view.token.identity.id.int,
            ) as connection:
                via = self.upstreams.loops.header(self.caller.exchange.headers.get(VIA))
                server_page = await fetch_pages(connection, part, method, self.kind.key, position, (via,))
        except McpUpstreamError as error:
            if error.kind == "session_lost":
                raise NotForwarded from None
            raise translate_upstream_error(error) from None
        if server_page.size > MAX_UNCOUNTED_BYTES:
            await off_loop(self._show, server_page, part)
        else:
            self._show(server_page, part)
        return server_page

    def _show(self, server_page: ServerPage, part: InFlightCall) -> None:
        """Filter and rename the items, and redact the upstream credential."""
        if self.kind.part is None:
            result = {"tools": server_page.items}
            filter_tools(result, part.server, part.names, self.pipeline.store)
            server_page.items = result["tools"]
        self._name(server_page, part.server.slug)
        server_page.items = _redact(server_page.items, target_secrets(part.target))

    def _name(self, server_page: ServerPage, slug: str) -> None:
        """Give the items their names on ``/mcp``, without duplicates and invalid items."""
        by_name: dict[str, Any] = {}
        for item in server_page.items:
            if _is_valid(item, self.kind):
                name = self.kind.join(slug, item[self.kind.name_key])
                kept = item if self.kind.part is None else filter_item(self.kind.key, item)
                by_name.setdefault(name, {**kept, self.kind.name_key: name})
            else:
                server_page.reason = server_page.reason or _INVALID_ITEMS
        server_page.items = list(by_name.values())


def _is_valid(item: Any, kind: Kind) -> bool:
    """Whether an item is valid. Strict clients reject a whole list with one invalid item."""
    try:
        kind.model.model_validate(item, by_name=False)
    except ValidationError:
        return False
    return kind.name_key != "uri" or is_uri(item["uri"])


async def _gather(parts: Sequence[Coroutine[Any, Any, ServerPage]]) -> list[ServerPage]:
    """Return all results in order. On failure or cancellation, cancel the rest."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _redact(items: list[Any], secrets: SecretMatcher) -> list[Any]:
    raw = dump(items)
    if not secrets.is_in(raw):
        return items
    clean: list[Any] = parse(secrets.redact(raw))
    return clean
