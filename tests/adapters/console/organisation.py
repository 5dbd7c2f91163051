"""An organisation in which there is something of everything, so that each page has something to show.

It is made over the API and by real calls through the gateway; strings that strangers word hold what should stay inert.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from mcp import Client

from tests.provider.openid import ADMINS, OpenIdProvider
from tests.story.service import Service

Json = dict[str, Any]
ODD = '<script>alert(1)</script> "quoted" \u202eodd\u202c'
"""A name that no page may take for more than text."""
LONG = "a-name-of-somebody-who-likes-long-names-" * 4
ASKS = """@require_approval("Finance leads")
@reason("What is deleted is gone.")
forbid (principal, action == Action::"call_tool", resource == Tool::"billing/delete_note");"""
FORBIDS = """@reason("Not on this server.")
forbid (principal, action == Action::"call_tool", resource == Tool::"billing/write_note");"""


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


@dataclass
class Organisation:
    """The service, and the ids of what was made, by the names that paths of pages use."""

    service: Service
    provider: OpenIdProvider
    upstream: str
    ids: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    async def furnish(self) -> "Organisation":
        """Make all of it."""
        await self._servers()
        await self._people()
        await self._rights()
        await self._policies()
        await self._calls()
        await self._requests()
        await self._endings()
        return self

    async def make(self, name: str, path: str, body: Json, status: int = 201) -> Json:
        """Make something, and remember its id under a name."""
        made = await self.service.post(path, body, status)
        self.ids[name] = made["id"]
        return made

    async def change(self, path: str, body: Json) -> Json:
        answer = await self.service.api.patch(f"/api/v1{path}", json=body)
        assert answer.status_code == 200, answer.text
        changed: Json = answer.json()
        return changed

    async def read(self, path: str, **params: Any) -> Json:
        answer = await self.service.api.get(f"/api/v1{path}", params=params)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    async def _servers(self) -> None:
        servers: dict[str, dict[str, Any]] = {
            "billing": {"name": "Billing", "labels": {"env": "prod"}, "requestable": True},
            "notes": {"name": ODD, "description": f"{ODD} {LONG}"},
            "archive": {"name": "Archive", "requestable": True},
        }
        for slug, body in servers.items():
            server = await self.make(slug, "/servers", {"slug": slug, "url": self.upstream, **body})
            synced = await self.service.post(f"/servers/{server['id']}/sync", {}, 200)
            assert synced["sync"]["state"] == "ok", synced
        broken = await self.make("broken", "/servers", {"slug": "broken", "url": "http://127.0.0.1:9/mcp"})
        await self.service.post(f"/servers/{broken['id']}/sync", {}, 200)
        put = {"kind": "bearer", "token": "what-the-upstream-asks-for"}
        path = f"/api/v1/servers/{self.ids['billing']}/credential"
        assert (await self.service.api.put(path, json=put)).status_code == 200
        await self.change(f"/servers/{self.ids['archive']}", {"status": "disabled"})
        for slug in ("billing", "notes"):
            for tool in (await self.read("/tools", server_id=self.ids[slug]))["items"]:
                self.ids[f"{slug}_{tool['name']}"] = tool["id"]
        await self.change(f"/tools/{self.ids['notes_delete_note']}", {"state": "quarantined"})

    async def _people(self) -> None:
        self.ids["bob"] = await self._bob()
        await self.make("odd", "/identities", {"kind": "person", "user_name": LONG, "display_name": ODD})
        await self.make(
            "leaver", "/identities", {"kind": "person", "user_name": "lea", "display_name": "Lea Ver"}
        )
        await self.make(
            "away", "/identities", {"kind": "person", "user_name": "ada", "display_name": "Ada Away"}
        )
        agent = {"kind": "agent", "user_name": "build-agent", "display_name": "Build agent"}
        await self.make("agent", "/identities", {**agent, "owner_id": self.ids["bob"]})
        await self.make(
            "group", "/groups", {"name": "Finance leads", "description": "They agree to refunds."}
        )
        for name in ("odd", "bob"):
            path = f"/api/v1/groups/{self.ids['group']}/members/{self.ids[name]}"
            assert (await self.service.api.put(path)).status_code == 201

    async def _bob(self) -> str:
        """Bob signed in when he had a role, so he is known; he has none any more."""
        self.provider.set_groups("bob", [ADMINS])
        async with await self._as_bob() as bob:
            me = (await bob.get("/api/v1/me")).json()
        self.provider.set_groups("bob", ["staff"])
        return str(me["identity_id"])

    async def _as_bob(self) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {await self.provider.access_token('bob')}"}
        return httpx2.AsyncClient(base_url=self.service.url, headers=headers, timeout=60)

    async def _rights(self) -> None:
        everything = {"servers": {"kind": "all"}, "tools": {"kind": "all"}}
        grants: dict[str, tuple[str, str, dict[str, Any]]] = {
            "grant": (
                "identity",
                "bob",
                {**everything, "expires_at": in_days(200), "reason": f"On call. {ODD}"},
            ),
            "group_grant": (
                "group",
                "group",
                {
                    "servers": {"kind": "labels", "labels": {"env": "prod"}},
                    "tools": {"kind": "risk", "risk": ["read"]},
                },
            ),
            "agent_grant": ("identity", "agent", everything),
            "leaver_grant": ("identity", "leaver", {**everything, "expires_at": in_days(3)}),
        }
        for name, (kind, whose, body) in grants.items():
            principal = {"type": kind, "id": self.ids[whose]}
            await self.make(name, "/grants", {"principal": principal, **body})
        for name, whose, days in (
            ("token", "bob", 30), ("agent_token", "agent", 5), ("lost_token", "bob", 90), ("leaver_token", "leaver", 9),
            ("odd_token", "odd", 40),
        ):  # fmt: skip
            await self._issue(name, whose, in_days(days))
        await self.service.post(f"/tokens/{self.ids['lost_token']}/revoke", {"reason": "Laptop lost."}, 200)
        picked = await self._issue("pickup_token", "bob", in_days(20), delivery="pickup")
        self.ids["pickup"] = picked["pickup"]["id"]

    async def _issue(self, name: str, whose: str, expires_at: str, **more: Any) -> Json:
        called = f"{name.replace('_', ' ')} {ODD}" if whose == "odd" else name.replace("_", " ")
        body = {"identity_id": self.ids[whose], "name": called, "scope": {"kind": "grants"}, **more}
        issued = await self.service.post("/tokens", {**body, "expires_at": expires_at})
        self.ids[name] = issued["token"]["id"]
        if issued["secret"] is not None:
            self.secrets[name] = issued["secret"]
        return issued

    async def _policies(self) -> None:
        for name, words, text, mode in (
            ("policy", "Deletions need a second person", ASKS, "enforce"),
            ("forbidding", "No writing to billing", FORBIDS, "enforce"),
            ("trial", "On trial", FORBIDS.replace("write_note", "read_note"), "observe"),
        ):
            policy = await self.make(name, "/policies", {"name": words, "text": text, "mode": mode})
            path = f"/api/v1/policies/{policy['id']}/publish"
            answer = await self.service.api.post(path, headers={"If-Match": "*"})
            assert answer.status_code == 200, answer.text
        await self.make(
            "policy_draft", "/policies", {"name": f"A draft {ODD}", "text": FORBIDS, "description": ODD}
        )

    async def _calls(self) -> None:
        """By real clients: one that is allowed, one that is denied, two that wait for somebody."""
        reason: Any = {"io.scopegate/reason": f"Asked for it. {ODD}"}
        for name, slug, tool, arguments in (
            ("token", "notes", "read_note", {"name": "hello"}),
            ("token", "billing", "write_note", {"name": "x", "text": ODD}),
            ("agent_token", "billing", "delete_note", {"name": "invoice"}),
            ("token", "billing", "delete_note", {"name": "receipt"}),
        ):
            async with (
                self.service.connect(f"/mcp/{slug}", self.secrets[name]) as transport,
                Client(transport) as client,
            ):
                await client.call_tool(tool, arguments, meta=reason)
        events = (await self.read("/audit-events", action="tool.call", token_id=self.ids["token"]))["items"]
        self.ids["allowed_event"] = next(one["id"] for one in events if one["decision"] == "allow")
        self.ids["denied_event"] = next(one["id"] for one in events if one["decision"] == "deny")
        waiting = (await self.read("/approvals", state="pending"))["items"]
        self.ids["approval"] = waiting[0]["id"]

    async def _requests(self) -> None:
        """Bob asks for access, as himself."""
        async with await self._as_bob() as bob:
            body = {
                "kind": "access", "server": "billing", "tools": {"kind": "names", "names": ["read_note"]},
                "expires_at": in_days(60), "reason": f"I look after the books. {ODD}",
            }  # fmt: skip
            answer = await bob.post("/api/v1/approvals", json=body)
            other = await bob.post(
                "/api/v1/approvals", json=body | {"tools": {"kind": "names", "names": ["write_note"]}}
            )
        assert answer.status_code == 201, answer.text
        self.ids["access_request"] = answer.json()["id"]
        self.ids["approved_request"] = other.json()["id"]
        await self.service.post(f"/approvals/{other.json()['id']}/approve", {}, 200)
        nothing = {
            "principal": {"type": "identity", "id": self.ids["odd"]},
            "servers": {"kind": "ids", "ids": [self.ids["billing"]]},
            "tools": {"kind": "names", "names": ["read_notes", ODD]},
        }
        await self.make("grant_of_nothing", "/grants", nothing)

    async def _endings(self) -> None:
        await self.service.post(f"/identities/{self.ids['away']}/suspend", {"reason": "On leave."}, 200)
        path = f"/identities/{self.ids['leaver']}/offboard"
        self.ids["receipt"] = (await self.service.post(path, {"reason": f"Left. {ODD}"}, 200))["receipt_id"]
        leaving = await self.make("leaving", "/identities", {"kind": "person", "user_name": "lee"})
        body = {"reason": "Leaves us.", "effective_at": in_days(20)}
        planned = await self.service.post(f"/identities/{leaving['id']}/offboard", body, 200)
        self.ids["scheduled"] = planned["scheduled"]["id"]
        provider = (await self.read("/identity-providers"))["items"][0]["id"]
        invited = {"identity_id": self.ids["bob"], "provider_id": provider, "email": "bob@example.com"}
        made = await self.service.post("/invitations", invited)
        self.ids["invitation"] = made["invitation"]["id"]
