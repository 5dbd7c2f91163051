"""REST routes of webhooks and their deliveries."""

from typing import Annotated, Literal

from fastapi import Query, Response

from app.db.change import Change
from app.features.webhooks import service
from app.features.webhooks.schemas import (
    DeliveryQuery,
    DeliveryView,
    WebhookCreate,
    WebhookQuery,
    WebhookRotate,
    WebhookSecretView,
    WebhookUpdate,
    WebhookView,
)
from app.http.authorization import Caller, Permission, changes, requires
from app.http.etags import IfMatch
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import DELIVERY, WEBHOOK, DeliveryId, WebhookId, format_id
from app.models.webhooks import Webhook

router = api_router("webhooks")
CanRead = Annotated[Caller, requires(Permission.WEBHOOKS_READ)]
CanWrite = Annotated[Change, changes(Permission.WEBHOOKS_WRITE)]
Include = Annotated[
    Literal["ended"] | None,
    Query(description="`ended` shows ended ones too; needs the permission audit.read."),
]


def _secret(webhook: Webhook, secret: str) -> WebhookSecretView:
    return WebhookSecretView(secret=secret, webhook=WebhookView.from_row(webhook))


@router.get("")
async def list_webhooks(
    caller: CanRead, session: Session, runtime: CurrentRuntime, query: Annotated[WebhookQuery, Query()]
) -> Page[WebhookView]:
    """List webhooks, newest first."""
    rows, following = await service.list_webhooks(session, caller, query, runtime)
    return Page(items=[WebhookView.from_row(row) for row in rows], next_cursor=following)


@router.post("", status_code=201)
async def create_webhook(change: CanWrite, runtime: CurrentRuntime, body: WebhookCreate) -> WebhookSecretView:
    """Create a webhook. Only this response shows its signing secret."""
    webhook, secret = await service.create_webhook(change, body, runtime)
    return _secret(webhook, secret)


@router.get("/{webhook_id}")
async def get_webhook(
    caller: CanRead, session: Session, webhook_id: WebhookId, include: Include = None
) -> WebhookView:
    """Read one webhook, with the state of its endpoint."""
    webhook = await service.get_webhook(session, caller, webhook_id, ended=include is not None)
    return WebhookView.from_row(webhook)


@router.patch("/{webhook_id}")
async def update_webhook(
    change: CanWrite, runtime: CurrentRuntime, if_match: IfMatch, webhook_id: WebhookId, body: WebhookUpdate
) -> WebhookView:
    """Change a webhook. When it is active again, pending messages are delivered."""
    return WebhookView.from_row(await service.update_webhook(change, webhook_id, body, if_match, runtime))


@router.delete("/{webhook_id}", status_code=204)
async def delete_webhook(change: CanWrite, if_match: IfMatch, webhook_id: WebhookId) -> None:
    """End a webhook. Pending messages are not delivered, and its signing secrets are deleted."""
    await service.end_webhook(change, webhook_id, if_match)


@router.post("/{webhook_id}/rotate")
async def rotate_webhook(
    change: CanWrite, runtime: CurrentRuntime, if_match: IfMatch, webhook_id: WebhookId, body: WebhookRotate
) -> WebhookSecretView:
    """Rotate the signing secret of a webhook. For `overlap_s` seconds, old secrets sign messages too."""
    return _secret(*await service.rotate_webhook(change, webhook_id, body, if_match, runtime))


@router.post("/{webhook_id}/test", status_code=201)
async def create_webhook_test(change: CanWrite, response: Response, webhook_id: WebhookId) -> DeliveryView:
    """Send a test message of the type `webhook.test`. Read the delivery to see the result."""
    delivery = await service.create_test(change, webhook_id)
    place = f"{router.prefix}/{format_id(WEBHOOK, webhook_id)}/deliveries"
    response.headers["Location"] = f"{place}/{format_id(DELIVERY, delivery.id)}"
    return DeliveryView.from_row(delivery)


@router.get("/{webhook_id}/deliveries")
async def list_webhook_deliveries(
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
    webhook_id: WebhookId,
    query: Annotated[DeliveryQuery, Query()],
) -> Page[DeliveryView]:
    """List the deliveries of a webhook: pending, and of the last 30 days, newest first."""
    rows, following = await service.list_deliveries(session, caller, webhook_id, query, runtime)
    return Page(items=[DeliveryView.from_row(row) for row in rows], next_cursor=following)


@router.get("/{webhook_id}/deliveries/{delivery_id}")
async def get_webhook_delivery(
    caller: CanRead, session: Session, webhook_id: WebhookId, delivery_id: DeliveryId
) -> DeliveryView:
    """Read one delivery of a webhook, with its attempts."""
    return DeliveryView.from_row(await service.get_delivery(session, caller, webhook_id, delivery_id))


@router.post("/{webhook_id}/deliveries/{delivery_id}/retry", responses=problem_responses(409))
async def retry_webhook_delivery(
    change: CanWrite, if_match: IfMatch, webhook_id: WebhookId, delivery_id: DeliveryId
) -> DeliveryView:
    """Send a message again, regardless of its state. It keeps its ID, so that receivers detect duplicates."""
    return DeliveryView.from_row(await service.retry_delivery(change, webhook_id, delivery_id, if_match))
