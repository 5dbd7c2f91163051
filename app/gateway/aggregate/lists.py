"""Lists on ``/mcp``: the live lists of all servers in reach, filtered, in the order of their slugs.

A page ends where a page of a server does. Its cursor says where the next begins, so that any worker goes on from
there without a store; it is sealed, for this token and this list alone.
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

from app.admission.store import SyncRequests
from app.domain.objects import Part as ServerPart
from app.gateway.access_request import AccessRequest
from app.gateway.aggregate.calls import Caller, upstream_refused
from app.gateway.aggregate.routes import is_uri, joined_name, joined_uri
from app.gateway.aggregate.sessions import Connection, UpstreamSessions
from app.gateway.limits import CallLimits
from app.gateway.pipeline import Cut, Denied, GatewayRequest, InFlightCall, Pipeline
from app.gateway.relay import Watch
from app.gateway.results import filter_tools, make_private
from app.gateway.sealed_ids import FLEET, SessionSealer
from app.gateway.wire.answers import REDACTED, dump, kept_item, parse, secrets_of
from app.gateway.wire.exchange import result_body
from app.gateway.wire.messages import Headers, Message
from app.gateway.wire.refusals import Refused, invalid_params
from app.lib import strict_json
from app.lib.event_loop import MAX_UNCOUNTED_BYTES, off_loop
from app.outbound.http import VIA, NotForwarded
from app.outbound.mcp import McpUpstreamError

PAGE_ITEMS = 1000
"""Once a page has so many, it goes on in the next."""
MAX_PAGES = 100
"""Of one server for one page of ours."""
MAX_BYTES = 8 * 1024 * 1024
"""Of one server for one page of ours: sixteen hostile ones at once must not fill the memory."""
MAX_TAKEN = 10_000
"""Of one server in all: a list that never ends does."""
MAX_CURSOR = 4096
_MAX_SEALED = 16 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where a list goes on: at which of its server's own cursors, after how many items of that server."""

    slug: str
    cursor: str | None = None
    taken: int = 0


@dataclass(slots=True)
class Part:
    """What one server had for a page: items, where it goes on, and a plain reason when it is not as it should be."""

    items: list[Any]
    goes_on: Place | None = None
    reason: str | None = None
    size: int = 0


class Cursors:
    """Our cursors of one list of one token."""

    def __init__(self, sealer: SessionSealer, token_id: UUID, message: Message) -> None:
        self._sealer = sealer
        self._token_id = token_id
        self._message = message
        self._purpose = f"cursor:{message.method}".encode()

    def begin(self) -> Place:
        """Where the page that is asked for begins. Raises ``Refused`` for a cursor that is not of this list."""
        if "cursor" not in self._message.params:
            return Place("")
        cursor, opened = self._message.params["cursor"], None
        if isinstance(cursor, str) and cursor.isascii():
            opened = self._sealer.open(self._token_id, FLEET, cursor.encode(), self._purpose, _MAX_SEALED)
        if opened is None:
            raise invalid_params("The cursor is of no list that this token was shown.", self._message.modern)
        slug, own, taken = _parts(opened)
        return Place(slug, own, taken)

    def seal(self, place: Place) -> str:
        """The cursor that the client is shown."""
        parts = strict_json.dumps([place.slug, place.cursor, place.taken])
        return self._sealer.seal(self._token_id, FLEET, parts, self._purpose).decode()


def _parts(opened: bytes) -> tuple[str, str | None, int]:
    parts: Any = strict_json.loads(opened)
    slug, own, taken = parts
    return slug, own, taken


