"""Read, create, change, test and end sinks; encrypt and decrypt their credentials."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.keys import Sealed, Sealer
from app.db import resealing, rows
from app.db.change import Change, Subject
from app.domain.errors import Conflict
from app.features.audit.queries import present
from app.features.audit.reading import BEGINNING
from app.features.audit_sinks import schemas
from app.http.authorization import Caller, Permission, authorize
from app.http.etags import Precondition
from app.http.pagination import Cursors, Sorts, caseless, read_page, select_filtered
from app.http.runtime import Runtime
from app.models.audit import MAX_BATCH_EVENTS, AuditSink
from app.outbound.delivery import check_destination, shown_origin
from app.outbound.http import origin_of

AUDIT_SINK = Subject(
    "audit_sink",
    audited=tuple(name for name in schemas.AuditSinkUpdate.model_fields if name != "credential"),
    shown={"url": shown_origin},
)
MAX_SINKS = 16
"""Sinks that have not ended: each reads the whole log."""
SORTS: Sorts = {"name": caseless(col(AuditSink.name))}
"""The sort orders of the list, with an index for each."""

Credential = schemas.NoSinkCredential | schemas.BearerSinkCredential | schemas.HeaderSinkCredential
_CREATING = 0x5C09EA51C
_SENT = "the audit log is"
# Epochs separately, so that both parts scan the commit order and stop at the bound.
_LAG = text("""
SELECT (SELECT count(*) FROM (
    (SELECT FROM audit_events WHERE epoch = :epoch AND (xact, seq) > (:xact, :seq) LIMIT :limit)
    UNION ALL (SELECT FROM audit_events WHERE epoch > :epoch LIMIT :limit)
) waiting) AS events, coalesce(
    (SELECT time FROM audit_events WHERE epoch = :epoch AND (xact, seq) > (:xact, :seq)
     ORDER BY epoch, xact, seq LIMIT 1),
    (SELECT time FROM audit_events WHERE epoch > :epoch ORDER BY epoch, xact, seq LIMIT 1)
) AS oldest
""")


async def list_sinks(
    session: AsyncSession, caller: Caller, query: schemas.AuditSinkQuery, runtime: Runtime
) -> tuple[list[AuditSink], str | None]:
    """Read a page of sinks and the next cursor. Raises ``Forbidden`` when ended ones are requested."""
    if query.include is not None:
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_audit_sinks", query.filters())
    statement = select_filtered(AuditSink, query, "status", texts=("name",))
    if query.include is None:
        statement = statement.where(col(AuditSink.ended_at).is_(None))
    if query.failing:
        statement = statement.where(col(AuditSink.failing_since).is_not(None))
    return await read_page(session, statement, AuditSink, cursors, query, SORTS)


async def get_sink(session: AsyncSession, caller: Caller, id: UUID, *, ended: bool = False) -> AuditSink:
    """Read a sink; with ``ended``, also an ended one. Raises ``NotFound`` and ``Forbidden``."""
    if ended:
        authorize(caller, Permission.AUDIT_READ)
    sink = await session.get(AuditSink, id)
    return sink if ended and sink is not None else rows.existing(sink, "audit sink")


async def lags_of(session: AsyncSession, sinks: Sequence[AuditSink]) -> dict[UUID, schemas.AuditSinkLag]:
    """The undelivered events of the sinks that have not ended. There are few sinks."""
    lags = {}
    for sink in sinks:
        if sink.ended_at is None:
            place = {"epoch": sink.epoch, "xact": sink.xact, "seq": sink.seq, "limit": schemas.MAX_LAG_COUNT}
            row = (await session.execute(_LAG, place)).one()
            lags[sink.id] = schemas.AuditSinkLag(
                events=min(row.events, schemas.MAX_LAG_COUNT), since=row.oldest
            )
    return lags


async def create_sink(change: Change, body: schemas.AuditSinkCreate, runtime: Runtime) -> AuditSink:
    """Create a sink. Raises ``Invalid`` (``forbidden_url`` among its codes), ``Conflict``."""
    check_destination(runtime.outbound.policy, body.url, _SENT)
    # Held until the transaction ends, so that the limit holds.
    await change.session.execute(select(func.pg_advisory_xact_lock(_CREATING)))
    if await count_live(change.session) >= MAX_SINKS:
        raise Conflict(
            f"There are already {MAX_SINKS} audit sinks: end one first.", code="too_many_audit_sinks"
        )
    epoch, xact, seq = BEGINNING if body.start == "beginning" else await present(change.session)
    fields = body.model_dump(exclude={"credential", "start"})
    sink = AuditSink(**fields, epoch=epoch, xact=xact, seq=seq)
    put_credential(runtime.sealer, sink, body.credential)
    change.session.add(sink)
    await change.session.flush()
    await change.session.refresh(sink)
    details = fields | {
        "url": shown_origin(body.url),
        "start": body.start,
        "credential": body.credential.kind,
    }
    change.record("audit_sink.create", AUDIT_SINK, sink, sink, details=details)
    return sink


async def update_sink(
    change: Change, id: UUID, body: schemas.AuditSinkUpdate, if_match: Precondition, runtime: Runtime
) -> AuditSink:
    """Apply a merge patch. Raises ``NotFound``, ``PreconditionFailed``, ``Invalid``, ``Conflict``."""
    sink = await _lock(change, id, if_match)
    fields = body.given()
    credential: Credential | None = fields.pop("credential", None)
    changed = {name: value for name, value in fields.items() if value != getattr(sink, name)}
    if not changed and credential is None:
        return sink
    if "url" in changed:
        check_destination(runtime.outbound.policy, changed["url"], _SENT)
        is_kept = credential is None and sink.sealed is not None
        if is_kept and origin_of(sink.url) != origin_of(changed["url"]):
            raise Conflict(
                "The stored credential is bound to the current origin and is never sent elsewhere. Send the new "
                "origin's credential in the same request.",
                code="credential_bound_to_origin",
            )
    before, details = AUDIT_SINK.values(sink), {}
    sink.sqlmodel_update(changed)
    if credential is not None:
        details["credential"] = {"from": sink.credential_kind, "to": credential.kind}
        put_credential(runtime.sealer, sink, credential)
    # The change may have fixed the cause of failures.
    if changed.keys() & {"status", "url", "format", "compression"}:
        sink.failures, sink.failing_since, sink.error, sink.status_code = 0, None, None, None
    if changed.keys() & {"url", "format"}:
        sink.batch_epoch = sink.batch_xact = sink.batch_seq = sink.batch_checkpoint = None
        sink.batch_events = MAX_BATCH_EVENTS
    await _write_due(change, sink)
    change.record("audit_sink.update", AUDIT_SINK, before, sink, details=details)
    return sink


async def test_sink(change: Change, id: UUID, if_match: Precondition) -> AuditSink:
    """Record a test event, which the sink receives like any other, and end its pause.

    Raises ``NotFound``, ``PreconditionFailed``, ``Conflict``.
    """
    sink = await _lock(change, id, if_match)
    if sink.status != "active":
        raise Conflict(
            "This audit sink is disabled: set its status to active first.", code="audit_sink_disabled"
        )
    await _write_due(change, sink)
    change.record("audit_sink.test", AUDIT_SINK, sink, sink)
    return sink


async def end_sink(change: Change, id: UUID, if_match: Precondition) -> None:
    """End a sink: it receives nothing more, and its credential is deleted.

    Raises ``NotFound``, ``PreconditionFailed``.
    """
    sink = await _lock(change, id, if_match)
    sink.ended_at = change.now
    sink.credential_kind, sink.key_id, sink.sealed = "none", None, None
    sink.revision += 1
    change.record("audit_sink.delete", AUDIT_SINK, sink, None, details={"name": sink.name})


def put_credential(sealer: Sealer, sink: AuditSink, credential: Credential) -> None:
    """Set the credential of a sink, encrypted for it and the origin of its current URL."""
    sink.credential_kind, sink.key_id, sink.sealed = credential.kind, None, None
    contents = credential.contents()
    if contents is not None:
        sealed = sealer.seal(json.dumps(contents).encode(), _place(sink))
        sink.key_id, sink.sealed = sealed.key_id, sealed.data


def open_credential(sealer: Sealer, sink: AuditSink) -> list[tuple[bytes, bytes]]:
    """The headers for a sink at its current URL. Never log the result. Raises ``UnsealingFault``."""
    if sink.key_id is None or sink.sealed is None:
        return []
    name, value = json.loads(sealer.unseal(Sealed(sink.key_id, sink.sealed), _place(sink)))
    return [(name.encode("ascii"), value.encode("ascii"))]


async def reseal_credentials(sessions: async_sessionmaker[AsyncSession], sealer: Sealer) -> tuple[int, int]:
    """Reencrypt every credential with the newest key; return how many, and how many no key can decrypt."""
    return await resealing.reseal(sessions, sealer, AuditSink, _place)


async def count_live(session: AsyncSession) -> int:
    """The number of sinks that have not ended."""
    query = select(func.count()).select_from(AuditSink).where(col(AuditSink.ended_at).is_(None))
    return (await session.execute(query)).scalar_one()


def _place(sink: AuditSink) -> bytes:
    """The associated data that binds an encrypted credential to its sink and origin."""
    return f"audit-sink {sink.id} {origin_of(sink.url)}".encode()


async def _lock(change: Change, id: UUID, if_match: Precondition) -> AuditSink:
    sink = rows.existing(await rows.lock(change.session, AuditSink, id), "audit sink")
    if_match.check(sink.revision)
    return sink


async def _write_due(change: Change, sink: AuditSink) -> None:
    """Write a sink that is due immediately, by the clock of the database."""
    due: dict[str, Any] = {"due_at": func.now()}
    sink.sqlmodel_update(due)
    sink.revision += 1
    await change.session.flush()
    await change.session.refresh(sink)
