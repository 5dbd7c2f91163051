"""Live streams: server-sent events about changes, for the API and for pages.

Every change is in the audit log. One query per second, shared by all streams of a worker, finds out whether there is
anything new; only then does each stream query its own news. No stream holds a database connection while its client
reads. The caller is authenticated again at each look, so that a stream shows nothing that its caller may no longer
see.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

from fastapi import Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.db.engine import database_unavailable
from app.db.jobs import OUTAGES, repeat
from app.domain.errors import DomainError
from app.http.authorization import Authenticator, Caller, Permission, authorize
from app.http.rate_limits import Slots
from app.lib.logs import log_fault
from app.lib.sse import encode_event

MEDIA_TYPE = "text/event-stream"
MAX_STREAMS = 256
"""The maximum per worker."""
MAX_STREAMS_OF_CALLER = 16
MAX_DOWNLOADS = 8
MAX_DOWNLOADS_OF_CALLER = 2
LOOK_EVERY_S = 1.0
QUIET_S = 15.0
"""The time without news after which a stream sends a keep-alive and checks the caller's right again."""
AWAY_LIMIT_S = 10.0
"""How long a stream waits for an unavailable database before it ends."""
_RETRY_S = 1.0
# The streams of a worker must leave database connections to other requests.
_MAX_LOOKS = 3
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# The delay in milliseconds after which a client reconnects.
_OPENING = b"retry: 3000\r\n: open\r\n\r\n"
_QUIET = b": quiet\r\n\r\n"
_log = logging.getLogger(__name__)

Sessions = async_sessionmaker[AsyncSession]

_WRITTEN = text("SELECT last_value + is_called::int FROM audit_events_seq")
_MAX_SETTLING = 10_000
"""If more events wait for an old transaction, they are not counted each second: any look may find news."""
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
class _LogState:
    """The state of the audit log at the last look."""

    # The number of events that were begun, committed or not.
    written: int | None = None
    # The oldest open transaction, and the number of visible events from it on: readers in order stop there, so these
    # events wait for it. Unknown while events are begun at each look.
    floor: int | None = None
    waiting: int = 0

    async def is_new(self, session: AsyncSession) -> bool:
        """Look once; return whether a reader may find something that it could not find at the previous look."""
        written = (await session.execute(_WRITTEN)).scalar_one()
        if written != self.written:
            self.written, self.floor = written, None
            return True
        # No event was begun since; earlier ones may have been committed, or no longer have to wait.
        values = {"floor": self.floor, "most": _MAX_SETTLING}
        row = (await session.execute(_SETTLING, values)).one()
        is_counted = self.floor is not None and row.seen < _MAX_SETTLING
        is_new = not is_counted or row.seen != self.waiting or row.waiting != row.seen
        self.floor, self.waiting = row.oldest, row.waiting
        return is_new


