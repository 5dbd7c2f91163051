"""Queries of webhooks and their deliveries."""

from uuid import UUID

from sqlalchemy import Select, cast, select
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.webhooks.schemas import DeliveryQuery, WebhookQuery
from app.http.pagination import Sorts, caseless
from app.models.webhooks import Webhook, WebhookDelivery

SORTS: Sorts = {"name": caseless(col(Webhook.name))}
"""The sort orders of the list, with an index for each."""


def select_webhooks(query: WebhookQuery) -> Select[Webhook]:
    """Select the webhooks that match the filters, unordered."""
    statement = select(Webhook)
    if query.include is None:
        statement = statement.where(col(Webhook.ended_at).is_(None))
    if query.status:
        statement = statement.where(col(Webhook.status).in_(query.status))
    if query.event:
        events = cast([event.value for event in query.event], ARRAY(TEXT))
        statement = statement.where(col(Webhook.events).op("&&")(events))
    if query.failing:
        statement = statement.where(col(Webhook.failing_since).is_not(None))
    if query.q:
        statement = statement.where(col(Webhook.name).icontains(query.q, autoescape=True))
    return statement


def select_deliveries(webhook_id: UUID, query: DeliveryQuery) -> Select[WebhookDelivery]:
    """Select the deliveries of a webhook that match the filters, unordered."""
    statement = select(WebhookDelivery).where(col(WebhookDelivery.webhook_id) == webhook_id)
    if query.state:
        statement = statement.where(col(WebhookDelivery.state).in_(query.state))
    if query.type:
        statement = statement.where(col(WebhookDelivery.type).in_(query.type))
    return statement


async def find(session: AsyncSession, id: UUID, *, ended: bool, lock: bool) -> Webhook | None:
    """Find a webhook, locked for a change on demand."""
    query = select(Webhook).where(col(Webhook.id) == id)
    if not ended:
        query = query.where(col(Webhook.ended_at).is_(None))
    if lock:
        # Its key does not change, so references to it need not wait.
        query = query.with_for_update(key_share=True)
    return (await session.execute(query)).scalar_one_or_none()


async def find_delivery(
    session: AsyncSession, webhook_id: UUID, id: UUID, *, lock: bool
) -> WebhookDelivery | None:
    """Find a delivery of this webhook, locked for a change on demand."""
    query = select(WebhookDelivery).where(
        col(WebhookDelivery.id) == id, col(WebhookDelivery.webhook_id) == webhook_id
    )
    if lock:
        query = query.with_for_update()
    return (await session.execute(query)).scalar_one_or_none()
