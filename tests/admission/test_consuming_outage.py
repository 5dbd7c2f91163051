"""Readiness covers the consuming writer: a worker that cannot record calls with a quota is not ready."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from math import inf

import asyncpg
import httpx2
import pytest

from app.db import recorder_health
from app.main import Scopegate
from tests.api import client_of
from tests.features.principals import grant, made, person
from tests.gateway.messages import call, post_modern, request

QUOTA = '@quota("100 per day") forbid (principal, action == Action::"call_tool", resource);'
FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$;
CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON quota_uses FOR EACH ROW EXECUTE FUNCTION full_disk()
"""


@pytest.fixture
async def caller(app: Scopegate, api: httpx2.AsyncClient) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the gateway whose calls all count against a quota."""
    server = await made(api, "servers", {"slug": "billing", "url": "https://mcp.example.com/"})
    body = {"server_id": server["id"], "name": "refund", "input_schema": {"type": "object"}, "risk": "write"}
    await made(api, "tools", body)
    policy = await made(api, "policies", {"name": "counting", "text": QUOTA})
    answer = await api.post(f"/api/v1/policies/{policy['id']}/publish", headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    ada = await person(api)
    await grant(api, ada)
    expires_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    token = {
        "identity_id": ada["id"],
        "name": "laptop",
        "scope": {"kind": "grants"},
        "expires_at": expires_at,
    }
    issued = (await api.post("/api/v1/tokens", json=token)).json()
    async with client_of(app, issued["secret"]) as client:
        yield client


async def test_a_full_disk_that_only_the_consuming_writer_meets_is_reported_until_it_writes_again(
    caller: httpx2.AsyncClient,
    anonymous: httpx2.AsyncClient,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder_health, "FRESH_S", inf)
    connection = await asyncpg.connect(database_url)
    await connection.execute(FULL)
    assert (await post_modern(caller, "/mcp", call("billing__refund", {}))).status_code == 503
    # A success of the other writer does not clear the failure of this one.
    assert (await post_modern(caller, "/mcp", request("tools/list"))).status_code == 200
    answer = await anonymous.get("/readyz")
    assert (answer.status_code, answer.json()["recording"]) == (503, False)
    assert answer.json()["reasons"] == ["the disk of the database is full"]
    await connection.execute("DROP TRIGGER full_disk ON quota_uses")
    await connection.close()
    assert (await post_modern(caller, "/mcp", call("billing__refund", {}))).status_code != 503
    answer = await anonymous.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (200, [])
