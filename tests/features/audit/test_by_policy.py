"""Calls are found by the policies that decided or observed them."""

import httpx2

from app.lib.ids import POLICY, format_id, new_id
from tests.features.access.recorded import record_call
from tests.features.access.test_explaining import billing, token_of
from tests.features.principals import Sessions, person


async def test_events_are_found_by_the_policies_that_decided_or_would_have(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    server, _ = await billing(api)
    token = await token_of(api, await person(api))
    deciding, watching, other = new_id(), new_id(), new_id()
    denied = await record_call(
        sessions, token, server, "refund", None, policy_ids=[deciding, other], observed_policy_ids=None
    )
    watched = await record_call(
        sessions, token, server, "refund", None, policy_ids=None, observed_policy_ids=[watching]
    )
    for name, id, found in (
        ("policy_id", deciding, [denied]),
        ("observed_policy_id", watching, [watched]),
        ("observed_policy_id", deciding, []),
    ):
        query = {name: format_id(POLICY, id), "server_id": server["id"]}
        items = (await api.get("/api/v1/audit-events", params=query)).json()["items"]
        assert [item["id"] for item in items] == found
    shown = (await api.get(f"/api/v1/audit-events/{watched}")).json()
    assert shown["observed_policy_ids"] == [format_id(POLICY, watching)]
    unbound = await api.get("/api/v1/audit-events", params={"policy_id": format_id(POLICY, other)})
    assert unbound.json()["code"] == "range_too_wide"
