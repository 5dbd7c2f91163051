"""Read, create, change and end webhooks, rotate their signing secrets, and request deliveries."""

import base64
import os
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import cast, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.keys import Sealed, Sealer
from app.db import resealing, rows
from app.db.change import Change, Subject
from app.db.rows import Lock
from app.db.webhook_events import TEST
from app.domain.errors import Conflict, NotFound
from app.features.webhooks import schemas
from app.http.authorization import Caller, Permission, authorize
from app.http.etags import Precondition
from app.http.pagination import Cursors, Sorts, caseless, read_page, select_filtered
from app.http.runtime import Runtime
from app.lib import ids
from app.lib.ids import format_id, new_id
from app.models.webhooks import Webhook, WebhookDelivery, WebhookSecret
from app.outbound.delivery import check_destination, shown_origin

WEBHOOK = Subject("webhook", audited=tuple(schemas.WebhookUpdate.model_fields), shown={"url": shown_origin})
KEEP_TRYING = timedelta(days=3)
MAX_LIVE = 5
"""Secrets that sign the messages of one webhook at most: the newest, and overlapping ones."""
SORTS: Sorts = {"name": caseless(col(Webhook.name))}
"""The sort orders of the list, with an index for each."""
_SENT = "messages are"


async def list_webhooks(
    session: AsyncSession, caller: Caller, query: schemas.WebhookQuery, runtime: Runtime
) -> tuple[list[Webhook], str | None]:
    """Read a page of webhooks and the next cursor. Raises ``Forbidden`` when ended ones are requested."""
    if query.include is not None:
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_webhooks", query.filters())
    statement = select_filtered(Webhook, query, "status", texts=("name",))
    if query.include is None:
        statement = statement.where(col(Webhook.ended_at).is_(None))
    if query.event:
        events = cast([event.value for event in query.event], ARRAY(TEXT))
        statement = statement.where(col(Webhook.events).op("&&")(events))
    if query.failing:
        statement = statement.where(col(Webhook.failing_since).is_not(None))
    return await read_page(session, statement, Webhook, cursors, query, SORTS)


async def get_webhook(session: AsyncSession, caller: Caller, id: UUID, *, ended: bool = False) -> Webhook:
    """Read a webhook; with ``ended``, also an ended one. Raises ``NotFound`` and ``Forbidden``."""
    if ended:
        authorize(caller, Permission.AUDIT_READ)
    webhook = await session.get(Webhook, id)
    return webhook if ended and webhook is not None else rows.existing(webhook, "webhook")


async def list_deliveries(
    session: AsyncSession, caller: Caller, webhook_id: UUID, query: schemas.DeliveryQuery, runtime: Runtime
) -> tuple[list[WebhookDelivery], str | None]:
    """Read a page of the deliveries of a webhook and the next cursor. Raises ``NotFound``."""
    await get_webhook(session, caller, webhook_id)
    statement = select_filtered(WebhookDelivery, query, "state", "type")
    statement = statement.where(col(WebhookDelivery.webhook_id) == webhook_id)
    filters = query.filters() | {"webhook": webhook_id}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_webhook_deliveries", filters)
    return await read_page(session, statement, WebhookDelivery, cursors, query)


async def get_delivery(session: AsyncSession, caller: Caller, webhook_id: UUID, id: UUID) -> WebhookDelivery:
    """Read a delivery of a webhook. Raises ``NotFound``."""
    await get_webhook(session, caller, webhook_id)
    return _require_delivery(await session.get(WebhookDelivery, id), webhook_id)


async def create_webhook(
    change: Change, body: schemas.WebhookCreate, runtime: Runtime
) -> tuple[Webhook, str]:
    """Create a webhook and its signing secret. Raises ``Invalid`` (``forbidden_url`` among its codes)."""
    check_destination(runtime.outbound.policy, body.url, _SENT)
    webhook = Webhook(**dict(body))
    change.session.add(webhook)
    await change.session.flush()
    secret = add_secret(change.session, runtime.sealer, webhook.id)
    await change.session.refresh(webhook)
    details = body.model_dump(mode="json") | {"url": shown_origin(body.url)}
    change.record("webhook.create", WEBHOOK, webhook, webhook, details=details)
    return webhook, secret


