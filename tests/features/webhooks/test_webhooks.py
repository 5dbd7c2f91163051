"""``/webhooks``: permissions, visible fields, and delivery requests."""

from datetime import UTC, datetime
from typing import Any

import httpx2
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from standardwebhooks import Webhook as Verifier

from tests.api import ApiAs

Sessions = async_sessionmaker[AsyncSession]
PATH = "/api/v1/webhooks"
# Never resolves (RFC 6761).
URL = "https://hooks.invalid/T0/secret-path?key=hidden"
NEW = {"name": "chat", "url": URL, "events": ["approval.requested", "approval.requested"]}


async def make(api: httpx2.AsyncClient, **fields: Any) -> tuple[str, dict[str, Any]]:
    """Create a webhook; return its path and the response."""
    answer = await api.post(PATH, json=NEW | fields)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"], answer.json()


async def test_a_signing_secret_is_shown_once_and_readable_nowhere(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    path, made = await make(api)
    first = made["secret"]
    assert Verifier(first).sign("dlv_1", datetime.now(UTC), "{}")
    assert made["webhook"]["events"] == ["approval.requested"]
    tag = (await api.get(path)).headers["ETag"]
    rotated = await api.post(f"{path}/rotate", json={"overlap_s": 60}, headers={"If-Match": tag})
    assert rotated.headers["Cache-Control"] == "no-store"
    assert rotated.json()["secret"] not in {None, first}
    shown = (await api.get(path)).text + (await api.get(PATH)).text
    async with sessions() as session:
        for table in ("webhooks", "webhook_secrets", "audit_events"):
            rows = await session.execute(text(f"SELECT t::text FROM {table} t"))
            shown += "".join(row[0] for row in rows)
    for secret in (first, rotated.json()["secret"]):
        assert secret not in shown
        assert secret.removeprefix("whsec_").rstrip("=") not in shown


FORBIDDEN = (
    *("http://hooks.example.com/", "https://127.0.0.1/", "https://169.254.169.254/", "https://localhost/"),
    *("ftp://x.example.com/", "https://user:word@hooks.example.com/"),
)


async def test_a_url_that_may_not_be_reached_is_refused_when_made_and_when_changed(
    api: httpx2.AsyncClient,
) -> None:
    path, _ = await make(api)
    for url in FORBIDDEN:
        made, changed = (
            await api.post(PATH, json=NEW | {"url": url}),
            await api.patch(path, json={"url": url}),
        )
        for answer in (made, changed):
            assert (answer.status_code, answer.json()["code"]) == (422, "forbidden_url"), url
            assert answer.json()["errors"][0]["pointer"] == "/url"


async def test_a_webhook_is_changed_disabled_and_ended_and_the_trail_has_no_path_of_its_url(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    path, made = await make(api)
    other = "https://other.invalid/another-path"
    changed = await api.patch(path, json={"url": other, "events": ["approval.denied"], "status": "disabled"})
    assert (changed.json()["url"], changed.json()["disabled_reason"]) == (other, "manual")
    assert (await api.post(f"{path}/test")).json()["code"] == "webhook_disabled"
    assert [item["id"] for item in (await api.get(f"{PATH}?status=disabled&q=CHA")).json()["items"]] == [
        made["webhook"]["id"]
    ]
    for none in ("event=approval.requested", "failing=true", "status=active"):
        assert (await api.get(f"{PATH}?{none}")).json()["items"] == []
    async with sessions() as session:
        failing = (
            "UPDATE webhooks SET failures = 5, failing_since = now(), held_until = now() + interval '1 hour'"
        )
        await session.execute(text(failing))
        await session.commit()
    assert len((await api.get(f"{PATH}?failing=true")).json()["items"]) == 1
    again = (await api.patch(path, json={"status": "active"})).json()
    fares = [again[name] for name in ("disabled_reason", "failures", "failing_since", "held_until")]
    assert fares == [None, 0, None, None]
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).status_code == 404
    assert (await api.get(f"{path}?include=ended")).json()["ended_at"] is not None
    async with sessions() as session:
        query = "SELECT action, changes::text AS changes FROM audit_events WHERE object_type = 'webhook' ORDER BY id"
        events = list(await session.execute(text(query)))
        assert (await session.execute(text("SELECT id FROM webhook_secrets"))).all() == []
    assert [event.action for event in events] == [
        *("webhook.create", "webhook.update", "webhook.update", "webhook.delete")
    ]
    trail = "".join(event.changes for event in events)
    assert "https://other.invalid" in trail
    assert not any(hidden in trail for hidden in ("secret-path", "hidden", "another-path"))


async def test_a_test_message_and_a_retry_wait_for_no_pause(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    path, made = await make(api)
    sent = await api.post(f"{path}/test")
    assert sent.status_code == 201
    place, delivery = sent.headers["Location"], sent.json()
    assert delivery["data"] == {"webhook_id": made["webhook"]["id"]}
    assert [item["id"] for item in (await api.get(f"{path}/deliveries")).json()["items"]] == [delivery["id"]]
    for none in ("type=approval.denied", "state=delivered"):
        assert (await api.get(f"{path}/deliveries?{none}")).json()["items"] == []
    async with sessions() as session:
        # The webhook first, in the lock order of a delivery.
        await session.execute(text("UPDATE webhooks SET held_until = now() + interval '1 hour'"))
        await session.execute(text("UPDATE webhook_deliveries SET state = 'failed', attempts = 9"))
        await session.commit()
    again = await api.post(f"{place}/retry")
    assert (again.json()["state"], again.json()["attempts"]) == ("pending", 0)
    assert (await api.get(path)).json()["held_until"] is None
    # Its delivery is not found under another webhook's path.
    other, _ = await make(api)
    foreign = f"{other}/deliveries/{delivery['id']}"
    assert [(await api.get(foreign)).status_code, (await api.post(f"{foreign}/retry")).status_code] == [
        404,
        404,
    ]


async def test_auditors_read_and_only_administrators_change(api: httpx2.AsyncClient, api_as: ApiAs) -> None:
    path, _ = await make(api)
    auditor, issuer = await api_as("auditor"), await api_as("issuer")
    assert (await auditor.get(path)).status_code == 200
    assert (await auditor.get(f"{path}/deliveries")).status_code == 200
    refused = [
        await auditor.post(PATH, json=NEW),
        await auditor.patch(path, json={"name": "x"}),
        await auditor.post(f"{path}/test"),
        await auditor.post(f"{path}/rotate", json={}),
        await auditor.delete(path),
        await issuer.get(path),
        await issuer.get(f"{path}/deliveries"),
    ]
    assert {answer.status_code for answer in refused} == {403}
