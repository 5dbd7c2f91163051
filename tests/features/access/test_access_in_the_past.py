"""Effective access at a past time is the same as it was at that time, for identities and tools."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from app.access import reach as callers
from app.http.authorization import Role
from app.lib.ids import IDENTITY, TOOL, format_id, new_id
from tests.api import ApiAs
from tests.features.principals import Json, Sessions, agent, grant, group, made, member_path, person

Step = Callable[[], Awaitable[Any]]


async def tool_of(api: httpx2.AsyncClient, server: Json, name: str, risk: str) -> Json:
    body = {"server_id": server["id"], "name": name, "input_schema": {"type": "object"}, "risk": risk}
    return await made(api, "tools", body)


async def done(answer: Awaitable[httpx2.Response]) -> None:
    response = await answer
    assert response.status_code in {200, 201, 204}, response.text


async def ask(api: httpx2.AsyncClient, thing: Json, **query: Any) -> Json:
    plural = "identities" if thing["id"].startswith("idn_") else "tools"
    answer = await api.get(f"/api/v1/{plural}/{thing['id']}/access", params=query)
    assert answer.status_code == 200, answer.text
    shown: Json = answer.json()
    return shown


async def database_time(sessions: Sessions) -> str:
    async with sessions() as session:
        at: datetime = (await session.execute(text("SELECT clock_timestamp()"))).scalar_one()
        return at.isoformat()


async def test_of_a_moment_it_tells_what_it_told_then(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    bea = await person(api)
    before = await database_time(sessions)
    ada = await person(api)
    bot = await agent(api, ada, attributes={"job": "triage"})
    team = await group(api, ada)
    notes = await made(api, "servers", {"slug": "notes", "url": "https://mcp.example.com/"})
    books = await made(
        api, "servers", {"slug": "books", "url": "https://mcp.example.com/", "labels": {"env": "prod"}}
    )
    look = await tool_of(api, notes, "look", "read")
    wipe = await tool_of(api, notes, "wipe", "destructive")
    find = await tool_of(api, books, "find", "read")
    ours = await grant(api, team, tools={"kind": "all"})
    own = await grant(api, bot, tools={"kind": "risk", "risk": ["read"]}, resources=True)
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    in_prod = {"kind": "labels", "labels": {"env": "prod"}}
    await grant(api, bea, servers=in_prod, tools={"kind": "names", "names": ["find"]}, not_before=later)
    v1 = "/api/v1"
    steps: list[Step] = [
        lambda: done(api.delete(member_path(team, ada))),
        lambda: done(api.patch(f"{v1}/grants/{own['id']}", json={"resources": False, "prompts": True})),
        lambda: done(api.post(f"{v1}/identities/{ada['id']}/suspend")),
        lambda: done(api.post(f"{v1}/identities/{ada['id']}/reinstate")),
        lambda: done(api.put(member_path(team, bea))),
        lambda: done(api.patch(f"{v1}/identities/{bot['id']}", json={"owner_id": bea["id"]})),
        lambda: done(api.patch(f"{v1}/tools/{look['id']}", json={"risk": "write"})),
        lambda: done(api.patch(f"{v1}/tools/{wipe['id']}", json={"state": "quarantined"})),
        lambda: done(api.patch(f"{v1}/servers/{books['id']}", json={"labels": {"env": "test"}})),
        lambda: done(api.patch(f"{v1}/servers/{books['id']}", json={"status": "disabled"})),
        lambda: done(api.delete(f"{v1}/grants/{ours['id']}")),
        lambda: done(api.delete(f"{v1}/servers/{notes['id']}")),
        lambda: done(api.post(f"{v1}/identities/{bea['id']}/offboard", json={"reason": "left"})),
    ]
    things = [ada, bea, bot, look, wipe, find]
    answers: list[tuple[str, Json, Json]] = []
    for step in [None, *steps]:
        if step is not None:
            await step()
        for thing in things:
            answer = await api.get(
                f"/api/v1/{'identities' if 'kind' in thing else 'tools'}/{thing['id']}/access"
            )
            if answer.status_code == 200:
                answers.append((await database_time(sessions), thing, answer.json()))
    assert len({str(shown | {"at": None}) for _, _, shown in answers}) > 25, "the steps change a lot"
    for at, thing, shown in answers:
        assert (await ask(api, thing, at=at)) | {"at": None} == shown | {"at": None}, at
    by_label = await ask(api, bea, at=later)
    assert by_label["stopped"] == "identity_offboarded", "a future time is decided by the current rules"
    early = await api.get(f"/api/v1/identities/{ada['id']}/access", params={"at": "2020-01-01T00:00:00Z"})
    assert early.json()["errors"][0]["code"] == "before_history"
    assert (await api.get(f"/api/v1/identities/{ada['id']}/access", params={"at": before})).status_code == 404


async def test_who_can_call_a_tool_is_told_in_pages_with_the_grant_that_lets_each(
    api: httpx2.AsyncClient, api_as: ApiAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = await made(api, "servers", {"slug": "notes", "url": "https://mcp.example.com/"})
    look = await tool_of(api, notes, "look", "read")
    people = [await person(api) for _ in range(5)]
    ada, bea, cleo, dora, _eve = people
    team = await group(api, ada, cleo)
    ours = await grant(api, team)
    hers = await grant(api, bea, tools={"kind": "names", "names": ["look"]})
    await grant(api, dora, tools={"kind": "names", "names": ["other"]})
    shown = await ask(api, look)
    assert [(item["user_name"], item["grant_id"], item["group_id"]) for item in shown["items"]] == [
        (cleo["user_name"], ours["id"], team["id"]),
        (bea["user_name"], hers["id"], None),
        (ada["user_name"], ours["id"], team["id"]),
    ]
    first = await ask(api, look, limit=2)
    second = await ask(api, look, limit=2, cursor=first["next_cursor"])
    assert (first["items"] + second["items"], second["next_cursor"]) == (shown["items"], None)
    # A page examines only a limited number, however few can call the tool.
    monkeypatch.setattr(callers, "IDENTITIES_PER_PAGE", 1)
    monkeypatch.setattr(callers, "_AT_ONCE", 1)
    seen: list[Json] = []
    cursor: dict[str, str] = {}
    while (page := await ask(api, look, **cursor))["next_cursor"] is not None:
        seen += page["items"]
        cursor = {"cursor": page["next_cursor"]}
    assert seen == shown["items"]
    quarantined = {"state": "quarantined"}
    await done(api.patch(f"/api/v1/tools/{look['id']}", json=quarantined))
    held = await ask(api, look)
    assert (held["stopped"], held["items"]) == ("tool_quarantined", [])
    assert (await api.get(f"/api/v1/tools/{format_id(TOOL, new_id())}/access")).status_code == 404
    for path in (f"tools/{look['id']}", f"identities/{format_id(IDENTITY, new_id())}"):
        answer = await (await api_as(Role.PROVISIONER)).get(f"/api/v1/{path}/access")
        assert (answer.status_code, "grants.read" in answer.json()["detail"]) == (403, True)
