"""What every page has: a policy that lets in our scripts alone, the parts that htmx asks for, looks, and the way on."""

import gzip
import re
from html import unescape
from typing import Any

import httpx2
import pytest

from app.adapters.console import assets
from app.lib.ids import IDENTITY, format_id
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import SigningProvider, sign_in
from tests.features.approvals.desk import Desk


def form_token(page: httpx2.Response) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


@pytest.fixture
async def grace(new_browser: NewBrowser, provider: SigningProvider, desk: Desk) -> httpx2.AsyncClient:
    """A browser in which somebody without a role is signed in."""
    browser = new_browser()
    assert (await sign_in(browser, provider, sub="grace")).status_code == 303
    return browser


async def test_a_page_lets_in_its_own_scripts_alone_and_trusts_no_text_to_be_markup(
    grace: httpx2.AsyncClient,
) -> None:
    first, second = [await grace.get("/console/approvals") for _ in range(2)]
    policies = [page.headers["content-security-policy"] for page in (first, second)]
    nonces = [re.findall("'nonce-([^']+)'", policy) for policy in policies]
    assert nonces[0] != nonces[1]
    directives = [part.strip().partition(" ") for part in policies[0].split(";")]
    parts = {name: sources for name, _, sources in directives}
    assert parts["default-src"] == "'none'"
    assert parts["style-src"] == parts["connect-src"] == parts["form-action"] == "'self'"
    assert parts["frame-ancestors"] == parts["base-uri"] == "'none'"
    assert parts["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in policies[0]
    assert set(re.findall(r'nonce="([^"]+)"', first.text)) == set(nonces[0])
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", first.text, re.DOTALL)
    assert scripts
    assert all("src=" in attributes and not inside for attributes, inside in scripts)
    assert re.findall(r"\s(?:style|on\w+)=", first.text) == []


async def test_htmx_gets_the_block_of_its_target_and_a_browser_the_page(grace: httpx2.AsyncClient) -> None:
    whole = await grace.get("/console/nothing")
    assert whole.status_code == 404
    assert "<!doctype html>" in whole.text
    assert ">Back to home</a>" in whole.text
    part = await grace.get("/console/nothing", headers={"HX-Request": "true", "HX-Target": "main#main"})
    assert "<!doctype" not in part.text
    assert "There is no page at" in part.text
    assert "script-src" in part.headers["content-security-policy"]
    # A block that the page has not is no way to get less than the page.
    other = await grace.get("/console/approvals", headers={"HX-Request": "true", "HX-Target": "div#other"})
    assert "<!doctype html>" in other.text
    # But what went wrong is said in the place of the part: a page within a page is none.
    wrong = await grace.get("/console/nothing", headers={"HX-Request": "true", "HX-Target": "div#other"})
    assert "<!doctype html>" not in wrong.text


async def test_a_part_of_a_page_sends_the_whole_page_to_sign_in(new_browser: NewBrowser, desk: Desk) -> None:
    # htmx says of every part that it may be a stream.
    headers = {"HX-Request": "true", "Accept": "text/html, text/event-stream"}
    answer = await new_browser().get("/console/tokens?q=x", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["hx-redirect"] == "/login?next=%2Fconsole%2Ftokens%3Fq%3Dx"
    assert answer.content == b""


async def test_whoever_has_no_role_begins_at_their_own_access_and_is_offered_no_more(
    grace: httpx2.AsyncClient,
) -> None:
    answer = await grace.get("/console")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/my-access")
    page = await grace.get("/console/nothing")
    offered = set(re.findall(r'href="(/console/[a-z-]+)"(?: data-key|>)', page.text))
    assert offered == {"/console/my-access", "/console/approvals"}


async def test_the_address_of_the_service_leads_to_the_console_and_has_an_icon(
    new_browser: NewBrowser,
) -> None:
    browser = new_browser()
    answer = await browser.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    page = (await browser.get("/signed-out")).text
    found = re.search(r'<link rel="icon" href="([^"]+)">', page)
    assert found is not None
    for path in ("/favicon.ico", found[1]):
        icon = await browser.get(path)
        assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")
        assert b"<svg" in icon.content


async def test_a_browser_keeps_the_look_that_was_chosen(grace: httpx2.AsyncClient) -> None:
    page = await grace.get("/console/approvals")
    assert "data-bs-theme" not in page.text
    fields = {"form_token": form_token(page), "page": "/console/approvals"}
    chosen = await grace.post("/console/theme", data=fields | {"theme": "dark"})
    assert (chosen.status_code, chosen.headers["location"]) == (303, "/console/approvals")
    assert '<html lang="en" data-bs-theme="dark">' in (await grace.get("/console/approvals")).text
    away = await grace.post("/console/theme", data=fields | {"theme": "x", "page": "//evil.example.com"})
    assert away.headers["location"] == "/console"
    assert "data-bs-theme" not in (await grace.get("/console/approvals")).text
    assert (await grace.post("/console/theme", data={"theme": "dark"})).status_code == 403


async def test_another_look_leads_back_to_the_very_page_with_its_filters(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    browser = new_browser()
    await sign_in(browser, provider, sub="root", groups=["admins"])
    person = f"/console/identities/{format_id(IDENTITY, desk.ada.id)}/edit"
    for place in ("/console/tokens?q=ana+smith&status=active", person):
        page = await browser.get(place)
        # On a phone it is in the menu.
        assert (
            '<form class="theme"' in page.text.partition('<nav aria-label="Menu">')[2].partition("</nav>")[0]
        )
        [held] = set(re.findall(r'name="page" value="([^"]+)"', page.text))
        fields = {"form_token": form_token(page), "page": unescape(held), "theme": "dark"}
        assert (await browser.post("/console/theme", data=fields)).headers["location"] == place


async def test_assets_are_served_under_names_that_change_with_them_packed_where_that_is_shorter(
    new_browser: NewBrowser, desk: Desk
) -> None:
    browser = new_browser()
    path = assets.asset_path("console.css")
    assert path is not None
    packed = await browser.get(path, headers={"Accept-Encoding": "gzip"})
    plain = await browser.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content  # The client unpacks it.
    assert "immutable" in plain.headers["cache-control"]
    assert plain.headers["content-type"].startswith("text/css")
    for other in ("console.css", "console-000000000000.css", "manifest.json"):
        assert (await browser.get(f"/console/assets/{other}")).status_code == 404


async def test_without_made_assets_pages_read_and_say_what_is_missing(
    grace: httpx2.AsyncClient, monkeypatch: Any
) -> None:
    own = {
        name: served for name, served in assets._names().items() if name.startswith(("console.", "favicon."))
    }
    monkeypatch.setattr("app.adapters.console.page.are_made", lambda: False)
    monkeypatch.setattr("app.adapters.console.page.asset_path", lambda name: f"{assets.PREFIX}/{own[name]}")
    page = await grace.get("/console/approvals")
    assert page.status_code == 200
    assert "make assets" in page.text
    assert "htmx" not in page.text


def test_what_is_packed_is_what_is_not() -> None:
    for served in assets._paths():
        asset = assets.find_asset(served)
        assert asset is not None
        assert asset.packed is None or gzip.decompress(asset.packed) == asset.content
