"""Access requests for the desk's server, by Ada or another caller."""

from typing import Any

import httpx2

from app.http.authorization import Caller
from app.models.identities import GroupMember, Identity
from tests.features.approvals.desk import PATH, Desk
from tests.features.callers import a_person
from tests.features.tokens.world import in_days

Json = dict[str, Any]
SERVERS = "/api/v1/me/requestable-servers"
REFUND = {"kind": "names", "names": ["refund"]}


async def open_up(desk: Desk, **fields: Any) -> None:
    """Make the desk's server requestable, with the desk's group as its owner."""
    known: Json = {"requestable": True, "owner_group_id": desk.group.id, **fields}
    for name, value in known.items():
        await desk.world.sql(
            f"UPDATE servers SET {name} = :value WHERE id = :id", value=value, id=desk.server.id
        )


async def ask(desk: Desk, caller: Caller | None = None, **fields: Any) -> httpx2.Response:
    """Send a request; by default Ada's."""
    body: Json = {
        "kind": "access", "server": desk.server.slug, "tools": REFUND, "expires_at": in_days(30), "reason": "On call.",
    }  # fmt: skip
    return await desk.signed_in(caller or a_person(desk.ada)).post(PATH, json=body | fields)


async def asked_for(desk: Desk, caller: Caller | None = None, **fields: Any) -> Json:
    """Create a request and return it as its requester sees it."""
    answer = await ask(desk, caller, **fields)
    assert answer.status_code == 201, answer.text
    seen: Json = answer.json()
    return seen


async def answer_to(
    desk: Desk, caller: Caller, seen: Json, verb: str = "approve", **body: Any
) -> httpx2.Response:
    """The response to a person who approves, denies or withdraws a request."""
    content = None if verb == "withdraw" else body
    return await desk.signed_in(caller).post(f"{PATH}/{seen['id']}/{verb}", json=content)


async def a_member(desk: Desk) -> Identity:
    """Another member of the group that owns the server."""
    member = await desk.world.person(display_name="Mary")
    await desk.world.add(GroupMember(group_id=desk.group.id, identity_id=member.id), versioned=False)
    return member
