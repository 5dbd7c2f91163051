"""Issuing a token on pages, by forms alone: what was chosen is kept, what was confirmed is issued, and once."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from tests.adapters.console.browsing import Person
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.people import provider_id
from tests.adapters.console.provider import SigningProvider, sign_in
from tests.features.access.test_effective_access import Fleet
from tests.features.principals import Json, Sessions, fresh, grant, person

NEW = "/console/tokens/new"
EVIL = '"><script>alert(1)</script>'


@pytest.fixture
async def fleet(api: httpx2.AsyncClient) -> Fleet:
    """Two servers with a tool of each risk."""
    fleet = Fleet(api)
    await fleet.add("notes")
    await fleet.add("books")
    return fleet


async def somebody(new_browser: NewBrowser, provider: SigningProvider, role: str) -> Person:
    browser = new_browser()
    assert (await sign_in(browser, provider, sub=role, groups=[role])).status_code == 303
    return Person(browser)


@pytest.fixture
async def admin(new_browser: NewBrowser, provider: SigningProvider) -> Person:
    """An administrator at a browser."""
    return await somebody(new_browser, provider, "admins")


async def begun(who: Person, identity: Json, name: str = "laptop") -> Person:
    """The first step, done."""
    await who.open(f"{NEW}?identity_id={identity['id']}")
    return await who.send(NEW, name=name)


async def choose(who: Person, server_id: str, mode: str) -> Person:
    forms = [form for form in who.shown.forms if form.fields.get("server_id") == [server_id]]
    return await who.send(forms[0], mode=mode)


async def newest_token(api: httpx2.AsyncClient) -> Json | None:
    items = (await api.get("/api/v1/tokens")).json()["items"]
    return items[0] if items else None


async def test_somebody_new_is_made_known_granted_and_given_a_token_in_one_go(
    admin: Person, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    name = fresh("ana")
    await admin.open("/console/tokens")
    await admin.follow("Issue")
    await admin.send("/new/identity", user_name=name, display_name=f"Ana {EVIL}")
    await admin.send(NEW, name="Claude Code")
    assert "needs a grant" in admin.words
    await choose(admin, fleet.ids["notes"], "read")
    await choose(admin, fleet.ids["books"], "all")
    await admin.follow("Continue")
    await admin.send("/limits", lasts="7")
    words = admin.words
    assert "can call 4 tools on 2 servers until" in words
    assert "1 is destructive" in words
    assert "2 grants are created with it" in words
    assert "<script>alert" not in admin.page.text
    await admin.send("/issue")
    assert admin.page.status_code == 200, admin.words
    assert admin.page.headers["cache-control"] == "no-store"
    secret = re.search(r"sgt_\w+", admin.page.text)
    assert secret is not None
    assert secret[0] not in admin.address
    token = await newest_token(api)
    assert token is not None
    lasts = datetime.fromisoformat(token["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=6.9) < lasts <= timedelta(days=7)
    entries = token["scope"]["entries"]
    assert [(entry["servers"]["ids"], entry["tools"]["kind"]) for entry in entries] == [
        ([fleet.ids["notes"]], "risk"),
        ([fleet.ids["books"]], "all"),
    ]
    grants = (await api.get("/api/v1/grants", params={"identity_id": token["identity_id"]})).json()["items"]
    assert {one["expires_at"] for one in grants} == {token["expires_at"]}
    assert {one["reason"] for one in grants} == {"Claude Code"}
    reached = (await api.get(f"/api/v1/identities/{token['identity_id']}/access")).json()["items"]
    assert {one["slug"]: len(one["tools"]) for one in reached} == {
        fleet.slugs["notes"]: 1,
        fleet.slugs["books"]: 3,
    }


async def test_a_secret_is_shown_once_and_a_reload_issues_nothing_again(
    admin: Person, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ana = await person(api)
    await grant(api, ana)
    await begun(admin, ana)
    await choose(admin, fleet.ids["notes"], "read")
    await admin.follow("Continue")
    await admin.send("/limits", lasts="1")
    form = admin.form("/issue")
    draft = admin.address.removesuffix("/summary")
    await admin.send(form)
    assert "sgt_" in admin.page.text
    await admin.send(form)
    assert admin.page.status_code == 409
    assert "No second token was issued" in admin.words
    assert "sgt_" not in admin.page.text
    for page in ("summary", "issue"):
        await admin.open(f"{draft}/{page}")
        assert admin.page.status_code == 409
        assert admin.link("Show token").startswith("/console/tokens/tok_")
    await admin.open(f"{draft}/issue")
    assert "was issued" in admin.words
    for step in ("who", "tools", "limits"):
        assert (await admin.open(f"{draft}/{step}")).page.status_code == 404
    assert len((await api.get("/api/v1/tokens")).json()["items"]) == 1


async def test_what_was_chosen_survives_searching_going_back_and_another_page(
    admin: Person, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    links = [{"provider_id": await provider_id(api), "kind": "oidc", "value": "ana"}]
    ana = await person(api, links=links)
    await grant(api, ana, servers=fleet.only("notes", "books"))
    await begun(admin, ana)
    await choose(admin, fleet.ids["notes"], "all")
    await admin.send("/tools", q="books")
    assert 'href="/console/tokens" data-key="t" aria-current="page"' in admin.page.text
    assert fleet.slugs["books"] in admin.words
    await choose(admin, fleet.ids["books"], "read")
    assert admin.form("/tools").fields["q"] == ["books"]
    await admin.send("/tools", q="nothing is called so")
    assert "No server or tool matches" in admin.words
    for name in ("notes", "books"):
        assert fleet.slugs[name] in admin.words
    await admin.send("/tools", q="wipe")
    await admin.follow("Choose tools…")
    await admin.send(f"/{fleet.ids['books']}", do="search", q="look", tool=["look", "change"])
    assert "2 of 3 chosen" in admin.words
    await admin.send(f"/{fleet.ids['books']}", do="done")
    await admin.follow("Continue")
    await admin.send("/limits", lasts="30", delivery="pickup", ip_allow="203.0.113.0/24\n2001:db8::/32")
    assert "can call 5 tools on 2 servers" in admin.words
    assert "Allowed client addresses: 203.0.113.0/24, 2001:db8::/32" in admin.words
    await admin.follow("Holder and name")
    assert "laptop" in admin.form("/who").fields["name"]
    await admin.send("/who", name="desktop")
    await choose(admin, fleet.ids["notes"], "none")
    await admin.follow("Continue")
    assert "can call 2 tools on 1 server until" in admin.words
    await admin.send("/issue")
    assert "sgt_" not in admin.page.text
    assert "/console/pickups/pku_" in admin.page.text
    token = await newest_token(api)
    assert token is not None
    assert token["name"] == "desktop"
    assert token["scope"]["entries"][0]["tools"] == {"kind": "names", "names": ["change", "look"]}
    assert token["ip_allow"] == ["203.0.113.0/24", "2001:db8::/32"]


async def test_what_was_chosen_stays_when_the_token_becomes_one_for_somebody_new(
    admin: Person, new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ana, name = await person(api), fresh("bo")
    await begun(admin, ana, "build robot")
    await choose(admin, fleet.ids["notes"], "read")
    await admin.follow("Holder and name")
    await admin.follow("Change holder")
    form = admin.form("/new/identity")
    await admin.send(form, user_name="")
    assert admin.page.status_code == 422
    await admin.send("/new/identity", user_name=name)
    assert name in admin.words
    await admin.send("/who")
    assert fleet.slugs["notes"] in admin.words
    await admin.follow("Continue")
    await admin.send("/limits", lasts="7")
    assert f"{name} can call 1 tool on 1 server" in admin.words
    assert "“build robot”" in admin.words
    other = await somebody(new_browser, provider, "owners")
    await other.open(NEW)
    mine = other.form("/new/identity").fields["form_token"]
    await other.send(form, form_token=mine, user_name=fresh("cy"))
    assert other.page.status_code == 404
    assert (await other.send(form, form_token=mine, draft_id="drf_x")).page.status_code == 400


async def test_a_draft_is_its_makers_alone_lasts_a_day_and_changes_by_forms_of_this_session(
    admin: Person, new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient, sessions: Sessions,
    fleet: Fleet,
) -> None:  # fmt: skip
    ana = await person(api)
    await grant(api, ana)
    await begun(admin, ana)
    draft = admin.address.removesuffix("/tools")
    form = admin.form("/choose")
    other = await somebody(new_browser, provider, "issuers")
    assert (await other.open(f"{draft}/tools")).page.status_code == 404
    await other.open(f"{NEW}?identity_id={ana['id']}")
    mine = other.form(NEW).fields["form_token"]
    assert (await other.send(form, form_token=mine, mode="all")).page.status_code == 404
    assert (await other.send(form, mode="all")).page.status_code == 403
    auditor = await somebody(new_browser, provider, "auditors")
    assert (await auditor.open(NEW)).page.status_code == 403
    assert (await auditor.open("/console/tokens")).page.status_code == 200
    assert "Issue token" not in auditor.words
    admin.browser.headers["Origin"] = "https://evil.example.com"
    assert (await admin.send(form, mode="all")).page.status_code == 403
    async with sessions() as session:
        await session.execute(text("UPDATE token_drafts SET created_at = now() - interval '25 hours'"))
        await session.commit()
    assert (await admin.open(f"{draft}/tools")).page.status_code == 404
    admin.browser.headers["Origin"] = str(admin.browser.base_url).rstrip("/")
    await begun(admin, ana)
    async with sessions() as session:
        assert len((await session.execute(text("SELECT id FROM token_drafts"))).all()) == 1


async def test_an_issuer_chooses_of_what_is_granted_alone(
    new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ana = await person(api)
    await grant(api, ana, servers=fleet.only("notes"), tools={"kind": "names", "names": ["look", "change"]})
    issuer = await begun(await somebody(new_browser, provider, "issuers"), ana)
    assert "New person or agent" not in issuer.words
    await issuer.open(f"{issuer.address}?which=all")
    assert fleet.slugs["books"] not in issuer.words
    # A form that asks for more than the page offers is held to the same.
    form = issuer.form("/choose")
    await issuer.send(form, server_id=fleet.ids["books"], which="all", mode="all")
    await choose(issuer, fleet.ids["notes"], "all")
    await issuer.follow("Continue")
    await issuer.send("/limits", lasts="7")
    assert "You may not create grants" in issuer.words
    await issuer.send("/issue")
    assert issuer.page.status_code == 403
    assert await newest_token(api) is None
    await issuer.open(form.action.removesuffix("/choose"))
    await choose(issuer, fleet.ids["books"], "none")
    await issuer.follow("Continue")
    assert "can call 2 tools on 1 server" in issuer.words
    await issuer.send("/issue")
    assert "sgt_" in issuer.page.text


async def test_limits_are_held_and_what_was_typed_stays(
    admin: Person, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ana = await person(api)
    await grant(api, ana)
    assert (await begun(admin, ana, " ")).page.status_code == 422
    await admin.send(NEW, name=EVIL)
    await choose(admin, fleet.ids["notes"], "all")
    await admin.follow("Continue")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"lasts": "date", "date": "2020-01-01"}, "in the past"),
        ({"lasts": "date", "date": "9999-12-31"}, "latest possible day"),
        ({"lasts": "date", "date": "soon"}, "Choose a day"),
        ({"lasts": "4000"}, "Choose when the token expires"),
        ({"lasts": "9" * 5000}, "Choose when the token expires"),
        ({"lasts": "7", "ip_allow": "10.0.0.1/8"}, "host bits"),
        ({"lasts": "7", "delivery": "owl"}, "are invalid"),
    ]
    for fields, said in wrong:
        await admin.send("/limits", **fields)
        assert admin.page.status_code == 422, fields
        assert said in admin.words, fields
        if "ip_allow" in fields:
            assert admin.form("/limits").fields["ip_allow"] == ["10.0.0.1/8"]
            await admin.send("/limits", ip_allow="", lasts="8")
    day = (datetime.now(UTC) + timedelta(days=3)).date()
    await admin.send("/limits", lasts="date", date=day.isoformat(), delivery="reveal", ip_allow="")
    assert f"until {day:%-d %b %Y}" in admin.words
    await admin.send("/issue")
    token = await newest_token(api)
    assert token is not None
    assert token["expires_at"].startswith(day.isoformat())
    assert token["name"] == EVIL


async def test_what_is_confirmed_is_what_is_granted_or_nothing_is(
    admin: Person, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ana = await person(api)
    made = await grant(api, ana, servers=fleet.only("notes"))
    await begun(admin, ana)
    await choose(await admin.open(f"{admin.address.partition('?')[0]}?which=all"), fleet.ids["notes"], "all")
    await admin.follow("Continue")
    await admin.send("/limits", lasts="7")
    assert "created with it" not in admin.words
    form = admin.form("/issue")
    assert (await api.delete(f"/api/v1/grants/{made['id']}")).status_code == 204
    await admin.send(form)
    assert admin.page.status_code == 409
    assert "1 grant is created with it" in admin.words
    assert await newest_token(api) is None
    await admin.send("/issue")
    assert "sgt_" in admin.page.text


async def test_a_summary_that_another_tab_made_untrue_issues_nothing(
    admin: Person, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ana, bo = await person(api, display_name="Ana"), await person(api, display_name="Bo")
    for one in (ana, bo):
        await grant(api, one)
    await begun(admin, ana)
    await choose(admin, fleet.ids["notes"], "all")
    await admin.follow("Continue")
    await admin.send("/limits", lasts="1")
    assert "Ana can call 3 tools" in admin.words
    summary, form = admin.address, admin.form("/issue")
    steps: list[tuple[str, dict[str, str]]] = [
        (f"/who?identity_id={bo['id']}", {}),
        ("/who", {"name": "another"}),
        ("/limits", {"lasts": "30"}),
    ]
    for step, changed in steps:
        await admin.open(summary.replace("/summary", step))
        await admin.send(step.partition("?")[0], **changed)
        await admin.send(form)
        assert admin.page.status_code == 409, step
        assert "review the summary again" in admin.words
        form = admin.form("/issue")
    assert await newest_token(api) is None
    await admin.send(form)
    token = await newest_token(api)
    assert token is not None
    assert (token["identity_id"], token["name"]) == (bo["id"], "another")


async def test_a_pick_up_link_is_not_offered_for_a_person_who_cannot_sign_in(
    admin: Person, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ana = await person(api, display_name="Ana")
    await grant(api, ana, servers=fleet.only("notes"))
    await begun(admin, ana)
    await choose(admin, fleet.ids["notes"], "all")
    await admin.follow("Continue")
    assert "Pickup link" not in admin.words
    assert admin.link("Invite Ana") == f"/console/invitations/new?identity_id={ana['id']}"
