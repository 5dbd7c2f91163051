"""Lists on ``/mcp``: the live lists of all servers in reach, filtered, in the order of their slugs."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic
from typing import Any

import mcp_types as types
from pydantic import BaseModel, ValidationError

from app.admission.store import SyncRequests
from app.domain.objects import Part as ServerPart
from app.gateway.aggregate.calls import Caller, upstream_refused
from app.gateway.aggregate.names import is_uri, joined_name, joined_uri
from app.gateway.aggregate.pages import PAGE_ITEMS, Cursors, Part, Place, follow
from app.gateway.asking import Ask
from app.gateway.catalogue import filter_tools, make_private
from app.gateway.limits import CallLimits
from app.gateway.pipeline import Cut, Denied, Passed, Pipeline
from app.gateway.relay import Watch
from app.gateway.upstream_sessions import UpstreamSessions
from app.gateway.wire.answers import REDACTED, dump, parse, secrets_of
from app.gateway.wire.http import result_body
from app.gateway.wire.members import kept_item
from app.gateway.wire.refusals import Refused
from app.lib.event_loop import SOON_BYTES, off_loop
from app.outbound.http import VIA, NotForwarded
from app.outbound.mcp import McpUpstreamError

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

    async def forward(self, passed: Passed) -> str:
        """Ask the servers in reach, many at once, and answer with what came; a dead one is named, not waited for."""
        message, exchange = self.caller.message, self.caller.exchange
        with Watch(exchange, passed.flight, message.modern):
            page = await self._page(passed)
        result: dict[str, Any] = {self.kind.key: page.items}
        if page.goes_on is not None:
            result["nextCursor"] = self.cursors.seal(page.goes_on)
        if page.reasons:
            result["_meta"] = {UNREACHABLE_KEY: page.reasons}
        if message.modern:
            result["resultType"] = "complete"
            make_private(result)
        large = page.size > SOON_BYTES
        body = await off_loop(result_body, message.id, result) if large else result_body(message.id, result)
        await exchange.answer(200, body)
        return "success"

    async def _page(self, passed: Passed) -> _Page:
        page, slugs, until = _Page(), self._slugs(passed), monotonic() + LIST_SECONDS
        following = list(islice(slugs, MAX_AT_ONCE))
        while following:
            asked = following
            self.limits.charge(passed.view.token, len(asked))
            parts = await _all([self._part(passed, slug) for slug in asked])
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

    def _slugs(self, passed: Passed) -> Iterator[str]:
        """The servers in reach, decided as far as they are needed: of a large fleet a page takes a small part."""
        view, at = passed.view, self.pipeline.snapshots.now()
        for slug in sorted(server.slug for server in view.within()):
            if slug >= self.begin.slug and self._ask(slug).redecide(view, at).allowed:
                yield slug

    def _ask(self, slug: str) -> Ask:
        return Ask(
            self.kind.action,
            self.caller.message.method,
            slug,
            self.caller.exchange.address,
            lists=self.kind.part is None,
            part=self.kind.part,
            session_id=self.caller.session_id,
        )

    async def _part(self, passed: Passed, slug: str) -> Part:
        """What one server has for the page, under the names of here."""
        found = Part([])

        async def forward(part: Passed) -> str:
            nonlocal found
            async with asyncio.timeout(LIST_SECONDS):
                found = await self._fetch(part)
            return "success"

        try:
            await self.pipeline.run(self.caller.exchange, passed.view, self._ask(slug), forward)
        except (Denied, Cut):
            return Part([])
        except TimeoutError:
            return Part([], reason=_NOT_IN_TIME)
        except Refused as refused:
            if refused.status in {502, 503, 504}:
                return Part([], reason=refused.message)
            raise
        return found

    async def _fetch(self, part: Passed) -> Part:
        key = (self.caller.session_id or part.view.token.id, part.on.id)
        place = self.begin if self.begin.slug == part.on.slug else Place(part.on.slug)
        method, modern = self.caller.message.method, self.caller.message.modern
        try:
            async with self.upstreams.use(
                key,
                part.to,
                modern=modern,
                before_send=part.flight.may_start,
                before_next=part.flight.may_go_on,
                caller=part.view.token.identity.id.int,
            ) as connection:
                via = self.upstreams.loops.header(self.caller.exchange.headers.get(VIA))
                found = await follow(connection, part.flight, method, self.kind.key, place, (via,))
        except McpUpstreamError as error:
            if error.kind == "session_lost":
                raise NotForwarded from None
            raise upstream_refused(error) from None
        if found.size > SOON_BYTES:
            await off_loop(self._show, found, part)
        else:
            self._show(found, part)
        return found

    def _show(self, found: Part, part: Passed) -> None:
        """Leave of what was found what may be shown, as it is here."""
        if self.kind.part is None:
            result = {"tools": found.items}
            filter_tools(result, part.on, part.names, self.sync_requests)
            found.items = result["tools"]
        self._name(found, part.on.slug)
        found.items = _without(found.items, secrets_of(part.to))

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
