"""Telling of changes as they happen: server-sent events, of the API and of the pages alike.

Whatever changes anything is in the audit trail. So one look each second, shared by all streams of a worker, says
whether anything is new, and only then does each stream look for what is new to it. No stream holds a connection to
the database while its client reads, and none tells anything that its caller may not know any more: who it is is asked
again at each look.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from fastapi import Request
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.db.engine import CONNECTION_ERRORS, database_unavailable
from app.domain.errors import DomainError, Unavailable
from app.http.authorization import Authenticator, Caller, Permission, authorize
from app.http.rate_limits import Slots
from app.lib.logs import log_fault
from app.lib.sse import encode_event

MEDIA_TYPE = "text/event-stream"
MOST_STREAMS = 256
"""Of one worker."""
MOST_STREAMS_OF_CALLER = 16
MOST_DOWNLOADS = 8
MOST_DOWNLOADS_OF_CALLER = 2
LOOK_EVERY_S = 1.0
QUIET_S = 15.0
"""After so long without news a stream says that it is alive, and asks whether its caller still may listen."""
PATIENCE_S = 10.0
"""For a database that is away; then the stream ends."""
_RETRY_S = 1.0
# The streams of a worker must leave connections to whoever asks for something.
_LOOKS_AT_ONCE = 3
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# A client that lost its stream comes back after so many milliseconds.
_OPENING = b"retry: 3000\r\n: open\r\n\r\n"
_QUIET = b": quiet\r\n\r\n"
_AWAY = (Unavailable, *CONNECTION_ERRORS)
_log = logging.getLogger(__name__)

Sessions = async_sessionmaker[AsyncSession]

_WRITTEN = text("SELECT last_value + is_called::int FROM audit_events_seq")
_MOST_SETTLING = 10_000
"""While more events wait for an old transaction, they are not all counted each second: any look may find something."""
_SETTLING = text("""
WITH now AS (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest)
SELECT now.oldest, count(e.xact) AS seen, count(e.xact) FILTER (WHERE e.xact >= now.oldest) AS waiting
FROM now LEFT JOIN LATERAL (
    SELECT xact FROM audit_events
    WHERE epoch = (SELECT scopegate_epoch()) AND xact >= coalesce(CAST(:floor AS bigint), now.oldest)
    LIMIT :most
) e ON true
GROUP BY now.oldest
""")
_ONE_SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_TAKE_SNAPSHOT = text("SELECT 1")


@dataclass(slots=True)
class _Trail:
    """What was seen of the trail at the last look."""

    # How many events were begun, committed or not.
    written: int | None = None
    # The oldest transaction that was open, and how many events from it on could be seen: they wait for it, since
    # whoever reads in order stops there. Not known while events are begun at each look.
    floor: int | None = None
    waiting: int = 0

    async def is_new(self, session: AsyncSession) -> bool:
        """Take one look; whether a reader may find something that it could not find at the look before."""
        written = (await session.execute(_WRITTEN)).scalar_one()
        if written != self.written:
            self.written, self.floor = written, None
            return True
        # Nothing was begun since; what was begun before may have been committed, or need to wait no more.
        values = {"floor": self.floor, "most": _MOST_SETTLING}
        row = (await session.execute(_SETTLING, values)).one()
        is_counted = self.floor is not None and row.seen < _MOST_SETTLING
        is_new = not is_counted or row.seen != self.waiting or row.waiting != row.seen
        self.floor, self.waiting = row.oldest, row.waiting
        return is_new


class Pulse:
    """One look each second while anybody wants to know, and a beat whenever there is something new."""

    def __init__(self, sessions: Sessions) -> None:
        self.beats = 0
        self._sessions = sessions
        self._trail = _Trail()
        self._watching = 0
        self._wanted = asyncio.Event()
        self._beat = asyncio.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have it look, around a block."""
        self._watching += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._watching -= 1
            if not self._watching:
                self._wanted.clear()

    async def wait(self, beats: int, within_s: float) -> bool:
        """Whether it beat again since it had beaten so often: at once when it did, False when the time was up."""
        if self.beats == beats:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._beat.wait()
        return self.beats != beats

    async def run(self) -> None:
        """Look until cancelled; a database that is away has no news."""
        while True:
            await self._wanted.wait()
            with suppress(SQLAlchemyError, *_AWAY):
                await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Take one look, and beat if there is something new. Raises what the database raises."""
        async with self._sessions() as session:
            is_new = await self._trail.is_new(session)
        if is_new:
            self.beats += 1
            self._beat.set()
            self._beat = asyncio.Event()


@dataclass(frozen=True, slots=True)
class News:
    """What one look found: whole events of the stream, whether there is more at once, and whether that was all."""

    events: Sequence[bytes] = ()
    more: bool = False
    is_last: bool = False


class Look(Protocol):
    """Looks for what is new since it looked last, in one snapshot of the database. It cannot write."""

    def __call__(self, session: AsyncSession, caller: Caller, /) -> Awaitable[News]: ...


def live_event(data: Any, *, id: str | None = None, name: str | None = None) -> bytes:
    """One event of a stream. ``data`` is a text (HTML for pages), or whatever JSON can say. Without a name it is a
    ``message``, which htmx puts into the page; to one with a name, pages listen by it."""
    content = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return encode_event(
        content.encode(), None if id is None else id.encode(), name=None if name is None else name.encode()
    )


def goes_on(request: Request) -> bool:
    """Whether a request was let in before, and who it is of is asked again while it is answered."""
    return bool(getattr(request.state, "goes_on", False))


@dataclass(frozen=True, slots=True)
class _Watch:
    """One stream: whose it is, how to ask again who that is, and what it looks for."""

    request: Request
    caller: Caller
    authenticate: Authenticator
    permission: Permission
    look: Look

    async def ask(self, session: AsyncSession) -> Caller:
        # Nobody does anything: no session stays awake by this, and nothing is recorded once more.
        self.request.state.goes_on = True
        caller = await self.authenticate(self.request, session)
        authorize(caller, self.permission)
        return caller


@dataclass(slots=True)
class Live:
    """The streams of one worker."""

    sessions: Sessions
    pulse: Pulse = field(init=False)
    _room: asyncio.Semaphore = field(init=False)
    _streams: Slots = field(init=False)
    _downloads: Slots = field(init=False)

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.sessions)
        self._room = asyncio.Semaphore(_LOOKS_AT_ONCE)
        self._streams = Slots(
            "live streams", "too_many_streams", most=MOST_STREAMS, most_of_caller=MOST_STREAMS_OF_CALLER
        )
        self._downloads = Slots(
            "exports", "too_many_exports", most=MOST_DOWNLOADS, most_of_caller=MOST_DOWNLOADS_OF_CALLER
        )

    def stream(
        self,
        request: Request,
        caller: Caller,
        permission: Permission,
        authenticate: Authenticator,
        look: Look,
    ) -> StreamingResponse:
        """The answer to a request of ``caller``: what ``look`` finds, at once and then whenever something is new.

        It ends with an event ``ended`` that says a code when the caller's right has ended. Raises
        ``TooManyRequests`` where the caller, or this worker, has as many streams as it may.
        """
        self._streams.check(caller)
        events = self._events(_Watch(request, caller, authenticate, permission, look))
        return _Stream(events, media_type=MEDIA_TYPE, headers=_HEADERS)

    def download(
        self,
        request: Request,
        caller: Caller,
        permission: Permission,
        authenticate: Authenticator,
        look: Look,
        headers: Mapping[str, str],
    ) -> StreamingResponse:
        """The answer to a request for more than fits into memory: what one look after the other finds, up to the last.

        Where it cannot be finished it is broken off, and no client takes it for whole. Raises ``TooManyRequests`` where
        the caller, or this worker, has as many downloads as it may.
        """
        self._downloads.check(caller)
        parts = self._parts(_Watch(request, caller, authenticate, permission, look))
        return _Stream(parts, headers=headers)

    async def _events(self, watch: _Watch) -> AsyncGenerator[bytes, None]:
        try:
            # Again: others may have begun since the request was let in.
            with self._streams.held(watch.caller), self.pulse.watched():
                yield _OPENING
                async with aclosing(self._news(watch)) as news:
                    async for event in news:
                        yield event
        except DomainError as error:
            yield live_event({"code": error.code}, name="ended")
        except Exception as error:  # noqa: BLE001
            # The answer has begun: all that is left is to end it, and to say no more than that.
            log_fault(_log, "a live stream", error)
            yield live_event({"code": "internal_error"}, name="ended")

    async def _news(self, watch: _Watch) -> AsyncGenerator[bytes, None]:
        while True:
            beats = self.pulse.beats
            news = await self._asked(watch, watch.look)
            for event in news.events:
                yield event
            if news.is_last:
                return
            while not news.more and not await self.pulse.wait(beats, QUIET_S):
                await self._asked(watch, None)
                yield _QUIET

    async def _parts(self, watch: _Watch) -> AsyncGenerator[bytes, None]:
        try:
            with self._downloads.held(watch.caller):
                is_last = False
                while not is_last:
                    news = await self._asked(watch, watch.look)
                    is_last = news.is_last
                    for part in news.events:
                        yield part
        except DomainError as error:
            raise _BrokenOff from error
        except Exception as error:
            log_fault(_log, "a download", error)
            raise _BrokenOff from error

    async def _asked(self, watch: _Watch, look: Look | None) -> News:
        """Ask anew who the caller is, and look as that one. A database that is away is waited for, for a while."""
        until = time.monotonic() + PATIENCE_S
        found: News | None = None
        while found is None:
            try:
                async with self._room, self.sessions() as session:
                    # Seen as it was before the caller was asked for: what is told was there while the right was.
                    await session.connection(execution_options=_ONE_SNAPSHOT)
                    await session.execute(_TAKE_SNAPSHOT)
                    caller = await watch.ask(session)
                    found = News() if look is None else await look(session, caller)
            except _AWAY as error:
                # Where the connection ended as it was given back, another look would go on after what was found.
                if found is None:
                    if time.monotonic() > until:
                        raise database_unavailable() from error
                    await asyncio.sleep(_RETRY_S)
        return found


class _BrokenOff(Exception):
    """An answer that has begun cannot be finished."""


class _Stream(StreamingResponse):
    """Ends what makes it as soon as the client is gone, and leaves open what is broken off: the server then closes the
    connection before the end, by which every client knows."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        async with aclosing(cast("AsyncGenerator[bytes, None]", self.body_iterator)):
            with suppress(_BrokenOff):
                await super().__call__(scope, receive, send)
