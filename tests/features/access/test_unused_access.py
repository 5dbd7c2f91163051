"""The report lists unused access, claims nothing that it cannot know, and is applied as read or not at all."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import text

from app.access.reading import Fleet
from app.access.snapshot import AccessSnapshot
from app.features.access import unused as stale_pages
from app.http.authorization import Role
from app.lib.ids import GRANT, new_id, parse_id
from tests.api import ApiAs
from tests.features.access.aging import age, use
from tests.features.principals import (
    Json,
    Sessions,
    Versions,
    events,
    grant,
    group,
    made,
    person,
    plain,
    pointers,
)

STALE = "/api/v1/access/stale"
PROD = {"kind": "labels", "labels": {"env": "prod"}}


@dataclass(frozen=True, slots=True)
class Place:
    """Two servers in production, a person, and a team of two."""

    notes: Json
    billing: Json
    ada: Json
    ben: Json
    team: Json


async def tool(api: httpx2.AsyncClient, server: Json, name: str, risk: str) -> Json:
    body = {"server_id": server["id"], "name": name, "input_schema": {"type": "object"}, "risk": risk}
    return await made(api, "tools", body)


async def place(api: httpx2.AsyncClient) -> Place:
    url = "https://mcp.example.com/"
    notes = await made(api, "servers", {"slug": "notes", "url": url, "labels": {"env": "prod"}})
    billing = await made(api, "servers", {"slug": "billing", "url": url, "labels": {"env": "prod"}})
    await tool(api, notes, "read_note", "read")
    await tool(api, notes, "write_note", "write")
    await tool(api, billing, "refund", "write")
    ada, ben = await person(api), await person(api)
    return Place(notes, billing, ada, ben, await group(api, ada, ben))


async def report(api: httpx2.AsyncClient, **query: Any) -> dict[str, Json]:
    """The items of the whole report by id, read in pages of two."""
    found: dict[str, Json] = {}
    cursor: str | None = None
    while True:
        asked = {"limit": 2, **query} | ({} if cursor is None else {"cursor": cursor})
        answer = await api.get(STALE, params=asked)
        assert answer.status_code == 200, answer.text
        for item in answer.json()["items"]:
            id = item.get("grant_id") or item.get("token_id")
            assert id not in found
            found[id] = item
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


async def applied(
    api: httpx2.AsyncClient, *items: Json, days: int = 90, dry_run: bool = False
) -> list[tuple[str, str]]:
    """Apply what these items of the report propose; return (grant, outcome)."""
    body = {
        "unused_for_days": days,
        "items": [
            {"grant_id": item["grant_id"], "proposal_digest": item["proposal"]["digest"]} for item in items
        ],
    }
    answer = await api.post(f"{STALE}/apply", params={"dry_run": dry_run}, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["dry_run"] is dry_run
    return [(item["grant_id"], item["outcome"]) for item in answer.json()["items"]]


async def test_grants_are_listed_with_what_was_used_and_narrowed_to_that_on_a_call(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    here = await place(api)
    wide = await grant(api, here.ada, servers=PROD)
    unused = await grant(api, here.ada, tools={"kind": "names", "names": ["refund"]})
    shared = await grant(api, here.team, tools={"kind": "risk", "risk": ["read", "write"]})
    in_use = await grant(
        api, here.ben, servers={"kind": "ids", "ids": [here.billing["id"]]}, tools={"kind": "all"},
        resources=False, prompts=False,
    )  # fmt: skip
    await age(sessions, 200)
    await grant(api, here.ada, reason="made today")
    await use(sessions, wide, here.notes, "read_note", here.ada, days=5)
    await use(sessions, wide, here.billing, "refund", here.ada, days=150)
    await use(sessions, wide, here.notes, None, here.ada, days=7, part="resources")
    await use(sessions, shared, here.notes, "read_note", here.ada, days=150)
    await use(sessions, shared, here.notes, "write_note", here.ben, days=1)
    await use(sessions, in_use, here.billing, "refund", here.ben, days=1)

    found = await report(api)
    assert list(found) == [shared["id"], unused["id"], wide["id"]]
    entry = found[wide["id"]]
    assert entry["state"] == "partly_used"
    assert entry["principal"] == {"type": "identity", "id": here.ada["id"]}
    assert [(one["part"], one["tool"]) for one in entry["used"]] == [
        ("tools", "read_note"),
        ("resources", None),
    ]
    assert {one["tool"] for one in entry["unused"]} == {"write_note", "refund"}
    assert (entry["used_count"], entry["unused_count"], entry["used_by"], entry["held_by"]) == (2, 2, 1, 1)
    proposal = entry["proposal"]
    assert proposal == {
        "action": "narrow",
        "servers": {"kind": "ids", "ids": [here.notes["id"]]},
        "tools": {"kind": "names", "names": ["read_note"]},
        "resources": True,
        "prompts": False,
        "notes": ["labels_no_longer_matched", "new_tools_excluded"],
        "digest": proposal["digest"],
    }
    assert found[unused["id"]]["proposal"]["action"] == "end"
    assert (found[unused["id"]]["state"], found[unused["id"]]["last_used_at"]) == ("unused", None)
    assert (found[shared["id"]]["used_by"], found[shared["id"]]["held_by"]) == (1, 2)
    # Half a year covers the refund of 150 days ago; a year exceeds the recorded time.
    assert (await report(api, unused_for_days=180))[wide["id"]]["proposal"]["tools"]["names"] == [
        "read_note",
        "refund",
    ]
    assert await report(api, unused_for_days=365) == {}
    unknown = await report(api, unused_for_days=365, state="unknown")
    assert len(unknown) == 5
    assert all(one["proposal"] is None for one in unknown.values())
    assert set(await report(api, state="in_use")) == {in_use["id"]}
    for query, expected in (
        ({"identity_id": here.ada["id"]}, {unused["id"], wide["id"]}),
        ({"group_id": here.team["id"]}, {shared["id"]}),
        ({"identity_id": here.ben["id"]}, set()),
        ({"kind": "token"}, set()),
        ({"server_id": here.billing["id"], "state": "partly_used"}, {shared["id"], wide["id"]}),
        ({"grant_id": [wide["id"], in_use["id"]]}, {wide["id"]}),
        ({"grant_id": wide["id"], "kind": "token"}, set()),
        ({"grant_id": wide["id"], "group_id": here.team["id"]}, set()),
    ):
        assert set(await report(api, **query)) == expected, query

    versions = Versions(sessions, wide, unused, shared)
    await versions.look()
    both = (found[unused["id"]], found[wide["id"]])
    outcomes = [(unused["id"], "ended"), (wide["id"], "narrowed")]
    assert await applied(api, *both, dry_run=True) == outcomes
    assert await versions.moved() == set()
    assert await report(api) == found
    # One that was used since is unchanged, and the others are narrowed.
    await use(sessions, shared, here.notes, "read_note", here.ada, days=0)
    assert await applied(api, found[shared["id"]], *both) == [(shared["id"], "changed"), *outcomes]
    assert await versions.moved() == {wide["id"], unused["id"]}
    now = (await api.get(f"/api/v1/grants/{wide['id']}")).json()
    assert {name: now[name] for name in ("servers", "tools", "resources", "prompts")} == {
        name: proposal[name] for name in ("servers", "tools", "resources", "prompts")
    }
    assert (await api.get(f"/api/v1/grants/{unused['id']}")).status_code == 404
    await _recorded(sessions, wide, unused, proposal)
    # With labels it is unknown whether its servers were within reach all along: it is observed from now on.
    assert set(await report(api)) == {shared["id"]}
    assert await applied(api, *both) == [(unused["id"], "not_found"), (wide["id"], "changed")]


async def _recorded(sessions: Sessions, wide: Json, unused: Json, proposal: Json) -> None:
    """Both events have the reason."""
    why = {"because": "stale", "unused_for_days": 90}
    action, changes = (await events(sessions, wide))[-1]
    assert action == "grant.update"
    assert changes == {
        "servers": {"from": PROD, "to": proposal["servers"]},
        "tools": {"from": {"kind": "all"}, "to": proposal["tools"]},
        "prompts": {"from": True, "to": False},
        **why,
    }
    action, changes = (await events(sessions, unused))[-1]
    assert (action, changes.items() >= why.items()) == ("grant.end", True)


async def test_what_came_within_reach_lately_is_not_judged(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    here = await place(api)
    old = await tool(api, here.notes, "list_notes", "destructive")
    plans = await made(api, "servers", {"slug": "plans", "url": "https://mcp.example.com/"})
    await tool(api, plans, "plan", "read")
    reads = await grant(api, here.ada, servers=PROD, tools={"kind": "risk", "risk": ["read"]})
    every = await grant(api, here.ada)
    widened = await grant(api, here.ben, tools={"kind": "names", "names": ["refund"]})
    prolonged = await grant(api, here.ben, expires_at="2100-01-01T00:00:00Z")
    await age(sessions, 200)
    await use(sessions, reads, here.notes, "read_note", here.ada, days=5)
    await use(sessions, every, here.notes, "read_note", here.ada, days=5)

    async def patched(path: str, body: Json) -> None:
        answer = await api.patch(f"/api/v1/{path}", json=body)
        assert answer.status_code == 200, answer.text

    # A new tool and server, one with changed labels, and a changed risk.
    await tool(api, here.notes, "find_note", "read")
    fresh = await made(api, "servers", {"slug": "fresh", "url": "https://mcp.example.com/"})
    await patched(f"servers/{plans['id']}", {"labels": {"env": "prod"}})
    await patched(f"tools/{old['id']}", {"risk": "read"})
    await patched(f"grants/{widened['id']}", {"tools": {"kind": "names", "names": ["refund", "write_note"]}})
    await patched(
        f"grants/{prolonged['id']}", {"expires_at": "2101-01-01T00:00:00Z", "reason": "Another year"}
    )

    found = await report(api)
    # Extending or narrowing a grant does not make it newer; widening does.
    assert set(found) == {every["id"], prolonged["id"]}
    narrow = found[every["id"]]["proposal"]
    assert set(narrow["servers"]["ids"]) == {here.notes["id"], fresh["id"]}
    assert set(narrow["tools"]["names"]) == {"read_note", "find_note", "list_notes"}
    assert (narrow["resources"], narrow["prompts"]) == (True, True)
    assert set(await report(api, state="in_use")) == {reads["id"]}
    assert set(await report(api, state="unknown")) == {widened["id"]}
    assert found[prolonged["id"]]["state"] == "unused"
    # Uses were not recorded for that long.
    async with sessions() as session:
        await session.execute(text("UPDATE use_watches SET since = now() - interval '10 days'"))
        await session.commit()
    assert await report(api) == {}
    assert set(await report(api, unused_for_days=9)) >= {every["id"]}
    async with sessions() as session:
        await session.execute(text("DELETE FROM use_watches"))
        await session.commit()
    assert await report(api, unused_for_days=1) == {}


async def test_a_grant_whose_beginning_was_moved_is_not_judged_by_when_it_gave_nothing(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    here = await place(api)
    later = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    waiting, begun = await grant(api, here.ada, not_before=later), await grant(api, here.ben)
    lately = await grant(api, here.team, not_before=later)
    await age(sessions, 200)
    for one in (waiting, begun, lately):
        changed = await api.patch(f"/api/v1/grants/{one['id']}", json={"not_before": None, "reason": "x"})
        assert changed.status_code == 200, changed.text
    # As if this one had started by itself a week ago, before its start was removed.
    week_ago = datetime.now(UTC) - timedelta(days=7)
    async with sessions() as session:
        await session.execute(
            text(
                "UPDATE object_versions SET content = jsonb_set(content, '{not_before}', to_jsonb(CAST(:at AS text)))"
                " WHERE object_id = :id AND valid_to IS NOT NULL"
            ),
            {"at": week_ago.isoformat(), "id": parse_id(GRANT, lately["id"])},
        )
        await session.commit()
    assert set(await report(api)) == {begun["id"]}
    unknown = await report(api, state="unknown")
    assert set(unknown) == {waiting["id"], lately["id"]}
    assert datetime.fromisoformat(unknown[lately["id"]]["observed_since"]) == week_ago


async def test_nothing_is_applied_that_rests_on_servers_which_changed_since(
    api: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await place(api)
    await tool(api, here.notes, "list_notes", "read")
    reads = await grant(api, here.ada, tools={"kind": "risk", "risk": ["read"]})
    [used] = (await api.get("/api/v1/tools", params={"q": "read_note"})).json()["items"]
    await age(sessions, 200)
    await use(sessions, reads, here.notes, "read_note", here.ada, days=5)
    found = (await report(api))[reads["id"]]
    assert found["proposal"]["tools"] == {"kind": "names", "names": ["read_note"]}
    read = stale_pages._fleet

    async def read_and_overtaken(snapshot: AccessSnapshot) -> Fleet:
        fleet = await read(snapshot)
        body = {"risk": "destructive"}
        assert (await api.patch(f"/api/v1/tools/{used['id']}", json=body)).status_code == 200
        return fleet

    # By its name it would stay within reach, though the grant does not allow it any more.
    with monkeypatch.context() as patched:
        patched.setattr(stale_pages, "_fleet", read_and_overtaken)
        assert await applied(api, found) == [(reads["id"], "changed")]
    assert (await report(api))[reads["id"]]["proposal"]["action"] == "end"


async def test_tokens_that_nobody_used_are_told_of_page_by_page(
    api: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stale_pages, "TOKENS_A_PAGE", 3)
    here = await place(api)
    ids: dict[str, UUID] = {}

    async def token(name: str, *, made: float, used: float | None, of: Json = here.ada, **more: Any) -> None:
        at = datetime.now(UTC) - timedelta(days=made)
        row: Json = {
            "id": UUID(int=(int(at.timestamp() * 1000) << 80) | (new_id().int & (2**80 - 1))),
            "identity": plain(of), "name": name, "at": at,
            "expires": datetime.now(UTC) + timedelta(days=9), "revoked": None,
        } | more  # fmt: skip
        ids[name] = row["id"]
        async with sessions() as session:
            await session.execute(
                text(
                    "INSERT INTO tokens (id, identity_id, name, scope, created_at, expires_at, revoked_at) VALUES"
                    """ (:id, :identity, :name, '{"kind": "grants"}', :at, :expires, :revoked)"""
                ),
                row,
            )
            if used is not None:
                await session.execute(
                    text("INSERT INTO token_uses VALUES (:id, :at)"),
                    {"id": row["id"], "at": datetime.now(UTC) - timedelta(days=used)},
                )
            await session.commit()

    yesterday = datetime.now(UTC) - timedelta(days=1)
    for number in range(4):
        await token(f"young {number}", made=10 + number, used=None)
        await token(f"used {number}", made=200 + number, used=3)
    await token("never", made=300, used=None)
    await token("once", made=301, used=100, of=here.ben)
    await token("expired", made=302, used=None, expires=yesterday)
    await token("revoked", made=303, used=None, revoked=yesterday)
    found = await report(api)
    assert [one["name"] for one in found.values()] == ["never", "once"]
    for one in found.values():
        assert (one["kind"], one["state"], one["proposal"]) == ("token", "unused", {"action": "revoke"})
    assert [one["name"] for one in (await report(api, unused_for_days=200)).values()] == ["never"]
    assert [one["name"] for one in (await report(api, identity_id=here.ben["id"])).values()] == ["once"]
    in_team = await report(api, group_id=here.team["id"], server_id=here.notes["id"])
    assert [one["name"] for one in in_team.values()] == ["never", "once"]
    assert await report(api, kind="grant") == await report(api, state="partly_used") == {}
    assert await report(api, grant_id="grant_01jdpnwz00e008000000000000") == {}


async def test_who_may_not_grant_applies_nothing_and_what_is_malformed_is_reported(
    api: httpx2.AsyncClient, api_as: ApiAs, sessions: Sessions
) -> None:
    here = await place(api)
    wide = await grant(api, here.ada)
    await grant(api, here.ben)
    await age(sessions, 200)
    found = (await report(api))[wide["id"]]
    item = {"grant_id": wide["id"], "proposal_digest": found["proposal"]["digest"]}
    body = {"unused_for_days": 90, "items": [item]}
    for role, reads in ((Role.PROVISIONER, 403), (Role.AUDITOR, 200), (Role.ISSUER, 200)):
        other = await api_as(role)
        assert (await other.get(STALE)).status_code == reads
        assert (await other.post(f"{STALE}/apply", json=body)).status_code == 403
    assert await applied(await api_as(Role.ADMIN), found, dry_run=True) == [(wide["id"], "ended")]
    for bad in (
        {"unused_for_days": 0},
        {"unused_for_days": 731},
        {"kind": "server"},
        {"state": "old"},
        {"q": "x"},
    ):
        assert (await api.get(STALE, params=bad)).status_code == 422, bad
    page = (await api.get(STALE, params={"limit": 1})).json()
    other_window = {"limit": 1, "cursor": page["next_cursor"], "unused_for_days": 30}
    answer = await api.get(STALE, params=other_window)
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor_mismatch")
    twice = await api.post(f"{STALE}/apply", json=body | {"items": [item, item]})
    assert pointers(twice) == {("/items/1/grant_id", "twice")}
    wrong: list[Json] = [
        {"unused_for_days": 90, "items": []},
        {"unused_for_days": 90, "items": [item] * 101},
        {"items": [item]},
        {"unused_for_days": 90, "items": [item | {"proposal_digest": "x"}]},
    ]
    for one in wrong:
        assert (await api.post(f"{STALE}/apply", json=one)).status_code == 422, one
    # A report for another window, or of another revision, is not the proposed one.
    answer = await api.patch(f"/api/v1/grants/{wide['id']}", json={"reason": "Kept"})
    assert answer.status_code == 200
    assert await applied(api, found) == [(wide["id"], "changed")]
    assert (await api.get(f"/api/v1/grants/{wide['id']}")).json()["revision"] == 2
