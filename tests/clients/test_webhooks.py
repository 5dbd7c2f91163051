"""The client and the real service: webhooks, and what became of their messages."""

import pytest
from scopegate_client import Client
from scopegate_client.errors import NotFound

from tests.clients.drives import drives
from tests.clients.names import name


@drives(
    *("create_webhook", "get_webhook", "list_webhooks", "update_webhook", "rotate_webhook", "delete_webhook"),
    *("create_webhook_test", "list_webhook_deliveries", "get_webhook_delivery", "retry_webhook_delivery"),
)
def test_a_webhook_is_made_tried_changed_and_ended(client: Client) -> None:
    called = name("chat")
    issued = client.webhooks.create(
        name=called, url="https://hooks.invalid/gate", events=["approval.requested"]
    )
    assert issued.secret.reveal().startswith("whsec_")
    assert issued.secret.reveal() not in repr(issued)
    hook = issued.webhook
    assert client.webhooks.get(hook.id).events == ["approval.requested"]
    assert [found.id for found in client.webhooks.list(q=called)] == [hook.id]
    sent = client.webhooks.create_test(hook.id)
    assert [found.id for found in client.webhooks.list_deliveries(hook.id)] == [sent.id]
    assert client.webhooks.get_delivery(hook.id, sent.id).type == "webhook.test"
    assert client.webhooks.retry_delivery(hook.id, sent.id).state == "pending"
    assert client.webhooks.update(hook.id, events=["approval.denied"]).events == ["approval.denied"]
    assert client.webhooks.rotate(hook.id, overlap_s=60).secret.reveal() != issued.secret.reveal()
    client.webhooks.delete(hook.id)
    with pytest.raises(NotFound):
        client.webhooks.get(hook.id)