async def follow(
    connection: Connection, call: InFlightCall, method: str, key: str, place: Place, headers: Headers = ()
) -> Part:
    """A server's own pages from a place on, until there are enough.

    What cannot be confirmed to be allowed still ends the page here; its cursor goes on under the next admission.
    Raises ``NotForwarded`` when that was so before the first page, and ``McpUpstreamError``: ``too_large``, or
    ``invalid_response`` for what is no list or goes in a circle.
    """
    found, cursor, taken = Part([]), place.cursor, place.taken
    before_send, seen = call.may_start, {place.cursor}
    for _ in range(MAX_PAGES):
        params: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
        try:
            page, size = await _page(connection, method, params, before_send, headers)
        except NotForwarded:
            if cursor == place.cursor:
                raise
            break
        listed = page.get(key, [])
        if not isinstance(listed, list):
            raise McpUpstreamError("invalid_response", "a list is no list")
        found.items += listed
        found.size += size
        if found.size > MAX_BYTES:
            raise McpUpstreamError("too_large", "the list is too large")
        cursor, taken = _next(page, seen), taken + max(1, len(listed))
        if cursor is None:
            return found
        if taken >= MAX_TAKEN:
            found.reason = "Its list is too long and was cut off."
            return found
        if len(found.items) >= PAGE_ITEMS:
            break
        before_send = call.may_go_on
    found.goes_on = Place(place.slug, cursor, taken)
    return found


