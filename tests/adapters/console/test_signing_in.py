"""Signing in with a browser: who gets in, what a forged or foreign answer gets, and what ends it."""

import base64
import hashlib
import json
import re
import time
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from joserfc.jwk import ECKey
from sqlalchemy import text

from app.lib.ids import IDENTITY, IDENTITY_PROVIDER, SERVICE_ACCOUNT, format_id
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.people import links_of
from tests.adapters.console.provider import (
    CLIENT,
    SECRET,
    SigningProvider,
    asked,
    begin,
    come_back,
    half_hash,
    sign_in,
)
from tests.adapters.oidc.tokens import AUDIENCE
from tests.api import Account
from tests.features.approvals.desk import Desk
from tests.worker_clock import worker_clock_off

COOKIE = "scopegate-session"


async def home(browser: httpx2.AsyncClient) -> int:
    """What the home page answers: 200 for whoever is signed in."""
    return (await browser.get("/console/approvals")).status_code


def form_token(page: httpx2.Response) -> str:
    found = re.search(r'name="form_token" value="(\w+)"', page.text)
    assert found is not None, page.text
    return found[1]


async def test_a_person_signs_in_by_code_with_pkce_state_and_nonce_and_out_again(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk, sessions: Any
) -> None:
    browser = new_browser()
    first = await browser.get("/console/approvals/apr_01jdpnwz00e008000000000000?x=1")
    assert first.status_code == 303
    start = await browser.get(first.headers["location"])
    assert start.headers["location"].startswith(f"{provider.issuer}/authorize?")
    began = asked(start)
    assert began["response_type"] == "code"
    assert began["scope"] == "openid profile email"
    assert began["redirect_uri"] == "http://127.0.0.1:8080/login/callback"
    assert began["code_challenge_method"] == "S256"
    provider.answer = {"id_token": provider.id_token(began["nonce"], sub="grace")}
    back = await come_back(browser, provider, began)
    assert (back.status_code, back.headers["location"]) == (
        303,
        "/console/approvals/apr_01jdpnwz00e008000000000000?x=1",
    )
    [(headers, form)] = provider.redeemed
    challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
    assert challenge.rstrip(b"=").decode() == began["code_challenge"]
    assert form["code"] == "the code"
    basic = base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode()
    assert basic == f"{CLIENT}:{SECRET.replace(':', '%3A').replace(' ', '+')}"
    [cookie] = [one for one in back.headers.get_list("set-cookie") if one.startswith(COOKIE)]
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    page = await browser.get("/console/approvals")
    assert page.status_code == 200
    assert "Grace" in page.text
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert re.search("script-src 'nonce-[^']{20,}' 'strict-dynamic';", policy)
    assert "frame-ancestors 'none'" in policy
    assert (page.headers["cache-control"], page.headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert (await browser.get(re.findall(r'href="(/console/[^"]+)"', page.text)[0])).status_code == 200
    out = await browser.post("/logout", data={"form_token": form_token(page)})
    assert out.status_code == 200
    onward = f"{provider.issuer}/end?id_token_hint={provider.answer['id_token']}&amp;client_id={CLIENT}"
    assert f'href="{onward}' in out.text
    assert COOKIE not in browser.cookies
    async with sessions() as session:
        assert list(await session.execute(text("SELECT 1 FROM browser_sessions"))) == []
    assert await home(browser) == 303


@pytest.mark.parametrize("by", [timedelta(hours=-1), timedelta(hours=1)], ids=["slow", "fast"])
async def test_a_sign_in_goes_on_at_a_worker_with_another_clock(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk, by: timedelta
) -> None:
    browser = new_browser()
    with worker_clock_off(by):
        began = await begin(browser)
    provider.answer = {"id_token": provider.id_token(began["nonce"], sub="grace")}
    assert (await come_back(browser, provider, began)).status_code == 303
    assert await home(browser) == 200


async def test_whoever_signs_in_again_goes_on_at_the_very_page(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    browser = new_browser()
    for place in (
        "/console/tokens?q=ana+smith&status=active",
        "/console/audit?since=2026-01-02T03:04:05Z&actor_name=a,b*@c",
    ):
        first = await browser.get(place)
        began = asked(await browser.get(first.headers["location"]))
        provider.answer = {"id_token": provider.id_token(began["nonce"])}
        assert (await come_back(browser, provider, began)).headers["location"] == place
        browser.cookies.delete(COOKIE)


async def test_whoever_signs_out_of_what_had_ended_is_told_that_they_are_signed_out(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    browser = new_browser()
    await sign_in(browser, provider)
    token = form_token(await browser.get("/console/approvals"))
    await desk.world.sql("UPDATE browser_sessions SET seen_at = now() - interval '2 days' RETURNING id")
    out = await browser.post("/logout", data={"form_token": token})
    assert out.status_code == 200
    assert "You are signed out" in out.text
    assert COOKIE not in browser.cookies


async def test_the_session_changes_at_each_sign_in_and_is_of_no_use_at_the_api(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    browser, other = new_browser(), new_browser()
    await sign_in(browser, provider)
    before = browser.cookies[COOKIE]
    await sign_in(browser, provider)
    other.cookies.set(COOKIE, before, domain="127.0.0.1")
    assert await home(browser) == 200
    assert await home(other) == 303
    told = "SELECT action, request_id FROM audit_events WHERE action LIKE 'session.%' ORDER BY xact, seq"
    first, again, replaced = await desk.world.sql(told)
    assert [one.action for one in (first, again, replaced)] == ["session.open", "session.open", "session.end"]
    assert replaced.request_id == again.request_id != first.request_id
    assert (await browser.get("/api/v1/me")).status_code == 401
    bearer = {"Authorization": f"Bearer {browser.cookies[COOKIE]}"}
    assert (await new_browser().get("/api/v1/me", headers=bearer)).status_code == 401
    assert (await new_browser().get("/console/approvals", headers=bearer)).status_code == 303


async def test_an_answer_that_is_not_of_this_browsers_attempt_is_refused(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    browser, attacker = new_browser(), new_browser()
    mine, theirs = await begin(browser), await begin(attacker)
    provider.answer = {"id_token": provider.id_token(theirs["nonce"])}
    # The attacker's code and state, followed as a link: login CSRF.
    assert (await come_back(browser, provider, theirs)).status_code == 400
    assert (await come_back(new_browser(), provider, theirs)).status_code == 400
    for state in ("", "x", mine["state"][:-4] + "AAAA", "é" * 40, "A" * 9000):
        assert (await come_back(browser, provider, mine, state=state)).status_code == 400
    assert provider.redeemed == []
    # An answer by another provider, or by nobody who says who they are (RFC 9207).
    assert (await come_back(browser, provider, mine, iss="https://evil.example.com")).status_code == 400
    assert (await come_back(browser, provider, mine, code="")).status_code == 400
    # The attacker's ID token, put into our answer: its nonce is of another attempt.
    refused = await come_back(browser, provider, mine)
    assert refused.status_code == 400
    assert COOKIE not in browser.cookies
    assert len(provider.redeemed) == 1


WRONG: dict[str, dict[str, Any]] = {
    "another client's": {"aud": "another"},
    "for several, of whom none is named": {"aud": [CLIENT, "another"]},
    "for several, another named": {"aud": [CLIENT, "another"], "azp": "another"},
    "of another issuer": {"iss": "https://evil.example.com"},
    "expired": {"exp": int(time.time()) - 61},
    "without a nonce": {"nonce": ...},
    "with another nonce": {"nonce": "another"},
    "with a nonce that is none": {"nonce": 7},
    "an access token": {"typ": "at+jwt"},
    "a logout token": {"events": {}},
    "forged": {"key": ECKey.generate_key("P-256", {"kid": "first"})},
    "without a subject": {"sub": ...},
    "with the hash of another access token": {"at_hash": half_hash("another")},
}


async def test_an_answer_that_comes_to_another_providers_address_is_refused(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    """Or a provider could send people on to another one, and be given the code that is for that one (mix-up)."""
    browser = new_browser()
    provider.publish_all(authorization_response_iss_parameter_supported=False)
    [row] = await desk.world.sql("UPDATE identity_providers SET source = 'api' RETURNING id")
    own = f"/login/callback/{format_id(IDENTITY_PROVIDER, row.id)}"
    theirs = await begin(browser)
    assert theirs["redirect_uri"] == f"http://127.0.0.1:8080{own}"
    ours = {"state": theirs["state"], "code": "the code"}
    for elsewhere in ("/login/callback", f"/login/callback/{format_id(IDENTITY_PROVIDER, desk.ada.id)}"):
        assert (await browser.get(elsewhere, params=ours)).status_code == 400
    assert provider.redeemed == []
    provider.answer = {}
    await browser.get(own, params=ours)
    assert [form["redirect_uri"] for _, form in provider.redeemed] == [theirs["redirect_uri"]]


async def test_an_id_token_that_is_not_for_us_and_now_signs_no_one_in(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    browser = new_browser()
    for what, changed in WRONG.items():
        began = await begin(browser)
        made = provider.id_token(**({"nonce": began["nonce"]} | changed))
        provider.answer = {"id_token": made, "access_token": "opaque"}
        assert (await come_back(browser, provider, began)).status_code == 400, what
    for answer in ({}, {"id_token": 7}, {"id_token": "a.b.c"}):
        began = await begin(browser)
        provider.answer = answer
        assert (await come_back(browser, provider, began)).status_code == 400, answer
    provider.status = 400
    assert (await sign_in(browser, provider)).status_code == 400
    assert await home(browser) == 303


async def test_an_access_token_for_the_api_says_what_they_may_if_it_came_with_the_id_token(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    browser = new_browser()

    async def by(access_token: str, **claims: Any) -> int:
        began = await begin(browser)
        provider.answer = {
            "id_token": provider.id_token(began["nonce"], **claims),
            "access_token": access_token,
        }
        return (await come_back(browser, provider, began)).status_code

    # Nobody knows this subject: the group alone lets them in, as an administrator.
    admin = provider.access_token(sub="nora", groups=["admins"])
    assert await by(admin, sub="nora", aud=[CLIENT, AUDIENCE]) == 303
    assert (await browser.get("/console/approvals")).status_code == 200
    # Somebody else's, with more rights, beside an ID token of one's own.
    assert await by(admin, sub="grace") == 400
    assert await by(admin, sub="grace", at_hash=half_hash(admin)) == 303


async def test_who_is_unknown_or_stopped_here_is_told_so_and_is_not_signed_in(
    new_browser: NewBrowser,
    provider: SigningProvider,
    desk: Desk,
    api: httpx2.AsyncClient,
    owner: Account,
) -> None:
    browser = new_browser()
    told = await sign_in(browser, provider, sub="stranger")
    assert told.status_code == 403
    assert ">Sign in with another account</a>" in told.text
    program = {"service_account_id": format_id(SERVICE_ACCOUNT, owner.id), "claims": {"sub": "robot"}}
    await desk.world.sql(
        "UPDATE identity_providers SET settings = jsonb_set(settings, '{workloads}', CAST(:it AS jsonb)) RETURNING id",
        it=json.dumps([program]),
    )
    assert (await sign_in(browser, provider, sub="robot")).status_code == 403
    as_program = "SELECT 1 FROM audit_events WHERE action = 'service_account.sign_in'"
    assert await desk.world.sql(as_program) == []
    await api.post(f"/api/v1/identities/{format_id(IDENTITY, desk.grace.id)}/suspend")
    refused = await sign_in(browser, provider, sub="grace")
    assert refused.status_code == 403
    assert COOKIE not in browser.cookies


async def test_a_session_ends_with_its_person_for_good(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk, api: httpx2.AsyncClient
) -> None:
    person = f"/api/v1/identities/{format_id(IDENTITY, desk.grace.id)}"
    for stop, start in (("suspend", "reinstate"), ("offboard", "reinstate")):
        browser = new_browser()
        await sign_in(browser, provider)
        assert await home(browser) == 200
        body = {"reason": "left"} if stop == "offboard" else None
        assert (await api.post(f"{person}/{stop}", json=body)).status_code == 200
        assert await home(browser) == 303
        assert (await api.post(f"{person}/{start}")).status_code == 200
        assert await home(browser) == 303, f"{start} brought a session back"
    admin = new_browser()
    await sign_in(admin, provider, sub="nora", groups=["admins"])
    [them] = (await api.get("/api/v1/administrators")).json()["items"]
    for verb in ("disable", "enable"):
        assert (await api.post(f"/api/v1/administrators/{them['id']}/{verb}")).status_code == 200
        assert await home(admin) == 303


async def test_a_provider_signs_people_out_by_a_token_of_its_own_and_no_other(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk, anonymous: httpx2.AsyncClient
) -> None:
    browser = new_browser()
    await sign_in(browser, provider, sid="laptop")

    async def told(logout_token: str) -> int:
        return (await anonymous.post("/logout/back-channel", data={"logout_token": logout_token})).status_code

    old = int(time.time()) - 700
    refused = [
        provider.id_token("nonce", sid="laptop"),
        provider.logout_token(nonce="nonce", sid="laptop"),
        provider.logout_token(events={}, sid="laptop"),
        provider.logout_token(aud="another", sid="laptop"),
        provider.logout_token(iss="https://evil.example.com", sid="laptop"),
        provider.logout_token(iat=old, exp=old + 3600, sid="laptop"),
        provider.logout_token(key=ECKey.generate_key("P-256", {"kid": "first"}), sid="laptop"),
        provider.logout_token(sub=...),
        "",
    ]
    assert [await told(one) for one in refused] == [400] * len(refused)
    assert await told(provider.logout_token(sid="another")) == 200
    assert await home(browser) == 200
    assert await told(provider.logout_token(sid="laptop", exp=...)) == 200
    assert await home(browser) == 303


async def test_a_page_goes_on_to_this_service_alone_and_is_served_under_its_name_alone(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    for target in (
        "https://evil.example.com/",
        "//evil.example.com",
        "/\\evil.example.com",
        "javascript:1",
        "/a\n",
    ):
        answer = await sign_in(new_browser(), provider, target)
        assert answer.headers["location"] == "/console", target
    for path in ("/login", "/console/approvals", "/signed-out"):
        for host in ("evil.example.com", "127.0.0.1", "127.0.0.1:8081", "[", "127.0.0.1:x", ""):
            answer = await new_browser().get(path, headers={"Host": host})
            assert answer.status_code == 400, host


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_several_providers_are_offered_and_those_without_a_client_are_not(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk, sessions: Any
) -> None:
    async with sessions() as session:
        for name, client in (("Partners <b>", '"partners"'), ("Machines", "null")):
            await session.execute(
                text(
                    "INSERT INTO identity_providers (id, name, issuer, settings) SELECT gen_random_uuid(), :name, "
                    "'https://' || :host || '.example.com', "
                    "jsonb_set(settings, '{client_id}', CAST(:client AS jsonb)) FROM identity_providers "
                    "WHERE source = 'environment'"
                ),
                {"name": name, "host": name[:5].lower(), "client": client},
            )
        await session.commit()
    page = await new_browser().get("/login", params={"next": "/console/approvals?x=1"})
    assert page.status_code == 200
    assert "Partners &lt;b&gt;" in page.text
    assert "Machines" not in page.text
    choices = re.findall(r'href="(/login[^"]+)"', page.text)
    assert len(choices) == 2
    reached = [await new_browser().get(choice.replace("&amp;", "&")) for choice in choices]
    # The other is at an address that is not there.
    assert sorted(answer.status_code for answer in reached) == [302, 503]
    again = await new_browser().get("/login", params={"account": "another"})
    assert all("account=another" in one for one in links_of(again, "/login.*"))


@pytest.mark.parametrize(
    ("url", "name", "secure"),
    [
        ("https://sg.example.com", "__Host-scopegate-session", True),
        ("http://127.0.0.1:8080", COOKIE, False),
    ],
)
def test_over_tls_cookies_have_the_prefix_that_keeps_others_from_setting_them(
    url: str, name: str, secure: bool
) -> None:
    from datetime import timedelta

    from fastapi import Response

    from app.adapters.console.console import SESSION, Cookies

    response = Response()
    Cookies(secure=url.startswith("https://")).set(response, SESSION, "x", timedelta(hours=1))
    parts = response.headers["set-cookie"].split("; ")
    assert parts[0] == f"{name}=x"
    assert ("Secure" in parts) is secure
    assert not any(part.lower().startswith("domain") for part in parts)
