"""A change: its audit events, object versions, webhook deliveries and access versions, all written at its commit.

A service collects them in a ``Change``. ``db.engine.commit`` writes each kind with one statement, in the transaction of
the change itself.
"""

import json
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel

from app.db.clock import transaction_time
from app.db.versions import move_versions, notify_at_commit
from app.db.webhook_events import Message, WebhookEvent, enqueue
from app.domain.caller import Caller
from app.lib.ids import new_id
from app.models.audit import AuditEvent

PERSONAL = {"personal": True}
"""The entry of an audit event for a personal column that changed."""
_COLLECTED = "collected_changes"
# The previous version is closed in the same statement. A row that its transaction also ends has a version all the same.
_WRITE_VERSIONS = text("""
WITH closed AS (
    UPDATE object_versions SET valid_to = now() WHERE object_id = ANY(CAST(:ids AS uuid[])) AND valid_to IS NULL
)
INSERT INTO object_versions (object_id, version, kind, content, valid_to)
SELECT t.id, coalesce((SELECT max(version) FROM object_versions WHERE object_id = t.id), 0) + 1, t.kind,
    CAST(t.content AS jsonb), CASE WHEN t.id = ANY(CAST(:ended AS uuid[])) THEN now() END
FROM unnest(CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:contents AS text[])) AS t (id, kind, content)
WHERE t.content IS NOT NULL
""")
_ERASE_FIELD = text("""
UPDATE object_versions SET content = content || CAST(:erased AS jsonb)
WHERE object_id = ANY(CAST(:ids AS uuid[])) AND kind = :kind AND content -> :field <> CAST(:erased AS jsonb) -> :field
""")


@dataclass(frozen=True, slots=True)
class Values:
    """The columns of a row that its subject lists, at one moment."""

    id: UUID
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """Which columns of a table are recorded, and how.

    Derive ``audited`` from the update schema of the API, so that a new field is recorded without a line here.
    """

    type: str
    """``object_type`` of audit events."""
    audited: tuple[str, ...] = ()
    """Columns whose old and new values audit events contain."""
    personal: tuple[str, ...] = ()
    """Columns with free text. It can name a person, and the audit log cannot be erased, so events say only that the
    column changed."""
    history: str | None = None
    """``kind`` of the versions in ``object_versions``; ``None`` without a history."""
    kept: tuple[str, ...] = ()
    """Columns that each version contains: everything that a decision reads."""
    webhook: tuple[str, ...] = ()
    """Columns with the ids that webhook messages contain, in addition to the row's own id."""
    shown: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    """How audit events format a column, if not as its plain value."""
    content: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    """Builds the content of a version from the ``kept`` columns."""

    def values(self, row: SQLModel) -> Values:
        """The current values of a row. Take them before you change the row."""
        names = dict.fromkeys((*self.audited, *self.personal, *self.kept, *self.webhook))
        return Values(cast("Any", row).id, {name: getattr(row, name) for name in names})

    def blank(self, row: SQLModel) -> Values:
        """Values that are all ``None``, so that the event of a new row says only what it has."""
        return Values(cast("Any", row).id, dict.fromkeys(self.values(row).columns))

    def difference(self, before: Values | None, after: Values | None) -> dict[str, Any]:
        """The changes for an event: each audited column that differs; all of them for a new row."""
        if after is None:
            return {}
        old = dict.fromkeys(after.columns) if before is None else before.columns
        changes: dict[str, Any] = {
            name: {"from": self._format(name, old[name]), "to": self._format(name, after.columns[name])}
            for name in self.audited
            if before is None or old[name] != after.columns[name]
        }
        return changes | {name: PERSONAL for name in self.personal if old[name] != after.columns[name]}

    def version(self, values: Values) -> dict[str, Any]:
        """The content of a version in the history."""
        return self.content({name: values.columns[name] for name in self.kept})

    def message(self, event: WebhookEvent, values: Values, event_id: UUID) -> Message:
        """The webhook message about an event of a row."""
        ids = {f"{self.type}_id": values.id} | {name: values.columns[name] for name in self.webhook}
        return Message(event.value, ids | {"event_id": event_id})

    def _format(self, name: str, value: Any) -> Any:
        return value if value is None or name not in self.shown else self.shown[name](value)


@dataclass(slots=True)
class _Collected:
    """Everything that the transaction of a session will write."""

    events: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[UUID, tuple[str, str | None]] = field(default_factory=dict)
    created: set[UUID] = field(default_factory=set)
    """Rows with a history that this transaction created."""
    ended: set[UUID] = field(default_factory=set)
    """Those of them that it also ended."""
    messages: list[Message] = field(default_factory=list)
    narrowed: set[UUID] = field(default_factory=set)
    widened: set[UUID] = field(default_factory=set)

    def copy(self) -> "_Collected":
        return _Collected(**{part.name: copy(getattr(self, part.name)) for part in fields(self)})


