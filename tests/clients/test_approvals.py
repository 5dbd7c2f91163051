"""The client and the real service: deciding calls that wait for a person, and access that people ask for."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scopegate_client import Client
from scopegate_client.errors import Conflict, PermissionDenied
from scopegate_client.models import AccessNarrowing, AllTools

from app.db.engine import make_engine, make_sessions
from app.lib.ids import APPROVAL, IDENTITY, format_id, new_id, parse_id
from app.models.access import Approval
from tests.clients.drives import drives
from tests.clients.live import Live
from tests.clients.names import name


async def asked(live: Live, identity_id: str, *tools: str) -> list[str]:
    """Calls of these tools that wait for an approval; the ids of these."""
    engine = make_engine(live.database_url, pool_size=1, name="test")
    try:
        async with make_sessions(engine)() as session:
            rows = [
                Approval(
                    kind="call", identity_id=parse_id(IDENTITY, identity_id), tool=tool,
                    approver_group="Finance leads", binding=new_id().bytes, reason="Charged twice.",
                    expires_at=datetime.now(UTC) + timedelta(hours=1),
                )
                for tool in tools
            ]  # fmt: skip
            session.add_all(rows)
            await session.commit()
            return [format_id(APPROVAL, row.id) for row in rows]
    finally:
        await engine.dispose()


@drives("list_approvals", "get_approval", "get_approval_arguments", "approve_approval", "deny_approval")
def test_calls_that_wait_are_approved_and_denied(client: Client, live: Live) -> None:
    ada = client.identities.create(kind="person", user_name=name("ada"))
    first, second = asyncio.run(asked(live, ada.id, "refund", "void"))
    waiting = list(client.approvals.list(identity_id=ada.id, state="pending"))
    assert {one.id for one in waiting} == {first, second}
    assert client.approvals.get(first).reason == "Charged twice."
    assert client.approvals.get_arguments(first).kept is False
    approved = client.approvals.approve(first, reason="Agreed with the customer.", if_match=1)
    assert (approved.state, approved.decision_reason) == ("approved", "Agreed with the customer.")
    assert client.approvals.deny(second).state == "denied"
    with pytest.raises(Conflict) as refused:
        client.approvals.approve(second)
    assert refused.value.code == "approval_already_decided"
    assert client.approvals.list(identity_id=ada.id, state="pending").first() is None


@drives("create_approval", "withdraw_approval", "list_requestable_servers", "list_own_agents")
def test_access_is_asked_for_withdrawn_and_given_in_part(client: Client, person: Client, live: Live) -> None:
    slug, until = name("asked-for"), datetime.now(UTC) + timedelta(days=30)
    server = client.servers.create(slug=slug, url=live.upstream_url, requestable=True)
    assert [one.id for one in person.me.list_requestable_servers(q=slug)] == [server.id]
    wanted: dict[str, Any] = {"server": slug, "tools": AllTools(), "expires_at": until}
    asked = person.approvals.create(kind="access", **wanted, reason="I close the quarter.")
    assert (asked.state, asked.access is not None and asked.access.granted) == ("pending", None)
    with pytest.raises(PermissionDenied) as refused:
        person.approvals.approve(asked.id)
    assert refused.value.code == "own_approval"
    assert person.approvals.withdraw(asked.id, if_match=asked.revision).state == "cancelled"
    agent = client.identities.create(
        kind="agent", user_name=name("bot"), owner_id=person.me.get().identity_id
    )
    assert [one.id for one in person.me.list_own_agents(status="active")] == [agent.id]
    again = person.approvals.create(kind="access", **wanted, reason="After all.", identity_id=agent.id)
    sooner = until - timedelta(days=20)
    given = client.approvals.approve(again.id, access=AccessNarrowing(expires_at=sooner))
    assert given.access is not None
    assert given.access.granted is not None
    grant = client.grants.get(given.access.granted.grant_id)
    assert (grant.expires_at, grant.approval_id) == (sooner, again.id)
