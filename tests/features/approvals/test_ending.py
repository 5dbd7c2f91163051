"""Pending and approved approvals end with their token, identity or group, and cannot be used afterwards."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from app.lib.ids import GROUP, TOKEN, format_id, parse_id
from app.models.access import Approval
from tests.features.approvals.desk import Desk, shown
from tests.features.callers import a_person
from tests.features.tokens.world import in_days

REASON = {"reason": "left the company"}


async def some(desk: Desk, **fields: Any) -> list[Approval]:
    """One pending approval, one approved but unused, and three that have ended."""
    past = datetime.now(UTC) - timedelta(minutes=1)
    rows: list[dict[str, Any]] = [
        {}, {"state": "approved"}, {"state": "denied"}, {"state": "consumed"}, {"expires_at": past}
    ]  # fmt: skip
    return [await desk.asked(**fields, **row) for row in rows]


async def states(desk: Desk, approvals: list[Approval]) -> list[str]:
    return [await desk.state(one) for one in approvals]


ENDED = ["cancelled", "cancelled", "denied", "consumed", "pending"]


async def test_revoking_a_token_ends_the_approvals_of_it_and_of_what_came_from_it(desk: Desk) -> None:
    own = await some(desk)
    child = await desk.world.issue(desk.agent, parent_id=desk.token["id"], expires_at=in_days(1))
    below = await some(desk, token_id=parse_id(TOKEN, child["id"]))
    other = await desk.asked(token_id=parse_id(TOKEN, (await desk.world.issue(desk.agent))["id"]))
    revoked = await desk.world.api.post(f"/api/v1/tokens/{desk.token['id']}/revoke", json=REASON)
    assert revoked.status_code == 200, revoked.text
    assert await states(desk, own) == await states(desk, below) == ENDED
    assert await desk.state(other) == "pending"
    assert await desk.refused(a_person(desk.grace), own[0]) == (409, "approval_already_decided")
    events = await desk.world.sql(
        "SELECT object_id, changes FROM audit_events WHERE action = 'approval.cancel' ORDER BY object_id"
    )
    gone = {"because": "token_revoked"}
    assert [tuple(row) for row in events] == [(one.id, gone) for one in (*own[:2], *below[:2])]
    kept = await desk.world.sql(
        "SELECT content ->> 'state', valid_to IS NULL FROM object_versions WHERE object_id = :id",
        id=own[0].id,
    )
    assert [tuple(row) for row in kept] == [("cancelled", True)]


async def test_offboarding_ends_those_of_the_person_and_their_agents_and_counts_them(desk: Desk) -> None:
    agents, own = await some(desk), await some(desk, identity_id=desk.ada.id, token_id=None)
    other = await desk.asked(identity_id=desk.grace.id, token_id=None)
    path = f"/api/v1/identities/{shown(desk.ada.id)}/offboard"
    dry = await desk.world.api.post(f"{path}?dry_run=true", json=REASON)
    answer = await desk.world.api.post(path, json=REASON)
    assert dry.json()["revoked"]["approvals"] == answer.json()["revoked"]["approvals"] == 4
    assert await states(desk, agents) == await states(desk, own) == ENDED
    assert await desk.state(other) == "pending"
    (why,) = await desk.world.sql(
        "SELECT DISTINCT changes ->> 'because' FROM audit_events WHERE action = 'approval.cancel'"
    )
    assert why[0] == "identity_offboarded"


async def test_handing_agents_over_keeps_what_they_asked_for(desk: Desk) -> None:
    heir, agents = await desk.world.person(), await desk.asked()
    body = {**REASON, "transfer_agents_to": shown(heir.id)}
    answer = await desk.world.api.post(f"/api/v1/identities/{shown(desk.ada.id)}/offboard", json=body)
    assert answer.json()["revoked"]["approvals"] == 0
    assert await desk.state(agents) == "pending"
    await desk.join(heir)
    assert await desk.refused(a_person(heir), agents) == (403, "own_approval")


async def test_a_group_that_ends_takes_what_it_was_to_decide_along(desk: Desk) -> None:
    asked, other = await some(desk), await desk.asked(approver_group_id=None)
    ended = await desk.world.api.delete(f"/api/v1/groups/{format_id(GROUP, desk.group.id)}")
    assert ended.status_code == 204
    assert await states(desk, asked) == ENDED
    assert await desk.state(other) == "pending"


async def test_an_end_that_meets_a_decision_wins_whichever_comes_first(desk: Desk) -> None:
    """No deadlock: decisions and ends lock in the same order."""
    for end in (
        f"/api/v1/tokens/{desk.token['id']}/revoke",
        f"/api/v1/identities/{shown(desk.grace.id)}/offboard",
        f"/api/v1/identities/{shown(desk.ada.id)}/offboard",
    ):
        asked = [await desk.asked() for _ in range(4)]
        decisions = [desk.decide(a_person(desk.grace), one) for one in asked]
        *answers, ended = await asyncio.gather(*decisions, desk.world.api.post(end, json=REASON))
        assert ended.status_code == 200, ended.text
        assert {answer.status_code for answer in answers} <= {200, 404, 409}
        if shown(desk.grace.id) not in end:
            assert set(await states(desk, asked)) == {"cancelled"}
            await desk.world.sql("UPDATE tokens SET revoked_at = NULL")
        else:
            await desk.world.sql("DELETE FROM approvals")
            await desk.join(desk.grace)
