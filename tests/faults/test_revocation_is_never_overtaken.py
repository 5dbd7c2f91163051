"""I3: after the answer to a revocation, no gateway forwards a call that starts later."""

from collections.abc import Iterator
from time import monotonic
from typing import Any

import httpx2
import pytest

from tests import database
from tests.faults.conftest import Pair
from tests.faults.harness import Organization, administration, count_calls, gateways, organize
from tests.faults.load import Call, load
from tests.faults.upstream import upstream

BROKEN = ("-m", "tests.faults.rig.serve", "serve")
# What each gateway answers before the revocation, and again after it: about a second of load on two cores.
CALLS = 150

Request = tuple[str, str, dict[str, Any] | None]
# Method, path and body at the REST API; names in braces are ids of the organization.
ROUTES: dict[str, Request] = {
    "token": ("POST", "tokens/{token}/revoke", {"reason": "laptop lost"}),
    "grant of a person": ("DELETE", "grants/{grant}", None),
    "grant of a group": ("DELETE", "grants/{grant}", None),
    "membership": ("DELETE", "groups/{group}/members/{person}", None),
    "end of a group": ("DELETE", "groups/{group}", None),
    "suspension": ("POST", "identities/{person}/suspend", None),
    "offboarding": ("POST", "identities/{person}/offboard", {"reason": "left the company"}),
    "disabled server": ("PATCH", "servers/{server}", {"status": "disabled"}),
    "end of a server": ("DELETE", "servers/{server}", None),
    "quarantined tool": ("PATCH", "tools/{echo}", {"state": "quarantined"}),
    "policy": ("POST", "policies/{policy}/publish", None),
}
_THROUGH_GROUP = {"grant of a group", "membership", "end of a group"}
_QUICK = {"token", "grant of a group"}


async def drafted(api: httpx2.AsyncClient, organization: Organization) -> httpx2.Response:
    """A policy that forbids the person everything once it is published."""
    text = f'forbid (principal == Identity::"{organization.person}", action, resource);'
    answer = await api.post("/api/v1/policies", json={"name": organization.person, "text": text})
    assert answer.status_code == 201, answer.text
    return answer


async def overtaking(pair: Pair, route: str, *, counted: bool = False) -> list[Call]:
    """Revoke under load; the calls that started after the answer and were received upstream all the same."""
    async with upstream() as server, administration(pair.database_url, pair.gateways[0]) as api:
        organization = await organize(api, server.url, through_group=route in _THROUGH_GROUP)
        method, path, body = ROUTES[route]
        ids = {
            name: getattr(organization, name)
            for name in ("token", "grant", "group", "person", "server", "echo")
        }
        draft = await drafted(api, organization)
        if counted:
            await count_calls(api, organization)
        ids["policy"] = draft.json()["id"]
        begun = monotonic()
        async with load(organization.way, pair.ports) as running:
            await running.answered(pair.ports, CALLS, since=begun)
            asked_at = monotonic()
            seen = {"If-Match": draft.headers["etag"]} if route == "policy" else None
            answer = await api.request(method, f"/api/v1/{path.format(**ids)}", json=body, headers=seen)
            revoked_at = monotonic()
            await running.answered(pair.ports, CALLS, since=revoked_at)
        assert answer.is_success, answer.text
        statuses = {call.answer.status for call in running.history if call.answer is not None}
        assert statuses <= {200, 400, 401, 404}
        # All ran before; else that none runs afterwards would say nothing about the revocation.
        assert all(call.ran for call in running.history if call.ended is not None and call.ended < asked_at)
        return [call for call in running.history if call.started > revoked_at and call.id in server.received]


@pytest.mark.parametrize(
    "route", [pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow) for name in ROUTES]
)
async def test_no_call_that_starts_after_the_answer_reaches_the_upstream(pair: Pair, route: str) -> None:
    assert await overtaking(pair, route) == []


@pytest.mark.slow
@pytest.mark.parametrize("route", ["token", "policy", "suspension"])
async def test_nor_does_one_that_uses_something_up(pair: Pair, route: str) -> None:
    assert await overtaking(pair, route, counted=True) == []


@pytest.fixture
def cached_pair() -> Iterator[Pair]:
    """Two gateways that check against what they remember."""
    with (
        database.temporary_database() as url,
        gateways(url, 2, BROKEN, RIG_MUTANT="cached_check") as running,
    ):
        yield Pair(url, running)


@pytest.mark.slow
@pytest.mark.parametrize("route", ["token", "grant of a group"])
async def test_the_same_load_catches_a_cached_check(cached_pair: Pair, route: str) -> None:
    assert await overtaking(cached_pair, route) != []