class Pulse:
    """Looks once per second while a stream is open, and beats if there is anything new."""

    def __init__(self, sessions: Sessions) -> None:
        self.beats = 0
        self._sessions = sessions
        self._log_state = _LogState()
        self._watching = 0
        self._wanted = asyncio.Event()
        self._beat = asyncio.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep looking during a block."""
        self._watching += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._watching -= 1
            if not self._watching:
                self._wanted.clear()

    async def wait(self, beats: int, within_s: float) -> bool:
        """Wait for a beat after the first ``beats``; False after ``within_s`` seconds without one."""
        if self.beats == beats:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._beat.wait()
        return self.beats != beats

    async def run(self) -> None:
        """Look until cancelled, while a stream is open."""
        await repeat("looking for news", self._look_when_watched, LOOK_EVERY_S, first_s=0)

    async def _look_when_watched(self) -> None:
        await self._wanted.wait()
        await self.look()

    async def look(self) -> None:
        """Look once, and beat if there is anything new. Raises database errors."""
        async with self._sessions() as session:
            is_new = await self._log_state.is_new(session)
        if is_new:
            self.beats += 1
            self._beat.set()
            self._beat = asyncio.Event()


@dataclass(frozen=True, slots=True)
class News:
    """The result of a look: complete events, whether more follow immediately, and whether these were the last."""

    events: Sequence[bytes] = ()
    more: bool = False
    is_last: bool = False


Look = Callable[[AsyncSession, Caller], Awaitable[News]]
"""Queries the news since the last look, in one read-only snapshot of the database."""


def live_event(data: Any, *, id: str | None = None, name: str | None = None) -> bytes:
    """Encode an event. ``data`` is a text (HTML for pages) or JSON. Without a name it is a ``message``, which htmx
    inserts into the page; pages listen to other events by name."""
    content = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return encode_event(
        content.encode(), None if id is None else id.encode(), name=None if name is None else name.encode()
    )


def is_open_stream(request: Request) -> bool:
    """Whether a request is a stream that is already authorized, whose caller is authenticated repeatedly."""
    return bool(getattr(request.state, "is_open_stream", False))


@dataclass(frozen=True, slots=True)
class Watch:
    """One stream: its caller, how to authenticate it again, and its look."""

    request: Request
    caller: Caller
    permission: Permission
    authenticate: Authenticator
    look: Look


@dataclass(slots=True)
class Live:
    """The streams of a worker."""

    sessions: Sessions
    pulse: Pulse = field(init=False)
    _room: asyncio.Semaphore = field(init=False)
    _streams: Slots = field(init=False)
    _downloads: Slots = field(init=False)

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.sessions)
        self._room = asyncio.Semaphore(_MAX_LOOKS)
        self._streams = Slots(
            "live streams", "too_many_streams", most=MAX_STREAMS, most_of_caller=MAX_STREAMS_OF_CALLER
        )
        self._downloads = Slots(
            "exports", "too_many_exports", most=MAX_DOWNLOADS, most_of_caller=MAX_DOWNLOADS_OF_CALLER
        )

    def stream(self, watch: Watch) -> StreamingResponse:
        """Stream what a look finds, immediately and then whenever there is news.

        When the caller's right has ended, the stream ends with an event ``ended`` that contains a code. Raises
        ``TooManyRequests`` if the caller or this worker has the maximum of streams.
        """
        self._streams.check(watch.caller)
        return _Stream(self._events(watch), media_type=MEDIA_TYPE, headers=_HEADERS)

    def download(self, watch: Watch, headers: Mapping[str, str]) -> StreamingResponse:
        """Send a response that does not fit into memory: the results of repeated looks, up to the last.

        An incomplete download is aborted, so that no client takes it for complete. Raises ``TooManyRequests`` if the
        caller or this worker has the maximum of downloads.
        """
        self._downloads.check(watch.caller)
        return _Stream(self._parts(watch), headers=headers)

    async def _events(self, watch: Watch) -> AsyncGenerator[bytes, None]:
        try:
            # Checked again: other streams may have started since the request was authorized.
            with self._streams.held(watch.caller), self.pulse.watched():
                yield _OPENING
                async with aclosing(self._news(watch)) as news:
                    async for event in news:
                        yield event
        except DomainError as error:
            yield live_event({"code": error.code}, name="ended")
        except Exception as error:  # noqa: BLE001
            # The response has begun, so it can only be ended.
            log_fault(_log, "a live stream", error)
            yield live_event({"code": "internal_error"}, name="ended")

    async def _news(self, watch: Watch) -> AsyncGenerator[bytes, None]:
        while True:
            beats = self.pulse.beats
            news = await self._query_news(watch, watch.look)
            for event in news.events:
                yield event
            if news.is_last:
                return
            while not news.more and not await self.pulse.wait(beats, QUIET_S):
                await self._query_news(watch, None)
                yield _QUIET

    async def _parts(self, watch: Watch) -> AsyncGenerator[bytes, None]:
        try:
            with self._downloads.held(watch.caller):
                while True:
                    news = await self._query_news(watch, watch.look)
                    for part in news.events:
                        yield part
                    if news.is_last:
                        return
        except DomainError as error:
            raise _Aborted from error
        except Exception as error:
            log_fault(_log, "a download", error)
            raise _Aborted from error

    async def _query_news(self, watch: Watch, look: Look | None) -> News:
        """Authenticate the caller again, and look on its behalf. Waits for an unavailable database for a while."""
        until = time.monotonic() + AWAY_LIMIT_S
        news: News | None = None
        while news is None:
            try:
                async with self._room, self.sessions() as session:
                    # The snapshot is older than the authentication, so the caller had the right to all that it shows.
                    await session.connection(execution_options=_ONE_SNAPSHOT)
                    await session.execute(_TAKE_SNAPSHOT)
                    # Not an action of the caller: it extends no session and is not recorded again.
                    watch.request.state.is_open_stream = True
                    caller = await watch.authenticate(watch.request, session)
                    authorize(caller, watch.permission)
                    news = News() if look is None else await look(session, caller)
            except OUTAGES as error:
                # If returning the connection failed, another look would continue after these results.
                if news is None:
                    if time.monotonic() > until:
                        raise database_unavailable() from error
                    await asyncio.sleep(_RETRY_S)
        return news


class _Aborted(Exception):
    """A response that has begun cannot be completed."""


class _Stream(StreamingResponse):
    """Stops the generator as soon as the client disconnects, and leaves an aborted response open: the server then
    closes the connection before its end, which every client detects."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        async with aclosing(cast("AsyncGenerator[bytes, None]", self.body_iterator)):
            with suppress(_Aborted):
                await super().__call__(scope, receive, send)
