"""Making, changing, trying and ending sinks. Services flush; the request commits."""

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
from app.models.audit_sinks import MOST_EVENTS, AuditSink
from app.outbound.http import AddressPolicy, ForbiddenUrl, origin_of

KIND = "audit_sink"
MOST = 16
"""Sinks that have not ended: each is a reader of the whole trail."""


async def load(
    session: AsyncSession, id: UUID, *, include_ended: bool = False, lock: bool = False
) -> AuditSink:
    """The sink, locked for a change if asked. Raises ``NotFound`` for unknown and ended ones."""
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
    """A new sink. Raises ``Invalid`` (``forbidden_url`` among its codes), ``Conflict``."""
    _check_url(policy, new.url)
    await queries.lock_making(session)
    if await queries.count_live(session) >= MOST:
        raise Conflict(f"There are {MOST} audit sinks already: end one first.", code="too_many_audit_sinks")
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
    changes = _shown(new.model_dump(mode="json", exclude={"credential"})) | {
        "credential": new.credential.kind
    }
    await record(session, caller, "audit_sink.create", KIND, sink.id, changes=changes, request_id=request_id)
    return sink


async def change(
    session: AsyncSession,
    sealer: Sealer,
    policy: AddressPolicy,
    sink: AuditSink,
    wanted: dict[str, Any],
    caller: Caller,
    request_id: str | None,
) -> None:
    """Apply changed fields to a locked sink. Raises ``Invalid``, ``Conflict``."""
    credential = wanted.pop("credential", None)
    changes = {name: value for name, value in wanted.items() if value != getattr(sink, name)}
    if not changes and credential is None:
        return
    if "url" in changes:
        _check_url(policy, changes["url"])
        if credential is None:
            _check_bound(sink, changes["url"])
    before = _shown({name: getattr(sink, name) for name in changes})
    kind_before = sink.credential_kind
    sink.sqlmodel_update(changes)
    if credential is not None:
        put_credential(sealer, sink, credential)
    _begin_anew(sink, changes, await _now(session))
    sink.revision += 1
    await session.flush()
    await session.refresh(sink)
    after = _shown(changes)
    shown: dict[str, Any] = {name: {"from": before[name], "to": after[name]} for name in sorted(changes)}
    if credential is not None:
        shown["credential"] = {"from": kind_before, "to": sink.credential_kind}
    await record(session, caller, "audit_sink.update", KIND, sink.id, changes=shown, request_id=request_id)


async def test(session: AsyncSession, sink: AuditSink, caller: Caller, request_id: str | None) -> None:
    """Record an event of its own, which a locked sink is given like any other, and let it rest no longer.

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
    """End a locked sink: it is given nothing more, and its credential is destroyed."""
    sink.ended_at = await _now(session)
    sink.credential_kind, sink.key_id, sink.sealed = "none", None, None
    sink.revision += 1
    await session.flush()
    changes = {"name": sink.name}
    await record(session, caller, "audit_sink.delete", KIND, sink.id, changes=changes, request_id=request_id)


def _begin_anew(sink: AuditSink, changes: dict[str, Any], now: Any) -> None:
    """Whatever was wrong was wrong before, and it may be right now."""
    sink.due_at = now
    if changes.keys() & {"status", "url", "format", "compression"}:
        sink.failures, sink.failing_since, sink.error, sink.status_code = 0, None, None, None
    if changes.keys() & {"url", "format"}:
        sink.batch_epoch = sink.batch_xact = sink.batch_seq = sink.batch_checkpoint = None
        sink.batch_events = MOST_EVENTS


async def _now(session: AsyncSession) -> Any:
    return (await session.execute(select(func.now()))).scalar_one()


def _check_bound(sink: AuditSink, url: str) -> None:
    if sink.sealed is not None and origin_of(sink.url) != origin_of(url):
        raise Conflict(
            "The stored credential is bound to the present origin and is sent nowhere else. Give the new origin's "
            "credential in the same request.",
            code="credential_bound_to_origin",
        )


def _check_url(policy: AddressPolicy, url: str) -> None:
    """The trail leaves the house there: over TLS, or to an address that the operator has allowed."""
    reason = "the trail goes over http only to an address of an allowed network"
    try:
        origin = policy.check_url(url)
        if origin.scheme == "https" or policy.is_allowed_network(origin):
            return
    except ForbiddenUrl as error:
        reason = error.reason
    detail = f"{reason[:1].upper()}{reason[1:]}. Private addresses need SCOPEGATE_UPSTREAM_ALLOWED_NETWORKS."
    raise Invalid(detail, code="forbidden_url", errors=[FieldError("/url", "forbidden_url", detail)])


def _shown(changes: dict[str, Any]) -> dict[str, Any]:
    """Fields as the audit trail may keep them: the paths of some receivers are as good as a key."""
    if "url" not in changes:
        return changes
    parts = urlsplit(changes["url"])
    return changes | {"url": f"{parts.scheme}://{parts.netloc}"}
