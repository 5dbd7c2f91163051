"""The pages of lists on ``/mcp``: cursors of our own over the lists of many servers, and what is followed of theirs.

A page ends where a page of a server does. Its cursor says where the next begins, so that any worker goes on from
there without a store; it is sealed, for this token and this list alone.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mcp_types.jsonrpc import METHOD_NOT_FOUND

from app.gateway.pipeline import Flight
from app.gateway.sessions import FLEET, SessionSealer
from app.gateway.upstream_sessions import Connection
from app.gateway.wire.envelope import Message
from app.gateway.wire.parameter_headers import Headers
from app.gateway.wire.refusals import invalid_params
from app.lib import strict_json
from app.outbound.http import NotForwarded
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
    connection: Connection, flight: Flight, method: str, key: str, place: Place, headers: Headers = ()
) -> Part:
    """A server's own pages from a place on, until there are enough.

    What cannot be confirmed to be allowed still ends the page here; its cursor goes on under the next admission.
    Raises ``NotForwarded`` when that was so before the first page, and ``McpUpstreamError``: ``too_large``, or
    ``invalid_response`` for what is no list or goes in a circle.
    """
    found, cursor, taken = Part([]), place.cursor, place.taken
    before_send, seen = flight.may_start, {place.cursor}
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
        before_send = flight.may_go_on
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
