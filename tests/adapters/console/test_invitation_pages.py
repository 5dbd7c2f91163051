"""People whom no directory provisions come in by an invitation: by its link and their own account, once."""

from typing import Any
from urllib.parse import urlsplit

import httpx2
from sqlalchemy import text

from app.lib.ids import IDENTITY_PROVIDER, format_id
from tests.adapters.console.browsing import Person
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import SigningProvider, asked, come_back, sign_in
from tests.adapters.console.test_audit_pages import signed_in_as
from tests.features.principals import Sessions, fresh, person

Json = dict[str, Any]
PATH = "/api/v1/invitations"
EMAIL = "nora@example.com"


async def provider_id(sessions: Sessions) -> str:
    async with sessions() as session:
        return format_id(
            IDENTITY_PROVIDER, (await session.scalars(text("SELECT id FROM identity_providers"))).one()
        )


async def invite(api: httpx2.AsyncClient, sessions: Sessions, **fields: Any) -> Json:
    """An invitation of a new person, with its link."""
    if "identity_id" not in fields:
        fields["person"] = {"user_name": fresh("nora"), "display_name": "Nora Barnacle"}
    body = {"provider_id": await provider_id(sessions), **fields}
    answer = await api.post(PATH, json=body)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


async def come_by(
    browser: httpx2.AsyncClient, provider: SigningProvider, made: Json, **claims: Any
) -> httpx2.Response:
    """Open the link and sign in at the provider."""
    opened = await browser.get(urlsplit(made["url"]).path)
    assert opened.status_code == 303, opened.text
    began = asked(await browser.get(opened.headers["location"]))
    provider.answer = {"id_token": provider.id_token(began["nonce"], **claims)}
    return await come_back(browser, provider, began)


async def status_of(api: httpx2.AsyncClient, made: Json) -> str:
    return str((await api.get(f"{PATH}/{made['invitation']['id']}")).json()["status"])


async def name_at_home(browser: httpx2.AsyncClient) -> str:
    return (await Person(browser).open("/console")).words


