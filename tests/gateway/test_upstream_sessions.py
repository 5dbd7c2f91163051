"""Upstream sessions of ``/mcp`` are closed when idle, and never while in use."""

from uuid import uuid4

import pytest

from app.admission.store import UpstreamTarget
from app.gateway.aggregate import sessions as upstream_sessions
from app.gateway.aggregate.sessions import UpstreamSessions
from app.outbound.http import AddressPolicy, OutboundClient, Timeouts
from tests.gateway.upstreams import reference
from tests.gateway.world import LOOPBACK


async def test_a_flood_of_sessions_closes_idle_ones_and_none_that_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upstream_sessions, "MAX_KEPT", 1)
    async with (
        reference(modern=False) as (url, seen),
        OutboundClient(AddressPolicy((LOOPBACK,))) as outbound,
    ):
        sessions = UpstreamSessions(outbound, Timeouts())
        target = UpstreamTarget(url, (), ("2025-11-25",))

        def ended() -> int:
            return sum(method == "DELETE" for method, _, _ in seen.requests)

        async with sessions.use(
            (uuid4(), uuid4()), target, modern=False, before_send=lambda: True, before_next=lambda: True
        ) as used:
            for _ in range(4):
                async with sessions.use(
                    (uuid4(), uuid4()),
                    target,
                    modern=False,
                    before_send=lambda: True,
                    before_next=lambda: True,
                ):
                    pass
            assert (await used.request("tools/list", {}))["tools"]
        await sessions.aclose()
        assert ended() == 5