async def _page(
    connection: Connection, method: str, params: dict[str, Any], before_send: Any, headers: Headers
) -> tuple[dict[str, Any], int]:
    """With the bytes that it took."""
    try:
        got = await connection.answer(
            method, params, before_send=before_send, extra_headers=headers, max_bytes=MAX_BYTES
        )
    except McpUpstreamError as error:
        if error.code == METHOD_NOT_FOUND and not params:
            return {}, 0  # A server without this part.
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
"""How long one server is waited for. A page that took so long asks no further servers."""
MAX_AT_ONCE = 16
PAGE_BYTES = 4 * 1024 * 1024
_NOT_IN_TIME = "It did not answer in time."
_NOT_ACCEPTABLE = "Some of what it lists is not acceptable and was left out."


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the lists. ``named`` is the member that says what an item is called."""

    action: str
    key: str
    named: str
    joined: Callable[[str, str], str]
    model: type[BaseModel]
    part: ServerPart | None = None


KINDS: Mapping[str, Kind] = {
    "tools/list": Kind("tools.list", "tools", "name", joined_name, types.Tool),
    "prompts/list": Kind("prompts.list", "prompts", "name", joined_name, types.Prompt, ServerPart.PROMPTS),
    "resources/list": Kind(
        "resources.list", "resources", "uri", joined_uri, types.Resource, ServerPart.RESOURCES
    ),
    "resources/templates/list": Kind(
        "resources.list",
        "resourceTemplates",
        "uriTemplate",
        joined_uri,
        types.ResourceTemplate,
        ServerPart.RESOURCES,
    ),
}


@dataclass(slots=True)
class _Page:
    items: list[Any] = field(default_factory=list)
    size: int = 0
    goes_on: Place | None = None
    reasons: list[dict[str, str]] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.items) >= PAGE_ITEMS or self.size >= PAGE_BYTES

    def take(self, slug: str, part: Part) -> None:
        if self.full:
            self.goes_on = self.goes_on or Place(slug)
            return
        self.items += part.items
        self.size += part.size
        if part.reason is not None:
            self.reasons.append({"server": slug, "reason": part.reason})
        self.goes_on = part.goes_on


@dataclass(frozen=True, slots=True)
class AggregateList:
    """Carries one page of one list. Each server's part is an admitted request of its own."""

    pipeline: Pipeline
    upstreams: UpstreamSessions
    sync_requests: SyncRequests
    limits: CallLimits
    caller: Caller
    kind: Kind
    cursors: Cursors
    begin: Place

    async def forward(self, call: InFlightCall) -> str:
        """Ask the servers in reach, many at once, and answer with what came; a dead one is named, not waited for."""
        message, exchange = self.caller.message, self.caller.exchange
        with Watch(exchange, call, message.modern):
            page = await self._page(call)
        result: dict[str, Any] = {self.kind.key: page.items}
        if page.goes_on is not None:
            result["nextCursor"] = self.cursors.seal(page.goes_on)
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
            parts = await _all([self._part(call, slug) for slug in asked])
            for slug, part in zip(asked, parts, strict=True):
                if page.goes_on is None:
                    page.take(slug, part)
            if page.goes_on is not None:
                break
            following = list(islice(slugs, MAX_AT_ONCE))
            if following and (page.full or monotonic() >= until):
                page.goes_on = Place(following[0])
                break
        return page

    def _slugs(self, call: InFlightCall) -> Iterator[str]:
        """The servers in reach, decided as far as they are needed: of a large fleet a page takes a small part."""
        view, at = call.view, self.pipeline.snapshots.now()
        for slug in sorted(server.slug for server in view.within()):
            if slug >= self.begin.slug and self._access(slug).reevaluate(view, at).allowed:
                yield slug

    def _access(self, slug: str) -> AccessRequest:
        return AccessRequest(
            self.kind.action,
            slug,
            self.caller.exchange.address,
            lists=self.kind.part is None,
            part=self.kind.part,
            session_id=self.caller.session_id,
        )

    async def _part(self, call: InFlightCall, slug: str) -> Part:
        """What one server has for the page, under the names of here."""
        found, caller = Part([]), self.caller
        request = GatewayRequest(caller.exchange, call.view, self._access(slug), caller.message.method)
        try:
            async for part in self.pipeline.admitted(request):
                async with part, asyncio.timeout(LIST_SECONDS):
                    found = await self._fetch(part)
                    part.outcome = "success"
        except (Denied, Cut):
            return Part([])
        except TimeoutError:
            return Part([], reason=_NOT_IN_TIME)
        except Refused as refused:
            if refused.status in {502, 503, 504}:
                return Part([], reason=refused.message)
            raise
        return found

    async def _fetch(self, part: InFlightCall) -> Part:
        key = (self.caller.session_id or part.view.token.id, part.server.id)
        place = self.begin if self.begin.slug == part.server.slug else Place(part.server.slug)
        method, modern = self.caller.message.method, self.caller.message.modern
        try:
            async with self.upstreams.use(
                key,
                part.target,
                modern=modern,
                before_send=part.may_start,
                before_next=part.may_go_on,
                caller=part.view.token.identity.id.int,
            ) as connection:
                via = self.upstreams.loops.header(self.caller.exchange.headers.get(VIA))
                found = await follow(connection, part, method, self.kind.key, place, (via,))
        except McpUpstreamError as error:
            if error.kind == "session_lost":
                raise NotForwarded from None
            raise upstream_refused(error) from None
        if found.size > MAX_UNCOUNTED_BYTES:
            await off_loop(self._show, found, part)
        else:
            self._show(found, part)
        return found

    def _show(self, found: Part, part: InFlightCall) -> None:
        """Leave of what was found what may be shown, as it is here."""
        if self.kind.part is None:
            result = {"tools": found.items}
            filter_tools(result, part.server, part.names, self.sync_requests)
            found.items = result["tools"]
        self._name(found, part.server.slug)
        found.items = _without(found.items, secrets_of(part.target))

    def _name(self, found: Part, slug: str) -> None:
        """Give what was found its names of here, each once, and leave out what would spoil the list for a client."""
        named: dict[str, Any] = {}
        for item in found.items:
            if _is_acceptable(item, self.kind):
                name = self.kind.joined(slug, item[self.kind.named])
                kept = item if self.kind.part is None else kept_item(self.kind.key, item)
                named.setdefault(name, {**kept, self.kind.named: name})
            else:
                found.reason = found.reason or _NOT_ACCEPTABLE
        found.items = list(named.values())


def _is_acceptable(item: Any, kind: Kind) -> bool:
    """Whether strict clients can read it: they would take a list with one bad item for no list at all."""
    try:
        kind.model.model_validate(item, by_name=False)
    except ValidationError:
        return False
    return kind.named != "uri" or is_uri(item["uri"])


async def _all(parts: Sequence[Coroutine[Any, Any, Part]]) -> list[Part]:
    """All results in order; when one fails or we are cancelled, none is left running."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _without(items: list[Any], secrets: tuple[bytes, ...]) -> list[Any]:
    raw = dump(items)
    if not any(secret in raw for secret in secrets):
        return items
    for secret in secrets:
        raw = raw.replace(secret, REDACTED)
    clean: list[Any] = parse(raw)
    return clean
