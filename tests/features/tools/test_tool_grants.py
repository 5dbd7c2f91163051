"""The grants that reach a server and a tool agree with the selectors, and their last uses are known."""

from typing import Any

import httpx2
from sqlalchemy import text

from app.lib.ids import parse_id
from tests.features.principals import Json, Sessions, fresh, grant, made, person, plain, server

ALL: Json = {"kind": "all"}


def ids(*servers: str) -> Json:
    return {"kind": "ids", "ids": list(servers)}


def labelled(**labels: str) -> Json:
    return {"kind": "labels", "labels": labels}


async def tool(api: httpx2.AsyncClient, server_id: str, name: str, risk: str) -> Json:
    """Create a tool manually."""
    body = {"server_id": server_id, "name": name, "input_schema": {"type": "object"}, "risk": risk}
    return await made(api, "tools", body)


async def listed(api: httpx2.AsyncClient, path: str, **query: Any) -> list[str]:
    """The ids of a whole list, read two a page."""
    found: list[str] = []
    asked: dict[str, Any] = {"limit": 2, **query}
    while True:
        answer = await api.get(f"/api/v1{path}", params=asked)
        assert answer.status_code == 200, answer.text
        found += [item["id"] for item in answer.json()["items"]]
        if answer.json()["next_cursor"] is None:
            return found
        asked["cursor"] = answer.json()["next_cursor"]


async def test_grants_are_found_by_the_server_that_they_reach(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada, one, other = await person(api), await server(sessions), await server(sessions)
    answer = await api.patch(f"/api/v1/servers/{one}", json={"labels": {"env": "prod", "team": "a"}})
    assert answer.status_code == 200, answer.text
    reaching = [
        (await grant(api, ada, servers=servers))["id"]
        for servers in (ALL, ids(one), ids(other, one), labelled(env="prod"), labelled(env="prod", team="a"))
    ]
    for servers in (ids(other), ids(), labelled(), labelled(env="test"), labelled(env="prod", x="y")):
        await grant(api, ada, servers=servers)
    gone = await grant(api, ada)
    assert (await api.delete(f"/api/v1/grants/{gone['id']}")).status_code == 204
    assert await listed(api, "/grants", server_id=one) == reaching[::-1]
    # It follows the labels, as the grant does.
    await api.patch(f"/api/v1/servers/{one}", json={"labels": {"env": "test"}})
    assert set(reaching) - set(await listed(api, "/grants", server_id=one)) == set(reaching[3:])
    assert len(await listed(api, "/grants", server_id=[one, other])) == 5
    assert await listed(api, "/grants", server_id="srv_01jdpnwz00e008000000000000") == []
    assert (await api.delete(f"/api/v1/servers/{one}")).status_code == 204
    assert await listed(api, "/grants", server_id=one) == []


async def test_grants_are_found_by_the_tool_that_they_reach(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada, one, other = await person(api), await server(sessions), await server(sessions)
    reads = await tool(api, one, "read_note", "read")
    reaching = [
        (await grant(api, ada, servers=ids(one), tools=tools))["id"]
        for tools in (
            ALL,
            {"kind": "names", "names": ["write_note", "read_note"]},
            {"kind": "risk", "risk": ["write", "read"]},
        )
    ]
    for tools in (
        {"kind": "names", "names": ["read"]},
        {"kind": "names", "names": []},
        {"kind": "risk", "risk": ["destructive"]},
    ):
        await grant(api, ada, servers=ids(one), tools=tools)
    await grant(api, ada, servers=ids(other))
    expired = await grant(api, ada)
    async with sessions() as session:
        past = "UPDATE grants SET expires_at = now() WHERE id = :id"
        await session.execute(text(past), {"id": plain(expired)})
        await session.commit()
    assert await listed(api, f"/tools/{reads['id']}/grants") == reaching[::-1]
    assert (await api.get("/api/v1/tools/tool_01jdpnwz00e008000000000000/grants")).status_code == 404


async def test_a_grant_by_which_nobody_used_the_tool_lately_is_told_apart(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada, one = await person(api), await server(sessions)
    reads = await tool(api, one, fresh("read"), "read")
    used, long_ago, never, for_another = [await grant(api, ada) for _ in range(4)]
    async with sessions() as session:
        for right, name, days in (
            (used, reads["name"], 59),
            (long_ago, reads["name"], 61),
            (for_another, "another", 1),
        ):
            await session.execute(
                text(
                    "INSERT INTO grant_uses (grant_id, server_id, part, tool, last_used_at) "
                    "VALUES (:grant, :server, 'tools', :tool, now() - make_interval(days => :days))"
                ),
                {"grant": plain(right), "server": parse_id("srv", one), "tool": name, "days": days},
            )
        await session.commit()
    path = f"/tools/{reads['id']}/grants"
    assert await listed(api, path, unused_for_days=60) == [
        one["id"] for one in (for_another, never, long_ago)
    ]
    shown = {item["id"]: item["last_used_at"] for item in (await api.get(f"/api/v1{path}")).json()["items"]}
    assert {id for id, at in shown.items() if at is None} == {never["id"], for_another["id"]}
    assert len(shown) == 4
