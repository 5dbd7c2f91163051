"""Create, change and end webhooks, and request deliveries. Services flush; the request commits."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Sealer
from app.db.webhook_events import TEST
from app.domain.errors import Conflict, FieldError, Invalid, NotFound
from app.features.audit.record import record
from app.features.webhooks import queries
from app.features.webhooks.schemas import WebhookCreate
from app.features.webhooks.secrets import add_secret, destroy_secrets, end_secrets
from app.http.authorization import Caller
from app.lib.ids import WEBHOOK, format_id
from app.models.webhooks import Webhook, WebhookDelivery
from app.outbound.http import AddressPolicy, ForbiddenUrl

KIND = "webhook"
KEEP_TRYING = timedelta(days=3)


async def load(
    session: AsyncSession, id: UUID, *, include_ended: bool = False, lock: bool = False
) -> Webhook:
    """Find the webhook, locked for a change on demand. Raises ``NotFound`` for unknown and ended ones."""
    webhook = await queries.find(session, id, ended=include_ended, lock=lock)
    if webhook is None:
        raise NotFound("There is no such webhook.")
    return webhook


async def load_delivery(
    session: AsyncSession, webhook: Webhook, id: UUID, *, lock: bool = False
) -> WebhookDelivery:
    """Find a delivery of a webhook, locked for a change on demand. Raises ``NotFound``."""
    delivery = await queries.find_delivery(session, webhook.id, id, lock=lock)
    if delivery is None:
        raise NotFound("This webhook has no such delivery: they are kept for 30 days.")
    return delivery


async def create(
    session: AsyncSession,
    sealer: Sealer,
    policy: AddressPolicy,
    new: WebhookCreate,
    caller: Caller,
    request_id: str | None,
) -> tuple[Webhook, str]:
    """Create a webhook and its signing secret. Raises ``Invalid`` (``forbidden_url`` among its codes)."""
    _check_url(policy, new.url)
    webhook = Webhook(
        name=new.name,
        description=new.description,
        url=new.url,
        events=[event.value for event in new.events],
    )
    session.add(webhook)
    await session.flush()
    secret = add_secret(session, sealer, webhook.id)
    await session.flush()
    await session.refresh(webhook)
    changes = _audit_changes(new.model_dump(mode="json"))
    await record(session, caller, "webhook.create", KIND, webhook.id, changes=changes, request_id=request_id)
    return webhook, secret


async def change(
    session: AsyncSession,
    policy: AddressPolicy,
    webhook: Webhook,
    fields: dict[str, Any],
    caller: Caller,
    request_id: str | None,
) -> None:
    """Apply changed fields to a locked webhook. Raises ``Invalid``."""
    changes = {name: value for name, value in fields.items() if value != getattr(webhook, name)}
    if not changes:
        return
    if "url" in changes:
        _check_url(policy, changes["url"])
    before = {name: getattr(webhook, name) for name in changes}
    webhook.sqlmodel_update(changes)
    if "status" in changes:
        webhook.disabled_reason = "manual" if webhook.status == "disabled" else None
    if changes.keys() & {"status", "url"}:
        # The change may have fixed the cause of earlier failures.
        webhook.failures, webhook.failing_since, webhook.held_until = 0, None, None
    webhook.revision += 1
    await session.flush()
    await session.refresh(webhook)
    before, after = _audit_changes(before), _audit_changes(changes)
    audited = {name: {"from": before[name], "to": after[name]} for name in sorted(changes)}
    await record(session, caller, "webhook.update", KIND, webhook.id, changes=audited, request_id=request_id)


async def end(session: AsyncSession, webhook: Webhook, caller: Caller, request_id: str | None) -> None:
    """End a locked webhook: it gets no more messages, and its signing secrets are deleted."""
    webhook.ended_at = (await session.execute(select(func.now()))).scalar_one()
    webhook.revision += 1
    await session.flush()
    await destroy_secrets(session, webhook.id)
    changes = {"name": webhook.name}
    await record(session, caller, "webhook.delete", KIND, webhook.id, changes=changes, request_id=request_id)


async def rotate(
    session: AsyncSession,
    sealer: Sealer,
    webhook: Webhook,
    overlap: timedelta,
    caller: Caller,
    request_id: str | None,
) -> str:
    """Add a signing secret to a locked webhook; earlier ones also sign for the overlap."""
    until = await end_secrets(session, webhook.id, overlap)
    secret = add_secret(session, sealer, webhook.id)
    webhook.revision += 1
    await session.flush()
    await session.refresh(webhook)
    changes = {"overlap_until": until.isoformat()}
    await record(session, caller, "webhook.rotate", KIND, webhook.id, changes=changes, request_id=request_id)
    return secret


async def test(
    session: AsyncSession, webhook: Webhook, caller: Caller, request_id: str | None
) -> WebhookDelivery:
    """Enqueue a test message to a locked webhook. Raises ``Conflict``."""
    _check_active(webhook)
    webhook.held_until = None
    data = {"webhook_id": format_id(WEBHOOK, webhook.id)}
    delivery = WebhookDelivery(webhook_id=webhook.id, type=TEST, data=data)
    session.add(delivery)
    await session.flush()
    await session.refresh(delivery)
    await _record_delivery(session, caller, "webhook.test", delivery, request_id)
    return delivery


async def retry(
    session: AsyncSession,
    webhook: Webhook,
    delivery: WebhookDelivery,
    caller: Caller,
    request_id: str | None,
) -> None:
    """Send a locked delivery of a locked webhook again, immediately and under the same id. Raises ``Conflict``."""
    _check_active(webhook)
    webhook.held_until = None
    delivery.state, delivery.attempts, delivery.lease = "pending", 0, None
    now = (await session.execute(select(func.now()))).scalar_one()
    delivery.due_at, delivery.give_up_at = now, now + KEEP_TRYING
    delivery.revision += 1
    await session.flush()
    await session.refresh(delivery)
    await _record_delivery(session, caller, "webhook.retry", delivery, request_id)


async def _record_delivery(
    session: AsyncSession, caller: Caller, action: str, delivery: WebhookDelivery, request_id: str | None
) -> None:
    changes = {"delivery_id": delivery.id}
    await record(session, caller, action, KIND, delivery.webhook_id, changes=changes, request_id=request_id)


def _check_active(webhook: Webhook) -> None:
    if webhook.status != "active":
        raise Conflict("This webhook is disabled: set its status to active first.", code="webhook_disabled")


def _check_url(policy: AddressPolicy, url: str) -> None:
    """Require TLS or an allowed network, since messages contain who requested what."""
    reason = "messages are sent over http only to an address of an allowed network"
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
