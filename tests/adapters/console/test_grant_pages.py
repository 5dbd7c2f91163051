"""Pages about grants: what is shown to whom, that choosing survives searching, and that each form does what it said."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import httpx2
import pytest

from app.lib.ids import GRANT
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import SigningProvider, sign_in
from tests.features.access.aging import age, use
from tests.features.access.test_unused_access import PROD, Place, place, tool
from tests.features.principals import Json, Sessions, grant, group, person, plain
from tests.features.tokens.world import in_days

ROOT = "/console/grants"
EVIL = '"><script>alert(1)</script>'
Pairs = list[tuple[str, str]]


def said(page: httpx2.Response) -> str:
    """What somebody reads on a page, in one line."""
    (main,) = re.findall(r"<main\b.*</main>", page.text, re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split())


def filled(page: httpx2.Response, action: str) -> Pairs:
    """What a browser would send of a form as it stands there, without its buttons."""
    (form,) = re.findall(rf'<form method="post" action="{re.escape(action)}".*?</form>', page.text, re.DOTALL)
    pairs = []
    for tag in re.findall(r"<input\b[^>]*>", form):
        given = {name: unescape(value) for name, value in re.findall(r'(\w[\w-]*)="([^"]*)"', tag)}
        if given.get("type") in {"checkbox", "radio"} and not re.search(r"\schecked", tag):
            continue
        pairs.append((given["name"], given.get("value", "on")))
    for name, text in re.findall(r'<textarea[^>]* name="(\w+)"[^>]*>\n?(.*?)</textarea>', form, re.DOTALL):
        pairs.append((name, unescape(text)))
    return pairs


def put(pairs: Pairs, *more: tuple[str, str], **changed: str) -> Any:
    """The form with some fields changed, and some ticked on top."""
    kept = [(name, value) for name, value in pairs if name not in changed]
    form: dict[str, Any] = {}
    for name, value in [*kept, *changed.items(), *more]:
        form.setdefault(name, []).append(value)
    return form


@pytest.fixture
async def admin(new_browser: NewBrowser, provider: SigningProvider) -> httpx2.AsyncClient:
    """The browser of an administrator."""
    browser = new_browser()
    assert (await sign_in(browser, provider, sub="root", groups=["admins"])).status_code == 303
    return browser


@pytest.fixture
async def here(api: httpx2.AsyncClient) -> Place:
    """Two servers in production with tools, somebody, and a team of two."""
    return await place(api)


async def test_the_list_says_who_may_what_until_when_and_is_narrowed_by_its_filters(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, here: Place
) -> None:
    empty = await admin.get(ROOT)
    assert "No grants yet" in said(empty)
    soon = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    ada = await person(api, display_name=f"Ada {EVIL}")
    mine = await grant(api, ada, servers=PROD, expires_at=soon, reason=f"On call {EVIL}")
    team = await grant(api, here.team, servers={"kind": "ids", "ids": [here.billing["id"]]})
    page = await admin.get(ROOT)
    text = said(page)
    for shown in ("every tool", "servers labelled env=prod", "billing", here.team["name"], f"On call {EVIL}"):
        assert shown in text, shown
    assert "<script>alert" not in page.text
    both = {mine["id"], team["id"]}

    async def found(**query: str) -> set[str]:
        answer = await admin.get(ROOT, params=query)
        assert answer.status_code == 200, answer.text
        return set(re.findall(r'href="/console/grants/(grant_\w+)"', answer.text))

    assert await found() == both
    assert await found(who="ada") == {mine["id"]}
    assert await found(who=here.team["name"]) == {team["id"]}
    assert await found(identity_id=ada["id"]) == {mine["id"]}
    assert await found(server="notes") == {mine["id"]}
    assert await found(server="bill") == both
    assert await found(expiring="7") == {mine["id"]}
    assert await found(q="call", status="active") == {mine["id"]}
    for nothing in ({"who": "nobody"}, {"server": "none"}, {"q": "%"}, {"status": "scheduled"}):
        assert await found(**nothing) == set()
        assert "No grant matches" in said(await admin.get(ROOT, params=nothing))
    for unreadable in ({"status": "odd"}, {"identity_id": "x"}):
        assert (await admin.get(ROOT, params=unreadable)).status_code == 400
    part = await admin.get(ROOT, headers={"HX-Request": "true", "HX-Target": "div#list"})
    assert "<!doctype" not in part.text
    assert mine["id"] in part.text


async def test_the_list_is_read_to_its_end_by_its_links(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, here: Place
) -> None:
    made = {(await grant(api, here.ada, servers=PROD))["id"] for _ in range(27)}
    address, found = f"{ROOT}?server=notes&expiring=", []
    while address:
        page = await admin.get(address)
        found += re.findall(r'<td>\s*<a href="/console/grants/(grant_\w+)"', page.text)
        more = re.findall(r'rel="next" href="([^"]+)"', page.text)
        address = unescape(more[0]) if more else ""
    assert len(found) == len(set(found)) == 27
    assert set(found) == made


async def test_a_list_begins_anew_when_whom_it_is_of_are_others_than_before(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, here: Place
) -> None:
    ada = await person(api, user_name="ada.one")
    for _ in range(26):
        await grant(api, ada, servers=PROD)
    first = await admin.get(ROOT, params={"who": "ada.", "status": "active"})
    (more,) = re.findall(r'rel="next" href="([^"]+)"', first.text)
    await person(api, user_name="ada.two")
    anew = await admin.get(unescape(more))
    assert (anew.status_code, anew.headers["location"]) == (303, f"{ROOT}?who=ada.&status=active")
    assert (await admin.get(anew.headers["location"])).status_code == 200


async def test_a_grant_is_narrowed_in_one_click_to_what_was_used_and_it_is_said_what_changed(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, sessions: Sessions, here: Place
) -> None:
    wide = await grant(api, here.ada, servers=PROD)
    unused = await grant(api, here.ben)
    await age(sessions, 100)
    await use(sessions, wide, here.notes, "read_note", here.ada, days=5)
    page = await admin.get(ROOT)
    assert "unused for 60 days" in said(page)
    assert f"/console/grants/{unused['id']}/end" in page.text
    action = f"{ROOT}/{wide['id']}/narrow"
    sent = put(filled(page, action))
    done = await admin.post(action, data=sent)
    assert done.status_code == 200
    text = said(done)
    assert "Grant narrowed" in text
    assert "Access before every tool on servers labelled env=prod, with resources and prompts" in text
    assert "Access now read_note on notes" in text
    now = (await api.get(f"/api/v1/grants/{wide['id']}")).json()
    assert (now["tools"], now["resources"]) == ({"kind": "names", "names": ["read_note"]}, False)
    again = await admin.post(action, data=sent)
    assert again.status_code == 409
    assert "Grant not changed" in said(again)
    assert (await admin.get(action)).headers["location"] == f"{ROOT}/{wide['id']}"
    (row,) = await _events(sessions, plain(wide))
    assert row == ("grant.update", "stale")


async def _events(sessions: Sessions, id: Any) -> list[tuple[str, str]]:
    from sqlalchemy import text

    query = text(
        "SELECT action, changes ->> 'because' FROM audit_events WHERE object_id = :id AND action <> 'grant.create'"
    )
    async with sessions() as session:
        return [tuple(row) for row in await session.execute(query, {"id": id})]


async def test_a_grant_shows_what_it_reaches_what_was_used_and_what_it_could_become(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, sessions: Sessions, here: Place
) -> None:
    await tool(api, here.billing, "void_all", "destructive")
    shared = await grant(api, here.team, servers=PROD)
    await age(sessions, 100)
    await use(sessions, shared, here.notes, "read_note", here.ada, days=1)
    text = said(await admin.get(f"{ROOT}/{shared['id']}"))
    for shown in (
        f"{here.team['name']} can use 4 tools on 2 servers without expiry; ▲ 1 of them is destructive",
        "members of the group: 2 now",
        "Used by 1 of 2 holders",
        "3 tools were not used",
        "read_note on notes",
        "Servers are named, so they stay included",
    ):
        assert shown in text, (shown, text)
    young = await grant(api, here.ada)
    assert "not enough data yet" in said(await admin.get(f"{ROOT}/{young['id']}"))
    for path in (f"{ROOT}/{'grant_01jdpnwz00e008000000000000'}", f"{ROOT}/x", f"{ROOT}/{here.ada['id']}"):
        assert (await admin.get(path)).status_code == 404


async def test_several_are_looked_at_before_they_are_narrowed_and_ended(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, sessions: Sessions, here: Place
) -> None:
    wide, unused = await grant(api, here.ada, servers=PROD), await grant(api, here.ben)
    left = await grant(api, here.team)
    await age(sessions, 200)
    await use(sessions, wide, here.notes, "read_note", here.ada, days=70)
    page = await admin.get(f"{ROOT}/stale", params={"unused_for_days": "90"})
    items = dict(re.findall(r'name="item" value="((grant_\w+) \w+)"', page.text)[i][::-1] for i in range(3))
    assert set(items) == {wide["id"], unused["id"], left["id"]}
    fields = put(filled(page, f"{ROOT}/stale"))
    none = await admin.post(f"{ROOT}/stale", data=fields)
    assert none.status_code == 422
    assert "Choose at least one grant" in said(none)
    fields["item"] = [items[wide["id"]], items[unused["id"]]]
    looked = await admin.post(f"{ROOT}/stale", data=fields)
    assert "Preview of changed grants" in said(looked)
    assert "read_note on notes" in said(looked)
    assert (await api.get(f"/api/v1/grants/{unused['id']}")).status_code == 200
    done = await admin.post(f"{ROOT}/stale", data=put(filled(looked, f"{ROOT}/stale")))
    assert "Changed grants" in said(done)
    assert (await api.get(f"/api/v1/grants/{unused['id']}")).status_code == 404
    assert (await api.get(f"/api/v1/grants/{wide['id']}")).json()["tools"]["names"] == ["read_note"]
    assert (await api.get(f"/api/v1/grants/{left['id']}")).json()["revision"] == 1
    over = await admin.post(f"{ROOT}/stale", data=put(filled(looked, f"{ROOT}/stale")))
    assert said(over).count("unchanged") == 2


async def test_a_grant_is_made_as_it_was_summed_up_and_choices_survive_searching(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, here: Place
) -> None:
    new = f"{ROOT}/new"
    start = filled(await admin.get(new, params={"identity_id": here.ada["id"]}), new)
    assert ("who", here.ada["id"]) in start
    chosen = put(start, ("server", here.notes["id"]), server_q="bill", tools="names")
    part = await admin.post(
        new, data=chosen, headers={"HX-Request": "true", "HX-Target": "div#server-results"}
    )
    assert "<!doctype" not in part.text
    assert f'value="{here.billing["id"]}"' in part.text
    page = await admin.post(new, data=chosen)
    kept = filled(page, new)
    assert ("server", here.notes["id"]) in kept
    # Another search, for somebody and for a tool: what was chosen stays.
    page = await admin.post(new, data=put(kept, who_q="nobody at all", tool_q="write", server_q=""))
    kept = filled(page, new)
    assert {("who", here.ada["id"]), ("server", here.notes["id"])} <= set(kept)
    assert 'value="write_note"' in page.text
    assert 'value="refund"' not in page.text
    review = await admin.post(
        new, data=put(kept, ("tool", "write_note"), do="review", expires="30", reason=f"Why {EVIL}")
    )
    day = (datetime.now(UTC) + timedelta(days=30)).strftime("%-d %b %Y")
    assert f"can use 1 tool on 1 server until {day} ." in said(review), said(review)
    assert "<script>alert" not in review.text
    assert (await api.get("/api/v1/grants")).json()["items"] == []
    back = await admin.post(new, data=put(filled(review, new), do="edit"))
    assert ("tool", "write_note") in filled(back, new)
    made = await admin.post(new, data=put(filled(review, new), do="create"))
    assert made.status_code == 303
    [found] = (await api.get("/api/v1/grants")).json()["items"]
    assert made.headers["location"] == f"{ROOT}/{found['id']}?done=created"
    assert found["servers"] == {"kind": "ids", "ids": [here.notes["id"]]}
    assert found["tools"] == {"kind": "names", "names": ["write_note"]}
    assert (found["resources"], found["reason"]) == (False, f"Why {EVIL}")
    assert found["principal"] == {"type": "identity", "id": here.ada["id"]}


async def test_a_grant_that_matches_nothing_is_shown_with_a_warning(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, here: Place
) -> None:
    new = f"{ROOT}/new"
    start = filled(await admin.get(new, params={"identity_id": here.ada["id"]}), new)
    chosen = put(
        start, ("server", here.notes["id"]), ("tool", "red_note"), servers="ids", tools="names", do="review",
        expires="30",
    )  # fmt: skip
    review = await admin.post(new, data=chosen)
    assert "No tool of these servers is named red_note. Did you mean read_note?" in said(review)
    made = await admin.post(new, data=put(filled(review, new), do="create"))
    shown = await admin.get(made.headers["location"])
    assert "One entry currently matches nothing" in said(shown)
    body = {
        "identity_id": here.ada["id"],
        "name": "laptop",
        "scope": {"kind": "grants"},
        "expires_at": in_days(1),
    }
    token = (await api.post("/api/v1/tokens", json=body)).json()["token"]
    page = await admin.get(f"/console/tokens/{token['id']}")
    assert "The identity has no live grant that reaches a tool." in said(page)
    assert "0 tools on 1 server now" in said(page)


async def test_what_cannot_be_made_is_told_beside_what_was_typed_and_nothing_is_made(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, here: Place
) -> None:
    new = f"{ROOT}/new"
    start = filled(await admin.get(new), new)
    good = {
        "who": here.ada["id"],
        "servers": "labels",
        "labels": "env=prod",
        "do": "review",
        "reason": "Kept.",
    }
    for changed, words in (
        ({"who": ""}, "Choose who receives the grant"),
        ({"who": "idn_01jdpnwz00e008000000000000"}, "There is no such identity"),
        ({"who": EVIL}, "Holder: not a idn_ id"),
        ({"servers": "ids"}, "Choose at least one server"),
        ({"labels": "prod"}, "Line 1 is not of the form env=prod"),
        ({"labels": "env=prod\nenv=test"}, "Line 2 repeats the label env"),
        ({"labels": ""}, "Enter at least one label"),
        ({"tools": "names"}, "Choose at least one tool"),
        ({"tools": "risk", "risk": "odd"}, "Tools, no. 1: Input should be 'read'"),
        ({"expires": "on", "expires_on": "2020-01-01"}, "must be in the future"),
        ({"expires": "on", "expires_on": "soon"}, "Enter a date such as"),
        ({"expires": "at", "expires_at": "9999-12-31T23:59:59-12:00"}, "Choose when the grant expires"),
        ({"expires": "13"}, "Choose when the grant expires"),
        ({"begins_on": "2100-01-01"}, "must be earlier"),
    ):
        page = await admin.post(new, data=put(start, **(good | changed)))
        assert page.status_code == 422, (changed, said(page))
        assert words in said(page), (words, said(page))
        assert ("reason", "Kept.") in filled(page, new)
    assert (await api.get("/api/v1/grants")).json()["items"] == []
    twice = await admin.post(new, data=put(start, ("reason", "again"), **good))
    assert twice.status_code == 400


async def test_a_grant_is_changed_by_what_was_seen_and_ended_on_a_page_of_its_own(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, here: Place
) -> None:
    until = (datetime.now(UTC) + timedelta(days=5)).isoformat()
    it = await grant(api, here.team, servers=PROD, expires_at=until, not_before=datetime.now(UTC).isoformat())
    path = f"{ROOT}/{it['id']}/edit"
    form = filled(await admin.get(path), path)
    same = await admin.post(path, data=put(form, do="create"))
    assert same.status_code == 303
    now = (await api.get(f"/api/v1/grants/{it['id']}")).json()
    assert now == it
    review = await admin.post(path, data=put(form, do="review", tools="risk", risk="read"))
    assert "can use 1 tool on 2 servers" in said(review)
    assert "Current access every tool on servers labelled env=prod" in said(review)
    assert (await api.get(f"/api/v1/grants/{it['id']}")).json() == it
    changed = await admin.post(path, data=put(filled(review, path), do="create"))
    assert changed.headers["location"] == f"{ROOT}/{it['id']}?done=updated"
    now = (await api.get(f"/api/v1/grants/{it['id']}")).json()
    assert (now["tools"], now["expires_at"]) == ({"kind": "risk", "risk": ["read"]}, it["expires_at"])
    stale = await admin.post(path, data=put(filled(review, path), do="create"))
    assert stale.status_code == 412
    assert "It was changed since this page was shown" in said(stale)
    # What was typed goes on being of the revision that was seen.
    assert ("revision", "1") in filled(stale, path)

    ending = f"{ROOT}/{it['id']}/end"
    page = await admin.get(ending)
    assert "tools that only read on servers labelled env=prod" in said(page)
    sent = put(filled(page, ending))
    assert (await admin.post(ending, data=sent | {"revision": "1"})).status_code == 412
    assert (await api.get(f"/api/v1/grants/{it['id']}")).status_code == 200
    ended = await admin.post(ending, data=sent)
    assert ended.headers["location"] == f"{ROOT}?done=ended"
    assert (await api.get(f"/api/v1/grants/{it['id']}")).status_code == 404
    assert (await admin.post(ending, data=sent)).status_code == 404
    # Those who audit see what it was.
    assert "ended since" in said(await admin.get(f"{ROOT}/{it['id']}"))


async def test_who_may_not_grant_reads_and_is_offered_nothing_more(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, sessions: Sessions, here: Place, new_browser: NewBrowser,
    provider: SigningProvider,
) -> None:  # fmt: skip
    wide = await grant(api, here.ada, servers=PROD)
    await age(sessions, 100)
    path = f"{ROOT}/{wide['id']}"
    auditor = new_browser()
    await sign_in(auditor, provider, sub="reader", groups=["auditors"])
    text = (
        said(await auditor.get(path))
        + said(await auditor.get(ROOT))
        + said(await auditor.get(f"{ROOT}/stale"))
    )
    assert "The grant is unused and can be ended" in text
    for offered in ("Edit grant", "End grant", "New grant", "Preview changes"):
        assert offered not in text
    assert (await auditor.get(f"{ROOT}/new")).status_code == 403
    # Known, and without a role any more.
    nobody = new_browser()
    await sign_in(nobody, provider, sub="reader")
    for refused in (ROOT, path, f"{ROOT}/new", f"{ROOT}/stale", f"{path}/edit", f"{path}/end"):
        page = await nobody.get(refused)
        assert page.status_code == 403
        assert "grants." in said(page)
    token = dict(filled(await admin.get(f"{path}/end"), f"{path}/end"))
    for action in (f"{ROOT}/new", f"{ROOT}/stale", f"{path}/edit", f"{path}/end", f"{path}/narrow"):
        assert (await nobody.post(action, data=token)).status_code == 403
        foreign = {"Origin": "https://evil.example.com"}
        assert (await admin.post(action, data=token, headers=foreign)).status_code == 403
        assert (await admin.post(action, data=token | {"form_token": "0" * 64})).status_code == 403
    assert (await api.get(f"/api/v1/grants/{wide['id']}")).json()["revision"] == 1
    missing = f"{ROOT}/{GRANT}_{'0' * 26}"
    assert (await admin.get(f"{missing}/edit")).status_code == 404
    assert (await admin.post(f"{missing}/narrow", data=token | {"digest": "0" * 64})).status_code == 404


async def test_a_group_is_found_beside_people_and_given_a_grant(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, here: Place
) -> None:
    team: Json = await group(api, here.ada, name=f"Night shift {EVIL}")
    new = f"{ROOT}/new"
    start = filled(await admin.get(new), new)
    found = await admin.post(new, data=put(start, who_q="night"))
    assert f'value="{team["id"]}"' in found.text
    assert "<script>alert" not in found.text
    made = await admin.post(
        new, data=put(start, who=team["id"], servers="all", tools="all", expires="never", do="create")
    )
    assert made.status_code == 303, said(made)
    [it] = (await api.get("/api/v1/grants")).json()["items"]
    assert (it["principal"], it["expires_at"]) == ({"type": "group", "id": team["id"]}, None)