async def update_webhook(
    change: Change, id: UUID, body: schemas.WebhookUpdate, if_match: Precondition, runtime: Runtime
) -> Webhook:
    """Apply a merge patch. Raises ``NotFound``, ``PreconditionFailed`` and ``Invalid``."""
    webhook = await _lock(change, id, if_match)
    changed = {name: value for name, value in body.given().items() if value != getattr(webhook, name)}
    if not changed:
        return webhook
    if "url" in changed:
        check_destination(runtime.outbound.policy, changed["url"], _SENT)
    before = WEBHOOK.values(webhook)
    webhook.sqlmodel_update(changed)
    if "status" in changed:
        webhook.disabled_reason = "manual" if webhook.status == "disabled" else None
    if changed.keys() & {"status", "url"}:
        # The change may have fixed the cause of earlier failures.
        webhook.failures, webhook.failing_since, webhook.held_until = 0, None, None
    await _write(change, webhook)
    change.record("webhook.update", WEBHOOK, before, webhook)
    return webhook


async def end_webhook(change: Change, id: UUID, if_match: Precondition) -> None:
    """End a webhook: it gets no more messages, and its signing secrets are deleted.

    Raises ``NotFound`` and ``PreconditionFailed``.
    """
    webhook = await _lock(change, id, if_match)
    webhook.ended_at = change.now
    webhook.revision += 1
    await change.session.execute(delete(WebhookSecret).where(col(WebhookSecret.webhook_id) == id))
    change.record("webhook.delete", WEBHOOK, webhook, None, details={"name": webhook.name})


async def rotate_webhook(
    change: Change, id: UUID, body: schemas.WebhookRotate, if_match: Precondition, runtime: Runtime
) -> tuple[Webhook, str]:
    """Add a signing secret; earlier ones also sign for the overlap. Raises ``NotFound``, ``PreconditionFailed``."""
    webhook = await _lock(change, id, if_match)
    until = await end_secrets(change.session, id, timedelta(seconds=body.overlap_s))
    secret = add_secret(change.session, runtime.sealer, id)
    await _write(change, webhook)
    change.record("webhook.rotate", WEBHOOK, webhook, webhook, details={"overlap_until": until})
    return webhook, secret


async def create_test(change: Change, id: UUID) -> WebhookDelivery:
    """Enqueue a test message. Raises ``NotFound`` and ``Conflict``."""
    webhook = rows.existing(await rows.lock(change.session, Webhook, id), "webhook")
    _check_active(webhook)
    data = {"webhook_id": format_id(ids.WEBHOOK, id)}
    delivery = WebhookDelivery(webhook_id=id, type=TEST, data=data)
    change.session.add(delivery)
    await _write_delivery(change, "webhook.test", webhook, delivery)
    return delivery


async def retry_delivery(
    change: Change, webhook_id: UUID, id: UUID, if_match: Precondition
) -> WebhookDelivery:
    """Send a message again, immediately and under the same id.

    Raises ``NotFound``, ``PreconditionFailed`` and ``Conflict``.
    """
    webhook = rows.existing(await rows.lock(change.session, Webhook, webhook_id), "webhook")
    delivery = _require_delivery(
        await rows.lock(change.session, WebhookDelivery, id, Lock.UPDATE), webhook_id
    )
    if_match.check(delivery.revision)
    _check_active(webhook)
    now = func.now()
    delivery.state, delivery.attempts, delivery.lease = "pending", 0, None
    delivery.sqlmodel_update({"due_at": now, "give_up_at": now + KEEP_TRYING})
    delivery.revision += 1
    await _write_delivery(change, "webhook.retry", webhook, delivery)
    return delivery


