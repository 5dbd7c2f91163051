"""Grants and tokens show their reach, with a warning for each entry that matches nothing."""

from difflib import SequenceMatcher

import httpx2
import pytest

from app.features.tokens import service as reach
from tests.features.access.test_unused_access import PROD, place
from tests.features.principals import Json, grant
from tests.features.tokens.world import in_days

ALL: Json = {"kind": "all"}


def named(*names: str) -> Json:
    return {"kind": "names", "names": list(names)}


def warned(thing: Json) -> list[tuple[str, str]]:
    return [(one["pointer"], one["code"]) for one in thing["warnings"]]


def counted(thing: Json) -> tuple[int, int]:
    return thing["reaches"]["servers"], thing["reaches"]["tools"]


async def token(api: httpx2.AsyncClient, who: Json, *entries: Json) -> Json:
    scope = {"kind": "listed", "entries": list(entries)} if entries else {"kind": "grants"}
    body = {"identity_id": who["id"], "name": "laptop", "scope": scope, "expires_at": in_days(1)}
    answer = await api.post("/api/v1/tokens", json=body)
    assert answer.status_code == 201, answer.text
    issued: Json = answer.json()["token"]
    assert (await api.get(f"/api/v1/tokens/{issued['id']}")).json() == issued
    return issued


async def test_a_grant_says_what_it_reaches_and_which_entries_match_nothing(api: httpx2.AsyncClient) -> None:
    here = await place(api)
    ids = {"kind": "ids", "ids": [here.notes["id"], here.billing["id"]]}
    one = {"kind": "ids", "ids": [here.billing["id"]]}
    for servers, tools, reaches, warnings in (
        (PROD, ALL, (2, 3), []),
        (ids, {"kind": "risk", "risk": ["read", "destructive"]}, (2, 1), []),
        (PROD, named("read_note", "refund"), (2, 2), []),
        (PROD, named("read_note", "red_note"), (2, 1), [("/tools/names/1", "unknown_tool")]),
        (one, named("read_note"), (1, 0), [("/tools/names/0", "unknown_tool")]),
        (PROD, {"kind": "risk", "risk": ["destructive"]}, (2, 0), [("/tools", "no_tool")]),
        (PROD, named(), (2, 0), [("/tools", "no_tool")]),
        ({"kind": "labels", "labels": {"env": "prd"}}, ALL, (0, 0), [("/servers", "no_server")]),
        ({"kind": "labels", "labels": {}}, ALL, (0, 0), [("/servers", "no_server")]),
        ({"kind": "ids", "ids": []}, ALL, (0, 0), [("/servers", "no_server")]),
    ):  # fmt: skip
        given = await grant(api, here.ada, servers=servers, tools=tools)
        assert (counted(given), warned(given)) == (reaches, warnings), (servers, tools)
        path = f"/api/v1/grants/{given['id']}"
        assert (await api.get(path)).json() == given
        preview = await api.post("/api/v1/grants/preview", json={"servers": servers, "tools": tools})
        assert (counted(preview.json()), preview.json()["warnings"]) == (reaches, given["warnings"])
    moved = await api.patch(path, json={"servers": PROD, "tools": named("red_note")})
    assert (counted(moved.json()), warned(moved.json())) == ((2, 0), [("/tools/names/0", "unknown_tool")])
    assert "Did you mean read_note?" in moved.json()["warnings"][0]["detail"]
    listed = (await api.get("/api/v1/grants")).json()["items"]
    assert {(one["reaches"], one["warnings"]) for one in listed} == {(None, None)}


async def test_a_token_says_what_its_scope_reaches_within_the_grants(api: httpx2.AsyncClient) -> None:
    here = await place(api)
    assert warned(await token(api, here.ada)) == [("/scope", "not_granted")]
    await grant(api, here.ada, servers=PROD, tools={"kind": "risk", "risk": ["read"]})
    await grant(api, here.team, servers={"kind": "ids", "ids": [here.billing["id"]]})
    await grant(api, here.ada, servers=PROD, not_before=in_days(1))
    everything = await token(api, here.ada)
    assert (counted(everything), warned(everything)) == ((2, 2), [])
    notes = {"servers": {"kind": "ids", "ids": [here.notes["id"]]}, "tools": ALL}
    narrow = await token(api, here.ada, notes)
    assert (counted(narrow), warned(narrow)) == ((1, 1), [])
    odd = await token(
        api, here.ada, notes | {"tools": named("git_sttus")}, notes | {"tools": named("write_note")}
    )
    assert (counted(odd), warned(odd)) == (
        (1, 0), [("/scope/entries/0/tools/names/0", "unknown_tool"), ("/scope/entries/1", "not_granted")],
    )  # fmt: skip
    none = {"kind": "listed", "entries": []}
    narrowed = await api.patch(f"/api/v1/tokens/{narrow['id']}", json={"scope": none})
    assert (counted(narrowed.json()), warned(narrowed.json())) == ((0, 0), [("/scope", "empty_scope")])


async def test_quarantined_tools_and_ended_servers_are_not_counted(api: httpx2.AsyncClient) -> None:
    here = await place(api)
    (first,) = (await api.get("/api/v1/tools", params={"name": "refund"})).json()["items"]
    held = await api.patch(f"/api/v1/tools/{first['id']}", json={"state": "quarantined"})
    assert held.status_code == 200, held.text
    given = await grant(api, here.ada, servers=PROD, tools=named("refund", "read_note"))
    # The tool exists, so its name is not misspelled.
    assert (counted(given), warned(given)) == ((2, 1), [])
    assert (await api.delete(f"/api/v1/servers/{here.notes['id']}")).status_code == 204
    shown = (await api.get(f"/api/v1/grants/{given['id']}")).json()
    assert (counted(shown), warned(shown)) == ((1, 0), [("/tools/names/1", "unknown_tool")])


async def test_names_are_suggested_for_a_few_entries_without_comparing_their_order(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("takes seconds for names that a server made up")

    monkeypatch.setattr(SequenceMatcher, "find_longest_match", refuse)
    here = await place(api)
    await grant(api, here.ada)
    entry = {"servers": PROD, "tools": named("red_note", "colour")}
    issued = await token(api, here.ada, entry, entry, entry)
    assert warned(issued) == [
        (f"/scope/entries/{number}/tools/names/{index}", "unknown_tool")
        for number in range(3)
        for index in range(2)
    ]
    suggested = [one["detail"].partition(" Did you mean ")[2] for one in issued["warnings"]]
    assert suggested == ["read_note?", "", "read_note?", "", "", ""]


async def test_with_very_many_grants_a_token_is_not_counted(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "MAX_GRANTS", 1)
    here = await place(api)
    await grant(api, here.ada)
    assert counted(await token(api, here.ada)) == (2, 3)
    await grant(api, here.ada)
    assert (await token(api, here.ada))["reaches"] is None
