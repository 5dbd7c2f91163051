"""Whoever is not let in comes with another account, although their provider still knows them by the first."""

import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import httpx2
import pytest

from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.people import links_of
from tests.adapters.console.provider import SigningProvider, asked, begin, come_back, sign_in
from tests.features.approvals.desk import Desk


async def test_who_is_not_let_in_may_come_with_another_account_and_goes_on_where_they_wanted(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    browser, wanted = new_browser(), "/console/approvals?tab=over"
    assert "prompt" not in await begin(browser, wanted)
    told = await sign_in(browser, provider, wanted, sub="stranger")
    assert "Sign in with another account" in told.text
    [another] = links_of(told, r"/login\?.*")
    began = asked(await browser.get(another))
    # What every provider has to take, where it does not say that it lets people choose.
    assert began["prompt"] == "login"
    # The offer is a link: whoever sends it to somebody gains no more than by the one to sign in.
    provider.answer = {"id_token": provider.id_token(began["nonce"], sub="grace")}
    assert (await come_back(new_browser(), provider, began)).status_code == 400
    back = await come_back(browser, provider, began)
    assert (back.status_code, back.headers["location"]) == (303, wanted)
    elsewhere = await browser.get("/login", params={"next": "//evil.example.com", "account": "another"})
    provider.answer = {"id_token": provider.id_token(asked(elsewhere)["nonce"], sub="grace")}
    assert (await come_back(browser, provider, asked(elsewhere))).headers["location"] == "/console"
    assert (await browser.get("/login", params={"account": "other"})).status_code == 400


@pytest.mark.parametrize(
    ("said", "prompt"),
    [
        (["none", "login", "select_account"], "select_account"),
        (["login"], "login"),
        ("select_account", "login"),
    ],
)
async def test_a_provider_that_lets_people_choose_an_account_is_asked_to(
    new_browser: NewBrowser, provider: SigningProvider, said: Any, prompt: str
) -> None:
    provider.publish_all(prompt_values_supported=said)
    began = asked(await new_browser().get("/login", params={"account": "another"}))
    assert began["prompt"] == prompt


async def test_who_is_not_let_in_may_sign_out_at_the_provider_and_goes_on_where_they_wanted(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    browser, wanted = new_browser(), "/console/approvals?tab=over"
    began = await begin(browser, wanted)
    provider.answer = {"id_token": provider.id_token(began["nonce"], sub="stranger")}
    told = await come_back(browser, provider, began)
    [onward] = links_of(told, re.escape(provider.issuer) + "/end.*")
    sent = {name: values[0] for name, values in parse_qs(urlsplit(onward).query).items()}
    assert sent["id_token_hint"] == provider.answer["id_token"]
    assert sent["post_logout_redirect_uri"] == "http://127.0.0.1:8080/signed-out"
    assert wanted not in unquote(sent["state"])

    async def leads(browser: httpx2.AsyncClient, state: str) -> list[str]:
        page = await browser.get("/signed-out", params={"state": state})
        assert page.status_code == 200
        return links_of(page, "/login.*")

    assert await leads(browser, sent["state"]) == [f"/login?{urlencode({'next': wanted})}"]
    # Of no other browser, for no other address, and nothing that somebody made up.
    for other, state in ((new_browser(), sent["state"]), (browser, began["state"]), (browser, wanted)):
        assert await leads(other, state) == ["/login"]
    assert (await come_back(browser, provider, began, state=sent["state"])).status_code == 400