async def test_the_link_and_a_verified_address_let_a_person_in_at_once_and_only_once(
    new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    made = await invite(api, sessions, email=EMAIL)
    browser = new_browser()
    answer = await come_by(browser, provider, made, sub="nora", email="Nora@Example.com", email_verified=True)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/my-access")
    assert "Nora Barnacle" in await name_at_home(browser)
    assert await status_of(api, made) == "confirmed"
    identity = (await api.get(f"/api/v1/identities/{made['invitation']['identity_id']}")).json()
    assert [(one["kind"], one["value"]) for one in identity["links"]] == [("oidc", "nora")]
    assert identity["email"] == EMAIL
    # The link leads nowhere from now on, and the account signs in without it.
    assert (await new_browser().get(urlsplit(made["url"]).path)).status_code == 404
    again = new_browser()
    assert (await sign_in(again, provider, sub="nora")).status_code == 303
    async with sessions() as session:
        done = await session.scalars(
            text("SELECT action FROM audit_events WHERE action LIKE 'invitation.%' ORDER BY xact, seq")
        )
        assert list(done) == ["invitation.create", "invitation.confirm"]


async def test_an_address_that_is_not_verified_waits_for_an_administrator(
    new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    webhook = {
        "name": "w",
        "url": "https://hooks.example.com/",
        "events": ["invitation.claimed", "invitation.confirmed"],
    }
    hook = (await api.post("/api/v1/webhooks", json=webhook)).json()["webhook"]
    for verified in (False, "true", 1, ...):
        made = await invite(api, sessions, email=EMAIL)
        sub = f"nora-{verified}"
        answer = await come_by(new_browser(), provider, made, sub=sub, email=EMAIL, email_verified=verified)
        assert answer.status_code == 403
        assert "has to confirm that you are the person" in answer.text
        assert await status_of(api, made) == "claimed"
    # Signing in again changes nothing; another account does not take it over.
    assert (await sign_in(new_browser(), provider, sub=sub, email=EMAIL)).status_code == 403
    other = await come_by(new_browser(), provider, made, sub="eve", email=EMAIL, email_verified=True)
    assert other.status_code == 403
    assert "invitation is no longer valid" in other.text
    # An administrator sees who came, and confirms.
    admin = await signed_in_as(new_browser, provider, "admins")
    await admin.open("/console")
    assert "Invitations to confirm" in admin.words
    auditor = await signed_in_as(new_browser, provider, "auditors")
    assert "Invitations to confirm" not in (await auditor.open("/console")).words
    await admin.open("/console/invitations?status=claimed")
    await admin.follow("Review")
    assert (sub in admin.words, "not verified" in admin.words) == (True, True)
    await admin.send("/confirm")
    assert "The person can sign in" in admin.words
    assert await status_of(api, made) == "confirmed"
    browser = new_browser()
    assert (await sign_in(browser, provider, sub=sub)).status_code == 303
    assert "Nora Barnacle" in await name_at_home(browser)
    told = (await api.get(f"/api/v1/webhooks/{hook['id']}/deliveries")).json()["items"]
    assert sorted(one["type"] for one in told) == [*["invitation.claimed"] * 4, "invitation.confirmed"]


async def test_without_the_link_an_account_waits_too_and_an_unverified_address_is_a_stranger(
    new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    by_email, by_subject = (
        await invite(api, sessions, email=EMAIL),
        await invite(api, sessions, subject="otto"),
    )
    stranger = await sign_in(new_browser(), provider, sub="eve", email=EMAIL, email_verified=False)
    assert "you have no access to this service" in stranger.text
    assert await status_of(api, by_email) == "pending"
    for made, claims in (
        (by_email, {"sub": "nora", "email": EMAIL, "email_verified": True}),
        (by_subject, {"sub": "otto"}),
    ):
        answer = await sign_in(new_browser(), provider, **claims)
        assert (answer.status_code, "has to confirm" in answer.text) == (403, True)
        assert await status_of(api, made) == "claimed"


async def test_the_link_is_of_no_use_to_another_account_or_to_a_guess(
    new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    made = await invite(api, sessions, subject="otto")
    path = urlsplit(made["url"]).path
    wrong = path[:-7] + ("a" if path[-7] != "a" else "b") + path[-6:]
    for guess in (wrong, "/invitations/x", f"/invitations/{made['invitation']['id']}"):
        assert (await new_browser().get(guess)).status_code == 404
    browser = new_browser()
    for claims in ({"sub": "eve"}, {"sub": "eve", "email": EMAIL, "email_verified": True}):
        answer = await come_by(browser, provider, made, **claims)
        assert (answer.status_code, "for another account" in answer.text) == (403, True)
    assert await status_of(api, made) == "pending"
    assert (await come_by(browser, provider, made, sub="otto")).status_code == 303
    # To Python the Kelvin sign is a k in lower case, and to mail servers it is not.
    kim = await invite(api, sessions, email="kim@example.com")
    claims = {"sub": "eve", "email": "\u212aim@example.com", "email_verified": True}
    assert "for another account" in (await come_by(new_browser(), provider, kim, **claims)).text
    # Who is linked already stays who they are.
    second = await invite(api, sessions, subject="otto")
    assert (await come_by(new_browser(), provider, second, sub="otto")).status_code == 303
    assert await status_of(api, second) == "pending"


async def test_an_identity_that_has_become_an_administrators_is_linked_by_no_link_alone(
    new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    """Who was invited while anyone's account would do, and now answers for an owner's."""
    made = await invite(api, sessions, subject="otto")
    account = {"name": "keys", "owner_id": made["invitation"]["identity_id"], "role": "owner"}
    assert (await api.post("/api/v1/service-accounts", json=account)).status_code == 201
    answer = await come_by(new_browser(), provider, made, sub="otto")
    assert (answer.status_code, "has to confirm" in answer.text) == (403, True)
    place = f"{PATH}/{made['invitation']['id']}"
    admin = await signed_in_as(new_browser, provider, "admins")
    await admin.open(f"/console/invitations/{made['invitation']['id']}")
    await admin.send("/confirm")
    assert (admin.page.status_code, await status_of(api, made)) == (403, "claimed")
    assert (await api.post(f"{place}/confirm")).json()["status"] == "confirmed"
    assert (await sign_in(new_browser(), provider, sub="otto")).status_code == 303


async def test_guesses_from_one_address_are_limited(new_browser: NewBrowser, app: Any) -> None:
    browser, quota = new_browser(), app.api.state.console.sign_ins
    most = quota.standing("another address").quota
    statuses = [(await browser.get("/invitations/x")).status_code for _ in range(most + 1)]
    assert (statuses[0], statuses[-1]) == (404, 429)


async def test_a_revoked_expired_or_stopped_invitation_lets_no_one_in(
    new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    claims: Json = {"sub": "nora", "email": EMAIL, "email_verified": True}
    revoked, expired = await invite(api, sessions, email=EMAIL), await invite(api, sessions, email=EMAIL)
    suspended, offboarded = await invite(api, sessions, email=EMAIL), await invite(api, sessions, email=EMAIL)
    opened = new_browser()
    assert (await opened.get(urlsplit(revoked["url"]).path)).status_code == 303
    assert (await api.delete(f"{PATH}/{revoked['invitation']['id']}")).json()["status"] == "revoked"
    async with sessions() as session:
        await session.execute(
            text("UPDATE invitations SET expires_at = now() WHERE identity_id = :id"),
            {
                "id": __import__("app.lib.ids", fromlist=["parse_id"]).parse_id(
                    "idn", expired["invitation"]["identity_id"]
                )
            },
        )
        await session.commit()
    await api.post(f"/api/v1/identities/{suspended['invitation']['identity_id']}/suspend")
    await api.delete(f"/api/v1/identities/{offboarded['invitation']['identity_id']}")
    assert [await status_of(api, one) for one in (expired, offboarded)] == ["expired", "revoked"]
    for made in (revoked, expired, offboarded):
        assert (await new_browser().get(urlsplit(made["url"]).path)).status_code == 404
    assert "no longer valid" in (await come_by(new_browser(), provider, suspended, **claims)).text
    # Opened before it was revoked: neither is it used by that browser.
    assert (await sign_in(opened, provider, **claims)).status_code == 403
    async with sessions() as session:
        assert (
            await session.scalars(text("SELECT count(*) FROM identity_links WHERE value = 'nora'"))
        ).one() == 0


async def test_an_administrator_invites_and_revokes_on_pages(
    new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient
) -> None:
    admin = await signed_in_as(new_browser, provider, "admins")
    await admin.open("/console/invitations")
    await admin.follow("Invite person")
    await admin.send("/invitations/new", user_name="nora", value="no address")
    assert admin.page.status_code == 422
    assert admin.form("/invitations/new").fields["user_name"] == ["nora"]
    await admin.send("/invitations/new", user_name="nora", value=EMAIL)
    assert "http://127.0.0.1:8080/invitations/sgi_" in admin.words
    await admin.open("/console/invitations")
    assert "sgi_" not in admin.page.text
    await admin.follow("Details")
    await admin.send("/revoke")
    assert "was revoked" in admin.words
    ada = await person(api)
    await admin.open(f"/console/identities/{ada['id']}")
    await admin.follow("Invite")
    await admin.send("/invitations/new", by="subject", value="ada")
    assert "sgi_" in admin.words


async def test_an_administrator_sets_and_removes_a_link_on_a_page(
    new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient
) -> None:
    ada = await person(api, display_name="Ada Lovelace")
    admin = await signed_in_as(new_browser, provider, "admins")
    await admin.open(f"/console/identities/{ada['id']}")
    assert "the person cannot sign in" in admin.words
    await admin.follow("Edit links")
    await admin.send("/links", value="")
    assert admin.page.status_code == 422
    await admin.send("/links", value="ada")
    assert "The changes are saved" in admin.words
    browser = new_browser()
    assert (await sign_in(browser, provider, sub="ada")).status_code == 303
    assert "Ada Lovelace" in await name_at_home(browser)
    await admin.follow("Edit links")
    await admin.send("/links")
    assert "the person cannot sign in" in admin.words
    # The browser that was signed in by it is out.
    assert (await browser.get("/console/my-access")).status_code == 303
