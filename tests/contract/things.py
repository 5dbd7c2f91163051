"""One of each object of the API, made through the API, for tests of what holds for all of them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.domain.definitions import text_digest
from app.lib.ids import format_id, parse_id
from app.models.access import Approval
from app.models.audit import AuditSink
from app.models.identities import Invitation
from app.models.servers import Server
from app.models.webhooks import WebhookDelivery
from tests.features.tokens.world import in_days

Json = dict[str, Any]
ALL = {"kind": "all"}


@dataclass
class Things:
    """Makes objects; what an object needs is made with it."""

    api: httpx2.AsyncClient
    sessions: async_sessionmaker[AsyncSession]
    made: dict[str, Json] = field(default_factory=dict)

    async def let_say(self, server: str, instructions: str) -> str:
        """What a sync of a server would find that it says of its use; the digest of it."""
        id = parse_id("srv", server.rpartition("/")[2])
        async with self.sessions() as session:
            (await session.get_one(Server, id)).instructions = instructions
            await session.commit()
        return text_digest(instructions).hex()

    async def delivery(self, webhook: str) -> str:
        """The path of a message that waits for a webhook, and that nobody sends meanwhile."""
        later = datetime.now(UTC) + timedelta(hours=1)
        id = parse_id("whk", webhook.rpartition("/")[2])
        async with self.sessions() as session:
            row = WebhookDelivery(webhook_id=id, type="approval.requested", data={}, due_at=later)
            session.add(row)
            await session.commit()
        return f"{webhook}/deliveries/{format_id('dlv', row.id)}"

    async def sink(self) -> str:
        """The path of an audit sink that nobody gives anything meanwhile."""
        async with self.sessions() as session:
            # There may be only so many.
            await session.execute(update(AuditSink).values(ended_at=datetime.now(UTC)))
            await session.commit()
        path = await self.new_path("audit-sinks")
        async with self.sessions() as session:
            row = await session.get_one(AuditSink, parse_id("sink", path.rpartition("/")[2]))
            row.leased_until = datetime.now(UTC) + timedelta(hours=1)
            await session.commit()
        return path

    async def signals(self) -> str:
        """The path of the signals of a provider that is set to have some."""
        provider = await self.new_path("identity-providers")
        settings = {"signals": {"delivery": "poll", "audiences": ["scopegate"]}}
        answer = await self.api.patch(provider, json=settings)
        assert answer.status_code == 200, answer.text
        return f"{provider}/signals"

    async def asked(self) -> str:
        """The path of an approval that a call waits for."""
        identity = parse_id("idn", await self.id("identities"))
        row = Approval(kind="call", identity_id=identity, expires_at=datetime.now(UTC) + timedelta(hours=1))
        async with self.sessions() as session:
            session.add(row)
            await session.commit()
        return f"/api/v1/approvals/{format_id('apr', row.id)}"

    async def scheduled(self, person: str) -> str:
        """The path of an offboarding that is set for later."""
        later = {"reason": "leaves", "effective_at": in_days(1)}
        answer = await self.api.post(f"{person}/offboard", json=later)
        assert answer.status_code == 200, answer.text
        return f"/api/v1/scheduled-offboardings/{answer.json()['scheduled']['id']}"

    async def claimed(self) -> str:
        """The path of an invitation that an account has claimed."""
        path = await self.new_path("invitations")
        async with self.sessions() as session:
            row = await session.get_one(Invitation, parse_id("inv", path.rpartition("/")[2]))
            row.status, row.claimed_link, row.claimed_at = "claimed", uuid4().hex, datetime.now(UTC)
            await session.commit()
        return path

    async def order(self, kind: str) -> tuple[str, Json | None]:
        """The path and the body that make one object of a kind."""
        if kind == "credentials":
            return f"/api/v1/service-accounts/{await self.id('service-accounts')}/credentials", None
        name = f"n-{uuid4().hex[:12]}"
        if kind == "invitations":
            provider = await self.id("identity-providers")
            invited = {"person": {"user_name": name}, "provider_id": provider, "email": "nora@example.com"}
            return f"/api/v1/{kind}", invited
        return f"/api/v1/{kind}", await self._body(kind, name)

    async def _body(self, kind: str, name: str) -> Json:
        body: Json = {"name": name}
        if kind == "servers":
            body = {"slug": name, "url": "https://mcp.example.com/"}
        elif kind == "tools":
            body |= {"input_schema": {"type": "object"}, "server_id": await self.id("servers")}
        elif kind == "identities":
            body = {"kind": "person", "user_name": name}
        elif kind == "grants":
            principal = {"type": "identity", "id": await self.id("identities")}
            body = {"principal": principal, "servers": ALL, "tools": ALL}
        elif kind == "tokens":
            body |= {"scope": {"kind": "grants"}, "expires_at": in_days(1)}
            body |= {"identity_id": await self.id("identities")}
        elif kind == "policies":
            body |= {"text": "forbid (principal, action, resource);", "mode": "observe"}
        elif kind == "service-accounts":
            body |= {"role": "auditor", "owner_id": await self.id("identities")}
        elif kind in ("webhooks", "audit-sinks"):
            events: Json = {"events": ["approval.requested"]} if kind == "webhooks" else {}
            body |= {"url": "https://hooks.invalid/"} | events
        elif kind == "identity-providers":
            body |= {
                "issuer": f"https://{name}.example.com",
                "audiences": ["scopegate"],
                "client_id": "scopegate",
            }
        return body

    async def make(self, kind: str) -> httpx2.Response:
        """Make one object of a kind."""
        path, body = await self.order(kind)
        answer = await self.api.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return answer

    async def id(self, kind: str) -> str:
        """The id of the one object of a kind that the others refer to."""
        if kind not in self.made:
            self.made[kind] = (await self.make(kind)).json()
        return str(self.made[kind]["id"])

    async def new_path(self, kind: str) -> str:
        """The path of a new object of a kind."""
        return str((await self.make(kind)).headers["Location"])
