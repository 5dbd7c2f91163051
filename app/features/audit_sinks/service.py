"""Create, change, test and end sinks. Services flush; the request commits."""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Sealer
from app.domain.errors import Conflict, FieldError, Invalid, NotFound
from app.features.audit.reading import BEGINNING, present
from app.features.audit.record import record
from app.features.audit_sinks import queries
from app.features.audit_sinks.credentials import put_credential
from app.features.audit_sinks.schemas import AuditSinkCreate
from app.http.authorization import Caller
from app.models.audit import MAX_BATCH_EVENTS, AuditSink
from app.outbound.http import AddressPolicy, ForbiddenUrl, origin_of

KIND = "audit_sink"
MAX_SINKS = 16
"""Sinks that have not ended: each reads the whole log."""


async def load(
    session: AsyncSession, id: UUID, *, include_ended: bool = False, lock: bool = False
) -> AuditSink:
    """Find the sink, locked for a change on demand. Raises ``NotFound`` for unknown and ended ones."""
    sink = await queries.find(session, id, ended=include_ended, lock=lock)
    if sink is None:
        raise NotFound("There is no such audit sink.")
    return sink


async def create(
    session: AsyncSession,
    sealer: Sealer,
    policy: AddressPolicy,
    new: AuditSinkCreate,
    caller: Caller,
    request_id: str | None,
) -> AuditSink:
    """Create a sink. Raises ``Invalid`` (``forbidden_url`` among its codes), ``Conflict``."""
    _check_url(policy, new.url)
    await queries.lock_creation(session)
    if await queries.count_live(session) >= MAX_SINKS:
        raise Conflict(
            f"There are already {MAX_SINKS} audit sinks: end one first.", code="too_many_audit_sinks"
        )
    epoch, xact, seq = BEGINNING if new.start == "beginning" else await present(session)
    sink = AuditSink(
        name=new.name,
        description=new.description,
        url=new.url,
        format=new.format,
        compression=new.compression,
        epoch=epoch,
        xact=xact,
        seq=seq,
    )
    put_credential(sealer, sink, new.credential)
    session.add(sink)
    await session.flush()
    await session.refresh(sink)
    changes = _audit_changes(new.model_dump(mode="json", exclude={"credential"})) | {
        "credential": new.credential.kind
    }
    await record(session, caller, "audit_sink.create", KIND, sink.id, changes=changes, request_id=request_id)
    return sink


async def change(
    session: AsyncSession,
    sealer: Sealer,
    policy: AddressPolicy,
    sink: AuditSink,
    fields: dict[str, Any],
    caller: Caller,
    request_id: str | None,
) -> None:
    """Apply changed fields to a locked sink. Raises ``Invalid``, ``Conflict``."""
    credential = fields.pop("credential", None)
    changes = {name: value for name, value in fields.items() if value != getattr(sink, name)}
    if not changes and credential is None:
        return
    if "url" in changes:
        _check_url(policy, changes["url"])
        if credential is None:
            _check_bound(sink, changes["url"])
    before = _audit_changes({name: getattr(sink, name) for name in changes})
    kind_before = sink.credential_kind
    sink.sqlmodel_update(changes)
    if credential is not None:
        put_credential(sealer, sink, credential)
    _retry_now(sink, changes, await _now(session))
    sink.revision += 1
    await session.flush()
    await session.refresh(sink)
    after = _audit_changes(changes)
    audited: dict[str, Any] = {name: {"from": before[name], "to": after[name]} for name in sorted(changes)}
    if credential is not None:
        audited["credential"] = {"from": kind_before, "to": sink.credential_kind}
    await record(session, caller, "audit_sink.update", KIND, sink.id, changes=audited, request_id=request_id)


async def test(session: AsyncSession, sink: AuditSink, caller: Caller, request_id: str | None) -> None:
    """Record a test event, which a locked sink receives like any other, and end its pause.

    Raises ``Conflict``.
    """
    if sink.status != "active":
        raise Conflict(
            "This audit sink is disabled: set its status to active first.", code="audit_sink_disabled"
        )
    sink.due_at = await _now(session)
    sink.revision += 1
    await session.flush()
    await session.refresh(sink)
    await record(session, caller, "audit_sink.test", KIND, sink.id, request_id=request_id)


async def end(session: AsyncSession, sink: AuditSink, caller: Caller, request_id: str | None) -> None:
    """End a locked sink: it receives nothing more, and its credential is deleted."""
    sink.ended_at = await _now(session)
    sink.credential_kind, sink.key_id, sink.sealed = "none", None, None
    sink.revision += 1
    await session.flush()
    changes = {"name": sink.name}
    await record(session, caller, "audit_sink.delete", KIND, sink.id, changes=changes, request_id=request_id)


def _retry_now(sink: AuditSink, changes: dict[str, Any], now: Any) -> None:
    """Clear the failures: the change may have fixed their cause."""
    sink.due_at = now
    if changes.keys() & {"status", "url", "format", "compression"}:
        sink.failures, sink.failing_since, sink.error, sink.status_code = 0, None, None, None
    if changes.keys() & {"url", "format"}:
        sink.batch_epoch = sink.batch_xact = sink.batch_seq = sink.batch_checkpoint = None
        sink.batch_events = MAX_BATCH_EVENTS


async def _now(session: AsyncSession) -> Any:
    return (await session.execute(select(func.now()))).scalar_one()


def _check_bound(sink: AuditSink, url: str) -> None:
    if sink.sealed is not None and origin_of(sink.url) != origin_of(url):
        raise Conflict(
            "The stored credential is bound to the current origin and is never sent elsewhere. Send the new origin's "
            "credential in the same request.",
            code="credential_bound_to_origin",
        )


def _check_url(policy: AddressPolicy, url: str) -> None:
    """Require TLS or an allowed network, since the audit log leaves the deployment here."""
    reason = "the audit log is sent over http only to an address of an allowed network"
    try:
        origin = policy.check_url(url)
        if origin.scheme == "https" or policy.is_allowed_network(origin):
            return
    except ForbiddenUrl as error:
        reason = error.reason
    detail = f"{reason[:1].upper()}{reason[1:]}. Private addresses need SCOPEGATE_UPSTREAM_ALLOWED_NETWORKS."
    raise Invalid(detail, code="forbidden_url", errors=[FieldError("/url", "forbidden_url", detail)])


def _audit_changes(changes: dict[str, Any]) -> dict[str, Any]:
    """Fields that the audit log may keep: the URL paths of some receivers are secret."""
    if "url" not in changes:
        return changes
    parts = urlsplit(changes["url"])
    return changes | {"url": f"{parts.scheme}://{parts.netloc}"}
