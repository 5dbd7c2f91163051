"""``/webhooks``: destinations of messages, and their deliveries."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from app.features.webhooks import service
from app.features.webhooks.queries import SORTS, select_deliveries, select_webhooks
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
from app.http.authorization import Caller, Permission, authorize, requires
from app.http.etags import IfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import DELIVERY, WEBHOOK, DeliveryId, WebhookId, format_id
from app.models.webhooks import Webhook, WebhookDelivery

router = APIRouter(
    prefix="/api/v1/webhooks", tags=["webhooks"], route_class=TransactionalRoute, responses=COMMON_PROBLEMS
)
Reader = Annotated[Caller, requires(Permission.WEBHOOKS_READ)]
Writer = Annotated[Caller, requires(Permission.WEBHOOKS_WRITE)]
Include = Annotated[
    Literal["ended"] | None,
    Query(description="`ended` shows ended ones too; needs the permission audit.read."),
]


def _secret(response: Response, webhook: Webhook, secret: str) -> WebhookSecretView:
    set_etag(response, webhook.revision)
    response.headers["Cache-Control"] = "no-store"
    return WebhookSecretView(secret=secret, webhook=WebhookView.from_row(webhook))


@router.get("", operation_id="list_webhooks")
async def list_webhooks(
    caller: Reader, session: Session, runtime: CurrentRuntime, query: Annotated[WebhookQuery, Query()]
) -> Page[WebhookView]:
    """List webhooks, newest first."""
    if query.include:
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_webhooks", query.filters())
    rows, following = await read_page(session, select_webhooks(query), Webhook, cursors, query, SORTS)
    return Page(items=[WebhookView.from_row(row) for row in rows], next_cursor=following)


@router.post("", operation_id="create_webhook", status_code=201)
@once
async def create_webhook(
    caller: Writer,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
    body: WebhookCreate,
) -> WebhookSecretView:
    """Create a webhook. Only this response shows its signing secret."""
    request_id = request.state.request_id
    webhook, secret = await service.create(
        session, runtime.sealer, runtime.outbound.policy, body, caller, request_id
    )
    response.headers["Location"] = f"{router.prefix}/{format_id(WEBHOOK, webhook.id)}"
    return _secret(response, webhook, secret)


@router.get("/{webhook_id}", operation_id="get_webhook")
async def get_webhook(
    caller: Reader, session: Session, response: Response, webhook_id: WebhookId, include: Include = None
) -> WebhookView:
    """Read one webhook, with the state of its endpoint."""
    if include:
        authorize(caller, Permission.AUDIT_READ)
    webhook = await service.load(session, webhook_id, include_ended=include is not None)
    set_etag(response, webhook.revision)
    return WebhookView.from_row(webhook)


@router.patch("/{webhook_id}", operation_id="update_webhook", responses=problem_responses(412))
async def update_webhook(
    caller: Writer,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
    webhook_id: WebhookId,
    body: WebhookUpdate,
) -> WebhookView:
    """Change a webhook. When it is active again, pending messages are delivered."""
    webhook = await service.load(session, webhook_id, lock=True)
    if_match.check(webhook.revision)
    policy, request_id = runtime.outbound.policy, request.state.request_id
    await service.change(session, policy, webhook, body.given(), caller, request_id)
    set_etag(response, webhook.revision)
    return WebhookView.from_row(webhook)


@router.delete(
    "/{webhook_id}", operation_id="delete_webhook", status_code=204, responses=problem_responses(412)
)
async def delete_webhook(
    caller: Writer, session: Session, request: Request, if_match: IfMatch, webhook_id: WebhookId
) -> None:
    """End a webhook. Pending messages are not delivered, and its signing secrets are deleted."""
    webhook = await service.load(session, webhook_id, lock=True)
    if_match.check(webhook.revision)
    await service.end(session, webhook, caller, request.state.request_id)


@router.post("/{webhook_id}/rotate", operation_id="rotate_webhook", responses=problem_responses(412))
async def rotate_webhook(
    caller: Writer,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
    webhook_id: WebhookId,
    body: WebhookRotate,
) -> WebhookSecretView:
    """Rotate the signing secret of a webhook. For `overlap_s` seconds, old secrets sign messages too."""
    webhook = await service.load(session, webhook_id, lock=True)
    if_match.check(webhook.revision)
    overlap, request_id = timedelta(seconds=body.overlap_s), request.state.request_id
    secret = await service.rotate(session, runtime.sealer, webhook, overlap, caller, request_id)
    return _secret(response, webhook, secret)


@router.post(
    "/{webhook_id}/test",
    operation_id="create_webhook_test",
    status_code=201,
    responses=problem_responses(409),
)
@once
async def create_webhook_test(
    caller: Writer, session: Session, request: Request, response: Response, webhook_id: WebhookId
) -> DeliveryView:
    """Send a test message of the type `webhook.test`. Read the delivery to see the result."""
    webhook = await service.load(session, webhook_id, lock=True)
    delivery = await service.test(session, webhook, caller, request.state.request_id)
    set_etag(response, delivery.revision)
    place = f"{router.prefix}/{format_id(WEBHOOK, webhook.id)}/deliveries"
    response.headers["Location"] = f"{place}/{format_id(DELIVERY, delivery.id)}"
    return DeliveryView.from_row(delivery)


@router.get(
    "/{webhook_id}/deliveries",
    dependencies=[requires(Permission.WEBHOOKS_READ)],
    operation_id="list_webhook_deliveries",
)
async def list_webhook_deliveries(
    session: Session,
    runtime: CurrentRuntime,
    webhook_id: WebhookId,
    query: Annotated[DeliveryQuery, Query()],
) -> Page[DeliveryView]:
    """List the deliveries of a webhook: pending, and of the last 30 days, newest first."""
    webhook = await service.load(session, webhook_id)
    filters = query.filters() | {"webhook": webhook.id}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_webhook_deliveries", filters)
    statement = select_deliveries(webhook.id, query)
    rows, following = await read_page(session, statement, WebhookDelivery, cursors, query)
    return Page(items=[DeliveryView.from_row(row) for row in rows], next_cursor=following)


@router.get(
    "/{webhook_id}/deliveries/{delivery_id}",
    dependencies=[requires(Permission.WEBHOOKS_READ)],
    operation_id="get_webhook_delivery",
)
async def get_webhook_delivery(
    session: Session, response: Response, webhook_id: WebhookId, delivery_id: DeliveryId
) -> DeliveryView:
    """Read one delivery of a webhook, with its attempts."""
    webhook = await service.load(session, webhook_id)
    delivery = await service.load_delivery(session, webhook, delivery_id)
    set_etag(response, delivery.revision)
    return DeliveryView.from_row(delivery)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/retry",
    operation_id="retry_webhook_delivery",
    responses=problem_responses(409, 412),
)
async def retry_webhook_delivery(
    caller: Writer,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
    webhook_id: WebhookId,
    delivery_id: DeliveryId,
) -> DeliveryView:
    """Send a message again, regardless of its state. It keeps its ID, so that receivers detect duplicates."""
    webhook = await service.load(session, webhook_id, lock=True)
    delivery = await service.load_delivery(session, webhook, delivery_id, lock=True)
    if_match.check(delivery.revision)
    await service.retry(session, webhook, delivery, caller, request.state.request_id)
    set_etag(response, delivery.revision)
    return DeliveryView.from_row(delivery)
