"""Effective access agrees with the decisions on calls, with the grant that allows them; a stopped identity has none."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx2
import pytest

from app.access import reach as effective
from app.domain.access import AccessRequest, decide
from app.domain.token_format import SCOPED_TOKEN, parse_credential
from app.http.authorization import Role
from app.lib.ids import IDENTITY, SERVER, TOOL, format_id, new_id, parse_id
from tests.api import ApiAs
from tests.features.principals import Json, Sessions, agent, grant, group, made, person

if TYPE_CHECKING:
    from app.main import Scopegate

BY_RISK = {"look": "read", "change": "write", "wipe": "destructive"}
REASON = {"reason": "left"}


@dataclass
class Fleet:
    """Servers with a tool of each risk, created through the API."""

    api: httpx2.AsyncClient
    ids: dict[str, str] = field(default_factory=dict)
    slugs: dict[str, str] = field(default_factory=dict)

    async def add(self, name: str, **fields: Any) -> str:
        """Create a server whose slug begins with this name."""
        slug = f"{name}-{uuid4().hex[:8]}"
        server = await made(self.api, "servers", {"slug": slug, "url": "https://mcp.example.com/"} | fields)
        for tool, risk in BY_RISK.items():
            body = {"server_id": server["id"], "name": tool, "input_schema": {"type": "object"}, "risk": risk}
            shown = await made(self.api, "tools", body)
            digest = {"definition_digest": shown["definition_digest"]}
            approved = await self.api.post(f"/api/v1/tools/{shown['id']}/approve", json=digest)
            assert approved.status_code == 200, approved.text
        self.ids[name], self.slugs[name] = server["id"], slug
        return str(server["id"])

    def only(self, *names: str) -> Json:
        """The selector of these servers."""
        return {"kind": "ids", "ids": [self.ids[name] for name in names]}


@pytest.fixture
async def fleet(api: httpx2.AsyncClient) -> Fleet:
    """Two servers."""
    fleet = Fleet(api)
    await fleet.add("notes")
    await fleet.add("books", labels={"env": "prod"})
    return fleet


async def access(api: httpx2.AsyncClient, identity: Json, **query: Any) -> Json:
    answer = await api.get(f"/api/v1/identities/{identity['id']}/access", params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def reached(api: httpx2.AsyncClient, identity: Json, **query: Any) -> dict[str, list[str]]:
    """The names of the tools that are within reach, by server."""
    items = (await access(api, identity, **query))["items"]
    return {item["server_id"]: [tool["name"] for tool in item["tools"]] for item in items}


async def test_each_server_and_tool_comes_with_the_grant_and_the_group_that_give_it(
    api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ada = await person(api)
    team = await group(api, ada)
    reads = {"kind": "risk", "risk": ["read"]}
    own = await grant(api, ada, servers=fleet.only("notes"), tools={"kind": "names", "names": ["wipe"]})
    ours = await grant(api, team, servers={"kind": "all"}, tools=reads)
    shown = await access(api, ada)
    assert (shown["identity_id"], shown["stopped"], shown["next_cursor"]) == (ada["id"], None, None)
    assert [item["slug"] for item in shown["items"]] == [fleet.slugs["books"], fleet.slugs["notes"]]
    because = {
        "decision": "allow",
        "reason_code": "granted",
        "policy_ids": [],
        "unconditional": True,
        "approver_groups": [],
    }
    by_team = because | {"grant_id": ours["id"], "group_id": team["id"]}
    by_own = because | {"grant_id": own["id"], "group_id": None}
    books, notes = shown["items"]
    assert {name: books[name] for name in by_team} == by_team
    assert {name: notes[name] for name in by_own} == by_own
    # The team's grant covers only tools.
    assert (books["resources"], books["prompts"], notes["resources"]) == (None, None, None)
    everything = await grant(api, ada, servers=fleet.only("books"))
    widened = (await access(api, ada))["items"][0]
    assert (
        widened["resources"]
        == widened["prompts"]
        == because | {"grant_id": everything["id"], "group_id": None}
    )
    assert [
        {name: value for name, value in tool.items() if name != "tool_id"} for tool in notes["tools"]
    ] == [{"name": "look", "risk": "read", **by_team}, {"name": "wipe", "risk": "destructive", **by_own}]
    assert [tool["name"] for tool in books["tools"]] == ["look"]
    assert (await api.get(f"/api/v1/tools/{books['tools'][0]['tool_id']}")).json()["server_id"] == fleet.ids[
        "books"
    ]


async def test_it_says_what_the_gateway_decides_for_a_token_of_all_grants(
    app: "Scopegate", api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ada = await person(api)
    team = await group(api, ada)
    await grant(api, ada, servers={"kind": "labels", "labels": {"env": "prod"}}, tools={"kind": "all"})
    await grant(api, team, servers=fleet.only("notes"), tools={"kind": "names", "names": ["look", "gone"]})
    order = {
        "identity_id": ada["id"], "name": "laptop", "scope": {"kind": "grants"},
        "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
    }  # fmt: skip
    answer = await api.post("/api/v1/tokens", json=order)
    credential = parse_credential(answer.json()["secret"], SCOPED_TOKEN)
    assert credential is not None
    snapshot = app.api.state.access
    token = await snapshot.token(credential, fresh=True)
    servers, context = await snapshot.fleet(fresh=True)
    allowed = {
        (format_id(SERVER, server.id), format_id(TOOL, tool.id), decided.grant_id)
        for server in servers.servers.values()
        for tool in server.tools.values()
        if (decided := decide(AccessRequest(token, server, tool.name), context, snapshot.clock.now())).allowed
    }
    assert len(allowed) == 4
    items = (await access(api, ada))["items"]
    assert {
        (item["server_id"], tool["tool_id"], parse_id("grant", tool["grant_id"]))
        for item in items
        for tool in item["tools"]
    } == allowed


@pytest.mark.parametrize(
    ("verb", "body", "reason"),
    [("suspend", None, "identity_suspended"), ("offboard", REASON, "identity_offboarded")],
)
async def test_a_stopped_identity_reaches_nothing_and_the_answer_says_why(
    api: httpx2.AsyncClient, fleet: Fleet, verb: str, body: Json | None, reason: str
) -> None:
    ada = await person(api)
    team = await group(api, ada)
    await grant(api, ada)
    await grant(api, team)
    assert len(await reached(api, ada)) == 2
    assert (await api.post(f"/api/v1/identities/{ada['id']}/{verb}", json=body)).status_code == 200
    shown = await access(api, ada)
    assert (shown["stopped"], shown["items"], shown["next_cursor"]) == (reason, [], None)


async def test_an_agent_reaches_nothing_while_who_answers_for_it_is_stopped(
    api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ada = await person(api)
    bot = await agent(api, ada)
    await grant(api, bot)
    assert len(await reached(api, bot)) == 2
    assert (await api.post(f"/api/v1/identities/{ada['id']}/suspend")).status_code == 200
    shown = await access(api, bot)
    assert (shown["stopped"], shown["items"]) == ("owner_suspended", [])


async def test_nothing_is_reached_without_a_grant_that_is_live(
    api: httpx2.AsyncClient, sessions: Sessions, fleet: Fleet
) -> None:
    ada = await person(api)
    assert await access(api, ada) | {"at": None} == {
        "identity_id": ada["id"], "at": None, "stopped": None, "items": [], "next_cursor": None,
    }  # fmt: skip
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    await grant(api, ada, not_before=later)
    assert await reached(api, ada) == {}
    live = await grant(api, ada, expires_at=later)
    assert len(await reached(api, ada)) == 2
    assert (await api.delete(f"/api/v1/grants/{live['id']}")).status_code == 204
    assert await reached(api, ada) == {}


async def test_what_changes_shows_at_once(api: httpx2.AsyncClient, fleet: Fleet) -> None:
    ada = await person(api)
    team = await group(api, ada)
    await grant(api, team)
    notes, books = fleet.ids["notes"], fleet.ids["books"]
    everything = sorted(BY_RISK)
    assert await reached(api, ada) == {books: everything, notes: everything}
    tools = (await api.get("/api/v1/tools", params={"server_id": notes})).json()["items"]
    wiping = next(tool["id"] for tool in tools if tool["name"] == "wipe")
    quarantined = await api.patch(f"/api/v1/tools/{wiping}", json={"state": "quarantined"})
    assert quarantined.status_code == 200, quarantined.text
    assert await reached(api, ada) == {books: everything, notes: ["change", "look"]}
    assert (await api.patch(f"/api/v1/servers/{books}", json={"status": "disabled"})).status_code == 200
    assert await reached(api, ada) == {notes: ["change", "look"]}
    member = f"/api/v1/groups/{team['id']}/members/{ada['id']}"
    assert (await api.delete(member)).status_code == 204
    assert await reached(api, ada) == {}


async def test_pages_go_by_slug_without_gap_or_repeat(api: httpx2.AsyncClient, fleet: Fleet) -> None:
    for name in ("alpha", "omega", "middle"):
        await fleet.add(name)
    ada = await person(api)
    await grant(api, ada, servers=fleet.only("alpha", "omega", "middle", "notes"))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(10):
        shown = await access(api, ada, limit=1, **cursor)
        assert len(shown["items"]) == 1
        seen += [item["slug"] for item in shown["items"]]
        if shown["next_cursor"] is None:
            break
        cursor = {"cursor": shown["next_cursor"]}
    assert seen == sorted(fleet.slugs[name] for name in ("alpha", "omega", "middle", "notes"))


async def test_a_page_with_many_tools_ends_early_and_nothing_is_left_out(
    api: httpx2.AsyncClient, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fleet.add("third")
    ada = await person(api)
    await grant(api, ada)
    monkeypatch.setattr(effective, "TOOLS_PER_PAGE", 3)
    first = await access(api, ada)
    assert len(first["items"]) == 2
    second = await access(api, ada, cursor=first["next_cursor"])
    assert len(second["items"]) == 1
    assert second["next_cursor"] is None
    slugs = [item["slug"] for item in first["items"] + second["items"]]
    assert slugs == sorted(fleet.slugs.values())


async def test_it_can_be_asked_of_some_servers_alone(api: httpx2.AsyncClient, fleet: Fleet) -> None:
    ada = await person(api)
    await grant(api, ada, servers=fleet.only("notes"))
    notes, books = fleet.ids["notes"], fleet.ids["books"]
    assert list(await reached(api, ada, server_id=notes)) == [notes]
    assert await reached(api, ada, server_id=books) == {}
    assert list(await reached(api, ada, server_id=[books, notes])) == [notes]
    assert await reached(api, ada, server_id=format_id(SERVER, new_id())) == {}


async def test_a_cursor_goes_with_its_identity_and_its_filters(api: httpx2.AsyncClient, fleet: Fleet) -> None:
    ada, bea = await person(api), await person(api)
    await grant(api, ada)
    await grant(api, bea)
    cursor = (await access(api, ada, limit=1))["next_cursor"]
    for identity, query in ((bea, {}), (ada, {"server_id": fleet.ids["notes"]})):
        answer = await api.get(
            f"/api/v1/identities/{identity['id']}/access", params={"cursor": cursor, "limit": 1} | query
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "cursor_mismatch")


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 201}, {"server_id": "notes"}, {"server_id": "%00"}, {"sort": "slug"}]
)
async def test_a_query_that_is_not_acceptable_is_422(api: httpx2.AsyncClient, query: Json) -> None:
    ada = await person(api)
    answer = await api.get(f"/api/v1/identities/{ada['id']}/access", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_nobody_of_that_id_is_404(api: httpx2.AsyncClient) -> None:
    answer = await api.get(f"/api/v1/identities/{format_id(IDENTITY, new_id())}/access")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_it_needs_the_permission_to_read_grants(api: httpx2.AsyncClient, api_as: ApiAs) -> None:
    path = f"/api/v1/identities/{(await person(api))['id']}/access"
    for role in Role:
        answer = await (await api_as(role)).get(path)
        assert answer.status_code == (403 if role is Role.PROVISIONER else 200), role
        if role is Role.PROVISIONER:
            assert "grants.read" in answer.json()["detail"]


async def test_a_database_that_cannot_be_read_is_503(
    app: "Scopegate", api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await person(api)
    await app.api.state.access.fleet()

    async def lost(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("app.access.reading.read_holders", lost)
    answer = await api.get(f"/api/v1/identities/{ada['id']}/access")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
