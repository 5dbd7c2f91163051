"""What clients of legacy sessions on ``/mcp`` asked for, as this worker knows it, and who wants to hear of changes."""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import UUID

from app.admission.store import Notes, SessionNotes
from app.gateway.aggregate.news import MAX_URI, MAX_URIS
from app.gateway.wire.refusals import invalid_params

MAX_KNOWN = 10_000

_NOTHING = Notes()


class Notebook:
    """Reads each session's notes once, until another worker changes them."""

    def __init__(self, store: SessionNotes) -> None:
        self._store = store
        self._known: OrderedDict[UUID, Notes] = OrderedDict()
        self._moves = 0
        self._listeners: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)

    def begin(self, session_id: UUID) -> None:
        """A session that was just made has asked for nothing."""
        self._keep(session_id, _NOTHING)

    async def of(self, session_id: UUID) -> Notes:
        """Raises ``StoreUnavailable``."""
        notes = self._known.get(session_id)
        if notes is None:
            moves = self._moves
            notes = await self._store.read(session_id)
            if moves == self._moves:
                # Else what was read may be what was there before.
                self._keep(session_id, notes)
        return notes

    async def set_log_level(self, session_id: UUID, token_id: UUID, level: str) -> None:
        """Raises ``StoreUnavailable``."""
        notes = await self._store.change(session_id, token_id, lambda notes: replace(notes, log_level=level))
        self._changed(session_id, notes)

    async def subscribe(self, session_id: UUID, token_id: UUID, uri: str) -> None:
        """Raises ``StoreUnavailable``, and ``Refused`` for one too many or too long."""
        if len(uri) > MAX_URI:
            raise invalid_params(f"A URI to subscribe to has {MAX_URI} characters at most.", modern=False)

        def change(notes: Notes) -> Notes:
            uris = notes.subscriptions | {uri}
            if len(uris) > MAX_URIS:
                raise invalid_params(f"A session has {MAX_URIS} subscriptions at most.", modern=False)
            return replace(notes, subscriptions=uris)

        self._changed(session_id, await self._store.change(session_id, token_id, change))

    async def unsubscribe(self, session_id: UUID, token_id: UUID, uri: str) -> None:
        """Raises ``StoreUnavailable``."""
        if uri in (await self.of(session_id)).subscriptions:
            notes = await self._store.change(
                session_id, token_id, lambda notes: replace(notes, subscriptions=notes.subscriptions - {uri})
            )
            self._changed(session_id, notes)

    @contextmanager
    def listening(self, session_id: UUID, moved: asyncio.Event) -> Iterator[None]:
        """Set the event whenever the session's notes change."""
        self._listeners[session_id].add(moved)
        try:
            yield
        finally:
            self._listeners[session_id].discard(moved)
            if not self._listeners[session_id]:
                del self._listeners[session_id]

    def changed_elsewhere(self, session_id: UUID | None) -> None:
        """Another worker changed the notes of a session; ``None``: of nobody knows which."""
        self._moves += 1
        if session_id is None:
            self._known.clear()
            told = list(self._listeners)
        else:
            self._known.pop(session_id, None)
            told = [session_id]
        for each in told:
            self._tell(each)

    def _changed(self, session_id: UUID, notes: Notes) -> None:
        self._keep(session_id, notes)
        self._tell(session_id)

    def _tell(self, session_id: UUID) -> None:
        for moved in self._listeners.get(session_id, ()):
            moved.set()

    def _keep(self, session_id: UUID, notes: Notes) -> None:
        self._known[session_id] = notes
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
