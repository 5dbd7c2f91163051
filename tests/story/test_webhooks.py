"""Webhooks: approvers are notified of pending approvals, from the call to the decision.
Owners of tokens are notified before they expire, with the receiver of the how-to."""

import asyncio
import json
import os
import re
import sys
from datetime import datetime
from pathlib import Path

import pytest
from mcp import Client
from sqlalchemy import text

from app.crypto.keys import Peppers
from app.features.tokens import expiring
from app.lib.ids import SERVICE_ACCOUNT, format_id
from tests.api import Account, make_account
from tests.features.principals import Sessions
from tests.features.tokens.world import in_days
from tests.features.webhooks.receiver import receiver
from tests.serving import listener
from tests.story.service import notes_server, serving, whole_service

POLICY = """
@require_approval("Editors")
forbid (principal, action == Action::"call_tool", resource == Tool::"notes/write_note");
"""
EVENTS = ["approval.requested", "approval.approved"]
SECRETS = {"name": "personal", "text": "private text"}


@pytest.mark.slow
async def test_a_webhook_message_links_to_the_decision_and_contains_no_data(
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
                    "url": f"{service.url}/console/approvals/{approval_id}",
                }
                await service.post(f"/approvals/{approval_id}/approve", {"reason": "As agreed."}, 200)
                await endpoint.until(lambda arrived: len(arrived) == 2)
                decided = endpoint.arrived[1].verified(secret)
                assert (decided["type"], decided["data"]) == ("approval.approved", asked["data"])
                assert not (await client.call_tool("write_note", SECRETS)).is_error
            sent = json.dumps([[request.headers, request.body] for request in endpoint.arrived])
            words = [*SECRETS.values(), "Editors", "As agreed.", "write_note", "sophie", issued["secret"]]
            assert [word for word in words if word in sent] == []


HOW_TO = (Path(__file__).parents[2] / "docs" / "how-to" / "webhooks.md").read_text()


@pytest.mark.slow
async def test_the_owner_of_a_token_is_notified_before_it_expires(
    database_url: str,
    owner: Account,
    sessions: Sessions,
    peppers: Peppers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Soon again, should the first look have been too early.
    monkeypatch.setattr(expiring, "LOOK_EVERY_S", 1.0)
    auditor = await make_account(sessions, peppers, "auditor")
    source = re.search(r"```python\n(.*?)```", HOW_TO, re.DOTALL)
    assert source is not None
    async with whole_service(database_url, owner.bearer) as service:
        ada = await service.post(
            "/identities", {"kind": "person", "user_name": "ada", "email": "ada@example.com"}
        )
        robot = await service.post(
            "/identities", {"kind": "agent", "user_name": "robot", "owner_id": ada["id"]}
        )
        body = {"identity_id": robot["id"], "name": "nightly job", "scope": {"kind": "grants"}}
        token = (await service.post("/tokens", body | {"expires_at": in_days(30)}))["token"]
        hook = {"name": "renewals", "url": "http://127.0.0.1:1/", "events": ["token.expiring"]}
        made = await service.post("/webhooks", hook)
        credentials = {
            "SCOPEGATE_URL": service.url,
            "SCOPEGATE_CLIENT_ID": format_id(SERVICE_ACCOUNT, auditor.id),
            "SCOPEGATE_CLIENT_SECRET": auditor.secret,
            "WEBHOOK_SECRET": made["secret"],
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", source[1]),
            env={**os.environ, **credentials, "PORT": "0"},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            port = (await process.stdout.readline()).split()[-1].decode()
            where = {"url": f"http://127.0.0.1:{port}/renew"}
            changed = await service.api.patch(f"/api/v1/webhooks/{made['webhook']['id']}", json=where)
            assert changed.status_code == 200, changed.text
            async with sessions() as session:
                # Time passes, now that the receiver is there.
                await session.execute(text(
                    "UPDATE tokens SET created_at = now() - interval '30 days', "
                    "expires_at = now() + interval '6 days'"
                ))  # fmt: skip
                await session.commit()
            async with asyncio.timeout(50):
                said = (await process.stdout.readline()).decode()
        finally:
            process.kill()
            await process.wait()
        ends = (await service.api.get(f"/api/v1/tokens/{token['id']}")).json()["expires_at"]
        day = datetime.fromisoformat(ends)
        assert said.strip() == f"to ada@example.com: 'nightly job' ends on {day:%d %B}"
