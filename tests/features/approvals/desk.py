"""An organization with calls that need an approval: requesters, approvers and a tool."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2

from app.http.authorization import Caller
from app.lib.ids import APPROVAL, IDENTITY, TOKEN, format_id, new_id, parse_id
from app.models.access import Approval, Policy
from app.models.identities import Group, GroupMember, Identity
from app.models.servers import Server, Tool
from tests.features.callers import SignedIn
from tests.features.principals import fresh
from tests.features.tokens.world import World

Json = dict[str, Any]
PATH = "/api/v1/approvals"
DIGEST = b"d" * 32
TEXT = """@require_approval("Finance leads") @reason("Large refunds need a second person.")
forbid(principal, action, resource);"""


def path(approval: Approval, verb: str = "") -> str:
    return f"{PATH}/{format_id(APPROVAL, approval.id)}{verb}"


@dataclass
class Desk:
    """Ada's agent requests; Grace is in the group that the policy names."""

    world: World
    signed_in: SignedIn
    """A client of a caller, who is taken at their word."""
    ada: Identity = field(init=False)
    agent: Identity = field(init=False)
    grace: Identity = field(init=False)
    group: Group = field(init=False)
    token: Json = field(init=False)
    server: Server = field(init=False)
    tool: Tool = field(init=False)
    policy: Policy = field(init=False)

    async def furnish(self) -> "Desk":
        world = self.world
        self.ada = await world.person(display_name="Ada")
        self.agent = await world.agent(self.ada, display_name="Refunds bot")
        self.grace = await world.person(display_name="Grace")
        self.group = Group(name=fresh("Finance leads"))
        self.server = Server(slug=fresh("payments"), name="Payments", url="https://mcp.example.com/")
        await world.add(self.group, self.server)
        self.tool = Tool(
            server_id=self.server.id, name="refund", title="Refund", input_schema={"type": "object"},
            risk="destructive", assessed_risk="destructive", state="active", definition_digest=DIGEST,
            approved_digest=DIGEST,
        )  # fmt: skip
        self.policy = Policy(
            name=fresh("large refunds"), text=TEXT, status="published", version=2,
            published_text=TEXT, published_mode="enforce",
        )  # fmt: skip
        await world.add(self.tool, self.policy, versioned=False)
        await self.join(self.grace)
        self.token = await world.issue(self.agent, name="the bot's token")
        return self

    async def join(self, *people: Identity) -> None:
        """Add people to the group that decides."""
        rows = [GroupMember(group_id=self.group.id, identity_id=person.id) for person in people]
        await self.world.add(*rows, versioned=False)

    async def asked(self, **fields: Any) -> Approval:
        """Create an approval that a call of the agent needs."""
        known: Json = {
            "kind": "call", "identity_id": self.agent.id, "token_id": parse_id(TOKEN, self.token["id"]),
            "server_id": self.server.id, "tool": "refund", "arguments_digest": b"a" * 32,
            "definition_digest": DIGEST, "policy_ids": [self.policy.id], "policy_versions": [2],
            "approver_group_id": self.group.id, "approver_group": "Finance leads", "binding": new_id().bytes,
            "event_id": new_id(), "reason": "Charged twice.", "expires_at": datetime.now(UTC) + timedelta(hours=1),
        }  # fmt: skip
        row = Approval(**(known | fields))
        await self.world.add(row, versioned=False)
        return row

    async def decide(
        self,
        caller: Caller,
        approval: Approval,
        verb: str = "approve",
        reason: str | None = None,
        **headers: str,
    ) -> httpx2.Response:
        """Decide an approval as a caller."""
        body = {"reason": reason}
        return await self.signed_in(caller).post(path(approval, f"/{verb}"), json=body, headers=headers)

    async def refused(self, caller: Caller, approval: Approval, verb: str = "approve") -> tuple[int, str]:
        """Status and code of a refused decision."""
        answer = await self.decide(caller, approval, verb)
        return answer.status_code, answer.json()["code"]

    async def state(self, approval: Approval) -> str:
        """The stored state of an approval."""
        (row,) = await self.world.sql("SELECT state FROM approvals WHERE id = :id", id=approval.id)
        return str(row[0])


def shown(id: UUID) -> str:
    return format_id(IDENTITY, id)
