"""Those who decide hear of a call that waits: from the call to the message, by its link to the decision, and back."""

import json

import pytest
from mcp import Client

from tests.api import Account
from tests.features.webhooks.receiver import receiver
from tests.story.service import listener, notes_server, serving, whole_service

POLICY = """
@require_approval("Editors")
forbid (principal, action == Action::"call_tool", resource == Tool::"notes/write_note");
"""
EVENTS = ["approval.requested", "approval.approved"]
SECRETS = {"name": "personal", "text": "what nobody else may read"}


@pytest.mark.slow
async def test_a_message_leads_to_the_decision_and_tells_nothing_else(
    database_url: str, owner: Account
) -> None:
    with listener() as sock:
        async with (
            receiver() as endpoint,
            whole_service(database_url, owner.bearer) as service,
            serving(notes_server(), sock) as url,
        ):
            server_id = await service.register("notes", f"{url}/mcp")
            editors = (await service.post("/groups", {"name": "Editors"}))["id"]
            await service.publish(POLICY)
            issued = await service.issue()
            hook = {"name": "chat", "url": endpoint.url, "events": EVENTS}
            secret = (await service.post("/webhooks", hook))["secret"]
            async with (
                service.connect("/mcp/notes", issued["secret"]) as transport,
                Client(transport, mode="legacy") as client,
            ):
                for _ in range(2):
                    # Again and again, as an agent does: that is one approval, and one message.
                    assert (await client.call_tool("write_note", SECRETS)).is_error
                await endpoint.until(lambda arrived: len(arrived) == 1)
                asked = endpoint.arrived[0].verified(secret)
                approval_id = asked["data"]["approval_id"]
                assert asked["type"] == "approval.requested"
                assert asked["data"] == {
                    "approval_id": approval_id,
                    "event_id": asked["data"]["event_id"],
                    "group_id": editors,
                    "identity_id": issued["token"]["identity_id"],
                    "server_id": server_id,
                    "token_id": issued["token"]["id"],
                    "url": f"{service.url}/approvals/{approval_id}",
                }
                await service.post(f"/approvals/{approval_id}/approve", {"reason": "As agreed."}, 200)
                await endpoint.until(lambda arrived: len(arrived) == 2)
                decided = endpoint.arrived[1].verified(secret)
                assert (decided["type"], decided["data"]) == ("approval.approved", asked["data"])
                assert not (await client.call_tool("write_note", SECRETS)).is_error
            told = json.dumps([[request.headers, request.body] for request in endpoint.arrived])
            words = [*SECRETS.values(), "Editors", "As agreed.", "write_note", "sophie", issued["secret"]]
            assert [word for word in words if word in told] == []