@dataclass(slots=True, eq=False)
class Change:
    """Changes by one caller at one moment, in one transaction."""

    session: AsyncSession
    caller: Caller
    request_id: str | None
    now: datetime
    """By the database's clock."""

    @classmethod
    async def begin(cls, session: AsyncSession, caller: Caller, request_id: str | None = None) -> "Change":
        """Begin a change at the time of its transaction."""
        return cls(session, caller, request_id, await transaction_time(session))

    @property
    def _collected(self) -> _Collected:
        return cast("_Collected", self.session.info.setdefault(_COLLECTED, _Collected()))

    def record(
        self,
        action: str,
        subject: Subject,
        before: Values | SQLModel | None = None,
        after: Values | SQLModel | None = None,
        *,
        details: Mapping[str, Any] | None = None,
        narrows: Iterable[UUID] = (),
        widens: Iterable[UUID] = (),
        webhook: WebhookEvent | None = None,
        outcome: str = "success",
        event_id: UUID | None = None,
        **columns: Any,
    ) -> UUID:
        """Collect the audit event of a change of one row, and everything that goes with it. Returns the event's id,
        which is new unless the row itself contains it as ``event_id``.

        ``before`` is ``None`` for a new row, ``after`` for a row that ended. ``details`` adds to their difference.
        ``narrows`` and ``widens`` are the objects whose access versions change; workers are notified of the narrowed
        ones. ``columns`` are further columns of the event.
        """
        old, new = _values(subject, before), _values(subject, after)
        row = new or old
        if row is None:
            raise ValueError("a change has a row before it or after it")
        event_id = event_id or new_id()
        changes = subject.difference(old, new) | dict(details or {})
        self._collected.events.append(
            {
                "id": event_id,
                "action": action,
                "actor_type": self.caller.kind,
                "actor_id": self.caller.id,
                "on_behalf_of": self.caller.identity_id,
                "object_type": subject.type,
                "object_id": row.id,
                "outcome": outcome,
                # As plain JSON values.
                "changes": json.loads(json.dumps(changes, default=_plain)) if changes else None,
                "request_id": self.request_id,
                **columns,
            }
        )
        self.record_with(event_id, subject, old, new, narrows=narrows, widens=widens, webhook=webhook)
        return event_id

    def record_with(
        self,
        event_id: UUID,
        subject: Subject,
        before: Values | SQLModel | None = None,
        after: Values | SQLModel | None = None,
        *,
        narrows: Iterable[UUID] = (),
        widens: Iterable[UUID] = (),
        webhook: WebhookEvent | None = None,
    ) -> None:
        """Collect the change of a row under another row's event, such as the grants of a group that ends."""
        collected = self._collected
        old, new = _values(subject, before), _values(subject, after)
        if subject.history is not None:
            version = None if new is None else subject.version(new)
            if old is None or version is None or version != subject.version(old):
                id = cast("Values", new or old).id
                if old is None:
                    collected.created.add(id)
                if version is None and id in collected.created:
                    collected.ended.add(id)
                else:
                    content = None if version is None else json.dumps(version, default=_plain)
                    collected.versions[id] = (subject.history, content)
        if webhook is not None:
            collected.messages.append(subject.message(webhook, cast("Values", new or old), event_id))
        self.move(narrows=narrows, widens=widens)

    def move(self, *, narrows: Iterable[UUID] = (), widens: Iterable[UUID] = ()) -> None:
        """Collect objects whose access versions change."""
        self._collected.narrowed.update(narrows)
        self._collected.widened.update(widens)

    def enqueue(self, message: Message) -> None:
        """Collect a webhook message that no ``Subject`` describes."""
        self._collected.messages.append(message)


async def write(session: AsyncSession) -> None:
    """Write what was collected: events, versions, deliveries, and then access versions in id order, so that two
    transactions cannot deadlock."""
    await session.flush()
    collected: _Collected | None = session.info.pop(_COLLECTED, None)
    if collected is None:
        return
    if collected.events:
        columns = {name: None for event in collected.events for name in event}
        await session.execute(insert(AuditEvent), [columns | event for event in collected.events])
    if collected.versions:
        kinds, contents = zip(*collected.versions.values(), strict=True)
        values = {"ids": list(collected.versions), "kinds": list(kinds), "contents": list(contents)}
        await session.execute(_WRITE_VERSIONS, values | {"ended": list(collected.ended)})
    await enqueue(session, *collected.messages)
    await move_versions(session, collected.narrowed | collected.widened, narrows=False)
    notify_at_commit(session, collected.narrowed)


async def erase_from_history(
    session: AsyncSession, kind: str, ids: Collection[UUID], field: str, empty: Any
) -> None:
    """Replace a field with personal data by its ``empty`` value in all versions of these objects."""
    values = {"ids": list(ids), "kind": kind, "field": field, "erased": json.dumps({field: empty})}
    await session.execute(_ERASE_FIELD, values)


def discard(session: AsyncSession) -> None:
    """Discard what was collected, when its transaction is rolled back."""
    session.info.pop(_COLLECTED, None)


def reject_unwritten(session: Any) -> None:
    """Raise before a commit that would lose collected events. Commit with ``db.engine.commit`` instead."""
    if not session.in_nested_transaction() and session.info.get(_COLLECTED) is not None:
        raise RuntimeError("a commit would lose the audit events of its change")


@asynccontextmanager
async def savepoint(session: AsyncSession) -> AsyncIterator[None]:
    """A savepoint that, when its block raises, also discards what the block collected."""
    collected: _Collected | None = session.info.get(_COLLECTED)
    copy = None if collected is None else collected.copy()
    try:
        async with session.begin_nested():
            yield
    except BaseException:
        if copy is None:
            discard(session)
        else:
            session.info[_COLLECTED] = copy
        raise


def _values(subject: Subject, row: Values | SQLModel | None) -> Values | None:
    return subject.values(row) if isinstance(row, SQLModel) else row


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)
