"""The operations of webhooks, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.issued_webhook_secret import IssuedWebhookSecret
from ...models.webhook import Webhook
from ...models.webhook_delivery import WebhookDelivery
from ...models.webhook_delivery_state import WebhookDeliveryState
from ...models.webhook_event import WebhookEvent
from ...models.webhook_order import WebhookOrder
from ...models.webhook_status import WebhookStatus
from ...types import UNSET, Unset
from . import create_webhook as _create_webhook
from . import create_webhook_test as _create_webhook_test
from . import delete_webhook as _delete_webhook
from . import get_webhook as _get_webhook
from . import get_webhook_delivery as _get_webhook_delivery
from . import list_webhook_deliveries as _list_webhook_deliveries
from . import list_webhooks as _list_webhooks
from . import retry_webhook_delivery as _retry_webhook_delivery
from . import rotate_webhook as _rotate_webhook
from . import update_webhook as _update_webhook


class WebhooksResource(Resource):
    """Destinations of signed messages about events, such as a call that waits for a decision, with retries."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: WebhookStatus | Sequence[WebhookStatus] | None = None,
        event: WebhookEvent | Sequence[WebhookEvent] | None = None,
        failing: bool = False,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: WebhookOrder | None = None,
    ) -> Listing[Webhook]:
        """List webhooks, newest first.

        Needs the permission `webhooks.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            event: Only webhooks that receive this event type.
            failing: Only those whose last attempt failed.
            q: Text in the name.
            include: `ended` shows ended ones too; needs the permission audit.read.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_webhooks.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                event=event,
                failing=failing,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    def create(
        self,
        *,
        name: str,
        url: str,
        events: Sequence[WebhookEvent],
        description: str | None | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> IssuedWebhookSecret:
        """Create a webhook.

        Only this response shows its signing secret.

        Needs the permission `webhooks.write`.

        Args:
            name: Its display name.
            url: An https URL, or http to an address in an allowed network. It must not contain a secret: callers
                who may read webhooks see it, and messages are signed.
            events: The event types that it receives.
            description: What it is for.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_webhook.call(
                {
                    "name": name,
                    "url": url,
                    "events": events,
                    "description": description,
                },
                idempotency_key=idempotency_key,
            )
        )

    def get(
        self,
        webhook_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> Webhook:
        """Read one webhook, with the state of its endpoint.

        Needs the permission `webhooks.read`.

        Args:
            webhook_id: The id of a webhook.
            include: `ended` shows ended ones too; needs the permission audit.read.
        """
        return self._send(
            _get_webhook.call(
                webhook_id,
                include=include,
            )
        )

    def delete(
        self,
        webhook_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End a webhook.

        Pending messages are not delivered, and its signing secrets are deleted.

        Needs the permission `webhooks.write`.

        Args:
            webhook_id: The id of a webhook.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_webhook.call(
                webhook_id,
                if_match=if_match,
            )
        )

    def update(
        self,
        webhook_id: str,
        *,
        name: str | Unset = UNSET,
        description: str | None | Unset = UNSET,
        url: str | Unset = UNSET,
        events: Sequence[WebhookEvent] | Unset = UNSET,
        status: WebhookStatus | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Webhook:
        """Change a webhook.

        When it is active again, pending messages are delivered.

        Needs the permission `webhooks.write`.

        Args:
            webhook_id: The id of a webhook.
            name: Its display name.
            description: What it is for.
            url: Pending messages are sent there too.
            events: The event types that it receives.
            status: A `disabled` webhook gets no messages; its pending ones stay, for three days in all.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _update_webhook.call(
                webhook_id,
                {
                    "name": name,
                    "description": description,
                    "url": url,
                    "events": events,
                    "status": status,
                },
                if_match=if_match,
            )
        )

    def list_deliveries(
        self,
        webhook_id: str,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        state: WebhookDeliveryState | Sequence[WebhookDeliveryState] | None = None,
        type: str | Sequence[str] | None = None,
    ) -> Listing[WebhookDelivery]:
        """List the deliveries of a webhook: pending, and of the last 30 days, newest first.

        Needs the permission `webhooks.read`.

        Args:
            webhook_id: The id of a webhook.
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            type: Only messages of this event type.
        """
        return self._list(
            lambda cursor: _list_webhook_deliveries.call(
                webhook_id,
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                state=state,
                type=type,
                cursor=cursor,
            )
        )

    def get_delivery(
        self,
        webhook_id: str,
        delivery_id: str,
    ) -> WebhookDelivery:
        """Read one delivery of a webhook, with its attempts.

        Needs the permission `webhooks.read`.

        Args:
            webhook_id: The id of a webhook.
            delivery_id: The id of a delivery of a message to a webhook.
        """
        return self._send(
            _get_webhook_delivery.call(
                webhook_id,
                delivery_id,
            )
        )

    def retry_delivery(
        self,
        webhook_id: str,
        delivery_id: str,
        *,
        if_match: int | str | None = None,
    ) -> WebhookDelivery:
        """Send a message again, regardless of its state.

        It keeps its ID, so that receivers detect duplicates.

        Needs the permission `webhooks.write`.

        Args:
            webhook_id: The id of a webhook.
            delivery_id: The id of a delivery of a message to a webhook.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _retry_webhook_delivery.call(
                webhook_id,
                delivery_id,
                if_match=if_match,
            )
        )

    def rotate(
        self,
        webhook_id: str,
        *,
        overlap_s: int | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> IssuedWebhookSecret:
        """Rotate the signing secret of a webhook.

        For `overlap_s` seconds, old secrets sign messages too.

        Needs the permission `webhooks.write`.

        Args:
            webhook_id: The id of a webhook.
            overlap_s: For how many seconds the old secrets also sign messages.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _rotate_webhook.call(
                webhook_id,
                {
                    "overlap_s": overlap_s,
                },
                if_match=if_match,
            )
        )

    def create_test(
        self,
        webhook_id: str,
        *,
        idempotency_key: str | None = None,
    ) -> WebhookDelivery:
        """Send a test message of the type `webhook.test`.

        Read the delivery to see the result.

        Needs the permission `webhooks.write`.

        Args:
            webhook_id: The id of a webhook.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_webhook_test.call(
                webhook_id,
                idempotency_key=idempotency_key,
            )
        )


class AsyncWebhooksResource(AsyncResource):
    """Destinations of signed messages about events, such as a call that waits for a decision, with retries."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: WebhookStatus | Sequence[WebhookStatus] | None = None,
        event: WebhookEvent | Sequence[WebhookEvent] | None = None,
        failing: bool = False,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: WebhookOrder | None = None,
    ) -> AsyncListing[Webhook]:
        """List webhooks, newest first.

        Needs the permission `webhooks.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            event: Only webhooks that receive this event type.
            failing: Only those whose last attempt failed.
            q: Text in the name.
            include: `ended` shows ended ones too; needs the permission audit.read.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_webhooks.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                event=event,
                failing=failing,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    async def create(
        self,
        *,
        name: str,
        url: str,
        events: Sequence[WebhookEvent],
        description: str | None | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> IssuedWebhookSecret:
        """Create a webhook.

        Only this response shows its signing secret.

        Needs the permission `webhooks.write`.

        Args:
            name: Its display name.
            url: An https URL, or http to an address in an allowed network. It must not contain a secret: callers
                who may read webhooks see it, and messages are signed.
            events: The event types that it receives.
            description: What it is for.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_webhook.call(
                {
                    "name": name,
                    "url": url,
                    "events": events,
                    "description": description,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def get(
        self,
        webhook_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> Webhook:
        """Read one webhook, with the state of its endpoint.

        Needs the permission `webhooks.read`.

        Args:
            webhook_id: The id of a webhook.
            include: `ended` shows ended ones too; needs the permission audit.read.
        """
        return await self._send(
            _get_webhook.call(
                webhook_id,
                include=include,
            )
        )

    async def delete(
        self,
        webhook_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End a webhook.

        Pending messages are not delivered, and its signing secrets are deleted.

        Needs the permission `webhooks.write`.

        Args:
            webhook_id: The id of a webhook.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_webhook.call(
                webhook_id,
                if_match=if_match,
            )
        )

    async def update(
        self,
        webhook_id: str,
        *,
        name: str | Unset = UNSET,
        description: str | None | Unset = UNSET,
        url: str | Unset = UNSET,
        events: Sequence[WebhookEvent] | Unset = UNSET,
        status: WebhookStatus | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Webhook:
        """Change a webhook.

        When it is active again, pending messages are delivered.

        Needs the permission `webhooks.write`.

        Args:
            webhook_id: The id of a webhook.
            name: Its display name.
            description: What it is for.
            url: Pending messages are sent there too.
            events: The event types that it receives.
            status: A `disabled` webhook gets no messages; its pending ones stay, for three days in all.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _update_webhook.call(
                webhook_id,
                {
                    "name": name,
                    "description": description,
                    "url": url,
                    "events": events,
                    "status": status,
                },
                if_match=if_match,
            )
        )

    def list_deliveries(
        self,
        webhook_id: str,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        state: WebhookDeliveryState | Sequence[WebhookDeliveryState] | None = None,
        type: str | Sequence[str] | None = None,
    ) -> AsyncListing[WebhookDelivery]:
        """List the deliveries of a webhook: pending, and of the last 30 days, newest first.

        Needs the permission `webhooks.read`.

        Args:
            webhook_id: The id of a webhook.
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            type: Only messages of this event type.
        """
        return self._list(
            lambda cursor: _list_webhook_deliveries.call(
                webhook_id,
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                state=state,
                type=type,
                cursor=cursor,
            )
        )

    async def get_delivery(
        self,
        webhook_id: str,
        delivery_id: str,
    ) -> WebhookDelivery:
        """Read one delivery of a webhook, with its attempts.

        Needs the permission `webhooks.read`.

        Args:
            webhook_id: The id of a webhook.
            delivery_id: The id of a delivery of a message to a webhook.
        """
        return await self._send(
            _get_webhook_delivery.call(
                webhook_id,
                delivery_id,
            )
        )

    async def retry_delivery(
        self,
        webhook_id: str,
        delivery_id: str,
        *,
        if_match: int | str | None = None,
    ) -> WebhookDelivery:
        """Send a message again, regardless of its state.

        It keeps its ID, so that receivers detect duplicates.

        Needs the permission `webhooks.write`.

        Args:
            webhook_id: The id of a webhook.
            delivery_id: The id of a delivery of a message to a webhook.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _retry_webhook_delivery.call(
                webhook_id,
                delivery_id,
                if_match=if_match,
            )
        )

    async def rotate(
        self,
        webhook_id: str,
        *,
        overlap_s: int | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> IssuedWebhookSecret:
        """Rotate the signing secret of a webhook.

        For `overlap_s` seconds, old secrets sign messages too.

        Needs the permission `webhooks.write`.

        Args:
            webhook_id: The id of a webhook.
            overlap_s: For how many seconds the old secrets also sign messages.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _rotate_webhook.call(
                webhook_id,
                {
                    "overlap_s": overlap_s,
                },
                if_match=if_match,
            )
        )

    async def create_test(
        self,
        webhook_id: str,
        *,
        idempotency_key: str | None = None,
    ) -> WebhookDelivery:
        """Send a test message of the type `webhook.test`.

        Read the delivery to see the result.

        Needs the permission `webhooks.write`.

        Args:
            webhook_id: The id of a webhook.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_webhook_test.call(
                webhook_id,
                idempotency_key=idempotency_key,
            )
        )