async def _write_delivery(change: Change, action: str, webhook: Webhook, delivery: WebhookDelivery) -> None:
    webhook.held_until = None
    await change.session.flush()
    await change.session.refresh(delivery)
    change.record(action, WEBHOOK, webhook, webhook, details={"delivery_id": delivery.id})


async def _write(change: Change, webhook: Webhook) -> None:
    webhook.revision += 1
    await change.session.flush()
    await change.session.refresh(webhook)


async def _lock(change: Change, id: UUID, if_match: Precondition) -> Webhook:
    webhook = rows.existing(await rows.lock(change.session, Webhook, id), "webhook")
    if_match.check(webhook.revision)
    return webhook


def _require_delivery(delivery: WebhookDelivery | None, webhook_id: UUID) -> WebhookDelivery:
    if delivery is None or delivery.webhook_id != webhook_id:
        raise NotFound("This webhook has no such delivery: they are kept for 30 days.")
    return delivery


def _check_active(webhook: Webhook) -> None:
    if webhook.status != "active":
        raise Conflict("This webhook is disabled: set its status to active first.", code="webhook_disabled")


# Signing secrets are generated here, shown once, encrypted for one webhook, and decrypted only for signing.


def _place(secret: WebhookSecret) -> bytes:
    """The associated data that binds an encrypted secret to its webhook."""
    return f"webhook-secret {secret.id} {secret.webhook_id}".encode()


def add_secret(session: AsyncSession, sealer: Sealer, webhook_id: UUID) -> str:
    """Create a secret for a webhook. The result is the only plain copy."""
    text = "whsec_" + base64.b64encode(os.urandom(32)).decode("ascii")
    secret = WebhookSecret(id=new_id(), webhook_id=webhook_id, key_id="", sealed=b"")
    sealed = sealer.seal(text.encode("ascii"), _place(secret))
    secret.key_id, secret.sealed = sealed.key_id, sealed.data
    session.add(secret)
    return text


async def end_secrets(session: AsyncSession, webhook_id: UUID, overlap: timedelta) -> datetime:
    """Limit the validity of all current secrets to the overlap; return their latest end."""
    until: datetime = (await session.execute(select(func.now() + overlap))).scalar_one()
    of_webhook = col(WebhookSecret.webhook_id) == webhook_id
    expiry = func.least(col(WebhookSecret.expires_at), until)
    await session.execute(update(WebhookSecret).where(of_webhook).values(expires_at=expiry))
    # Expired secrets are deleted, since they are of no use.
    await session.execute(
        delete(WebhookSecret).where(of_webhook, col(WebhookSecret.expires_at) <= func.now())
    )
    return until


async def live_secrets(session: AsyncSession, webhook_ids: Iterable[UUID]) -> dict[UUID, list[WebhookSecret]]:
    """The current signing secrets of webhooks, newest first, still encrypted."""
    query = (
        select(WebhookSecret)
        .where(
            col(WebhookSecret.webhook_id).in_(set(webhook_ids)),
            or_(col(WebhookSecret.expires_at).is_(None), col(WebhookSecret.expires_at) > func.now()),
        )
        .order_by(col(WebhookSecret.id).desc())
    )
    by_webhook: dict[UUID, list[WebhookSecret]] = {}
    for row in (await session.execute(query)).scalars():
        of_webhook = by_webhook.setdefault(row.webhook_id, [])
        if len(of_webhook) < MAX_LIVE:
            of_webhook.append(row)
    return by_webhook


def open_secrets(sealer: Sealer, secrets: Sequence[WebhookSecret]) -> list[str]:
    """Decrypt secrets for signing. Never log the result. Raises ``UnsealingFault``."""
    return [sealer.unseal(Sealed(one.key_id, one.sealed), _place(one)).decode("ascii") for one in secrets]


async def reseal_secrets(sessions: async_sessionmaker[AsyncSession], sealer: Sealer) -> tuple[int, int]:
    """Reencrypt every signing secret with the newest key; return how many, and how many no key can decrypt."""
    return await resealing.reseal(sessions, sealer, WebhookSecret, _place)
