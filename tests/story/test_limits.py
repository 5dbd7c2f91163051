"""The gateway enforces the limits in the settings, and the audit log counts refused requests."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from tests.api import Account
from tests.gateway.messages import initialize
from tests.story.service import whole_service

_REFUSED = "SELECT reason_code, event_count FROM audit_events WHERE action = 'token.refused'"
_CALLS = "SELECT count(*) FROM audit_events WHERE action = 'mcp.initialize'"


async def test_the_limits_of_the_settings_hold_and_refusals_are_one_event_a_minute(
    database_url: str, owner: Account
) -> None:
    served: list[Any] = []

    def keep(app: Any) -> Any:
        served.append(app)
        return app

    settings = {"limit_calls": 2, "limit_connections": 7, "limit_connections_per_identity": 3}
    async with whole_service(database_url, owner.bearer, wrap=keep, **settings) as service:
        limits = served[0].api.state.runtime.outbound.limits
        assert (limits.connections_per_origin, limits.connections_per_caller) == (7, 3)
        person = await service.post("/identities", {"kind": "person", "user_name": "maria"})
        expires_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        token = {"identity_id": person["id"], "name": "laptop", "scope": {"kind": "grants"}}
        issued = await service.post("/tokens", {**token, "expires_at": expires_at})
        headers = {
            "Authorization": f"Bearer {issued['secret']}",
            "Accept": "application/json, text/event-stream",
        }
        statuses = [
            (await service.api.post("/mcp", json=initialize(), headers=headers)).status_code for _ in range(6)
        ]
        assert statuses == [200, 200, 429, 429, 429, 429]
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval(_CALLS) == 2
    assert [tuple(row) for row in await connection.fetch(_REFUSED)] == [("rate_limited", 4)]
    await connection.close()
