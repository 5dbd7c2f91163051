"""A person's own pages: the secret that waits for them, shown once in one answer; their tokens, and what they reach."""

import re
from collections.abc import Mapping
from html import unescape
from typing import Any

import httpx2
import pytest

from app.domain.token_format import SCOPED_TOKEN, parse_credential
from app.lib.ids import TOKEN, format_id, new_id, parse_id
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import SigningProvider, sign_in
from tests.features.approvals.desk import Desk, shown
from tests.features.principals import agent, grant, person
from tests.features.tokens.test_pickups import offered
from tests.features.tokens.world import in_days

Json = dict[str, Any]
MINE = "/console/my-access"
EVIL = '"><script>alert(1)</script>'
_SECRET = re.compile(r"sgt_[0-9A-Za-z]+_[0-9A-Za-z]+")


def pickup_path(pickup: Mapping[str, Any]) -> str:
    return f"/console/pickups/{pickup['id']}"


def token_path(token: Mapping[str, Any], step: str = "") -> str:
    return f"{MINE}/tokens/{token['id']}{step}"


def fields_of(page: httpx2.Response) -> dict[str, str]:
    """The hidden fields of the page's own form, as a browser would send them."""
    main = page.text.partition("<main")[2]
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w*)">', main))
    assert {"form_token", "revision"} <= fields.keys(), page.text
    return fields


def secrets_in(page: httpx2.Response) -> set[str]:
    return set(_SECRET.findall(page.text))


@pytest.fixture
async def ada(new_browser: NewBrowser, provider: SigningProvider, desk: Desk) -> httpx2.AsyncClient:
    """Ada's browser. She has no role."""
    browser = new_browser()
    assert (await sign_in(browser, provider, sub="ada")).status_code == 303
    return browser


async def test_a_secret_is_shown_in_the_answer_to_the_button_and_nowhere_else(
    ada: httpx2.AsyncClient, desk: Desk
) -> None:
    token, pickup = await offered(desk.world, desk.ada, name=f"laptop {EVIL}")
    listed = await ada.get(MINE)
    assert pickup_path(pickup) in listed.text
    assert "<script>alert" not in listed.text
    page = await ada.get(pickup_path(pickup))
    assert page.status_code == 200
    for words in ("Pick up your secret", "you, Ada", "Show secret"):
        assert words in page.text, words
    # Looking takes nothing, however often.
    assert await desk.world.sql("SELECT 1 FROM token_secrets WHERE token_id = :id",
                                id=parse_id(TOKEN, token["id"])) == []  # fmt: skip
    answer = await ada.post(pickup_path(pickup), data=fields_of(page))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    (secret,) = secrets_in(answer)
    credential = parse_credential(secret, SCOPED_TOKEN)
    assert credential is not None
    assert credential.id == parse_id(TOKEN, token["id"])
    for client in ("Claude Code", "Cursor", "VS Code", "Codex", "Claude Desktop", "Inspector"):
        assert client in answer.text
    # In its own place alone: no address, no settings, no script has it.
    assert answer.text.count(secret) == 1
    for path in (pickup_path(pickup), MINE, token_path(token)):
        assert secrets_in(await ada.get(path)) == set()


async def test_each_of_many_links_that_wait_is_found_at_its_token(
    ada: httpx2.AsyncClient, desk: Desk
) -> None:
    made = [await offered(desk.world, desk.agent, name=f"of the bot {number}") for number in range(12)]
    page = (await ada.get(MINE)).text
    assert page.count("You have a secret to pick up") == 5
    assert "7 more secrets to pick up" in page
    for token, pickup in made:
        assert pickup_path(pickup) in page
        assert pickup_path(pickup) in (await ada.get(token_path(token))).text


async def test_a_link_that_was_used_says_so_and_what_to_do(ada: httpx2.AsyncClient, desk: Desk) -> None:
    token, pickup = await offered(desk.world, desk.agent)
    fields = fields_of(await ada.get(pickup_path(pickup)))
    assert "Refunds bot, an agent that you own" in (await ada.get(pickup_path(pickup))).text
    assert (await ada.post(pickup_path(pickup), data=fields)).status_code == 200
    again = await ada.post(pickup_path(pickup), data=fields)
    assert again.status_code == 409
    for page in (again, await ada.get(pickup_path(pickup))):
        assert "This link was already used" in page.text
        assert "inform your administrator now" in page.text
        assert token_path(token, "/revoke") in page.text
        assert '<button class="btn btn-primary">' not in page.text
        assert secrets_in(page) == set()
    told = "SELECT count(*) FROM audit_events WHERE action = 'token.pickup_refused'"
    assert (await desk.world.sql(told))[0][0] == 1


async def test_a_link_that_is_over_says_why_and_is_not_taken(ada: httpx2.AsyncClient, desk: Desk) -> None:
    _, pickup = await offered(desk.world, desk.ada)
    fields = fields_of(await ada.get(pickup_path(pickup)))
    changed = await ada.post(pickup_path(pickup), data={**fields, "revision": "7"})
    assert changed.status_code == 412
    assert "The secret was not created" in changed.text
    await desk.world.sql("UPDATE token_pickups SET expires_at = now()")
    assert "This link has expired" in (await ada.get(pickup_path(pickup))).text
    answer = await ada.post(pickup_path(pickup), data=fields)
    assert answer.status_code == 409
    assert secrets_in(answer) == set()
    _, other = await offered(desk.world, desk.ada)
    await desk.world.api.delete(f"/api/v1/tokens/{other['token_id']}/pickups/{other['id']}")
    assert "This link was cancelled" in (await ada.get(pickup_path(other))).text


async def test_a_link_and_a_token_of_somebody_else_are_not_there(
    ada: httpx2.AsyncClient, desk: Desk, new_browser: NewBrowser, provider: SigningProvider
) -> None:
    token, pickup = await offered(desk.world, desk.grace)
    fields = fields_of(await ada.get(pickup_path((await offered(desk.world, desk.ada))[1])))
    for path in (pickup_path(pickup), *(token_path(token, step) for step in ("", "/rotate", "/revoke"))):
        assert (await ada.get(path)).status_code == 404, path
    for path in (pickup_path(pickup), token_path(token, "/rotate"), token_path(token, "/revoke")):
        answer = await ada.post(path, data={**fields, "reason": "x", "overlap_s": "0"})
        assert answer.status_code == 404, path
    nobody = new_browser()
    answer = await nobody.get(pickup_path(pickup))
    assert (answer.status_code, answer.headers["location"]) == (
        303, f"/login?next={pickup_path(pickup).replace('/', '%2F')}",
    )  # fmt: skip


async def test_nothing_is_taken_rotated_or_ended_by_a_form_of_another_page(
    ada: httpx2.AsyncClient, desk: Desk
) -> None:
    token, pickup = await offered(desk.world, desk.ada)
    for path, more in (
        (pickup_path(pickup), {}),
        (token_path(token, "/rotate"), {"overlap_s": "0"}),
        (token_path(token, "/revoke"), {"reason": "x"}),
    ):
        fields = fields_of(await ada.get(path)) | more
        foreign = {"Origin": "https://evil.example.com"}
        assert (await ada.post(path, data=fields, headers=foreign)).status_code == 403
        assert (await ada.post(path, data={**fields, "form_token": "0" * 64})).status_code == 403
    assert (await desk.world.read(token))["revision"] == 1
    waiting = await desk.world.sql("SELECT state FROM token_pickups")
    assert [row[0] for row in waiting] == ["pending"]


async def test_people_see_their_own_tokens_and_those_of_their_agents_a_page_at_a_time(
    ada: httpx2.AsyncClient, desk: Desk
) -> None:
    own = [await desk.world.issue(desk.ada, name=f"token {number:02}") for number in range(26)]
    gone = await desk.world.issue(desk.ada, name="gone")
    await desk.world.api.post(f"/api/v1/tokens/{gone['id']}/revoke", json={"reason": "lost"})
    graces = await desk.world.issue(desk.grace, name="grace's")
    first = await ada.get(MINE)
    more = unescape(re.findall(r'rel="next" href="([^"]+)"', first.text)[0])
    last = await ada.get(more)
    for one in own:
        assert (token_path(one) in first.text) != (token_path(one) in last.text)
    assert token_path(desk.token) in last.text
    assert "Refunds bot" in last.text
    for page in (first, last):
        assert token_path(graces) not in page.text
        assert token_path(gone) not in page.text
    ended = await ada.get(MINE, params={"status": "revoked"})
    assert token_path(gone) in ended.text
    found = await ada.get(MINE, params={"q": "token 07"})
    assert [number for number, one in enumerate(own) if token_path(one) in found.text] == [7]
    assert "No token matches" in (await ada.get(MINE, params={"q": "nothing like it"})).text


async def test_a_token_is_rotated_and_the_new_secret_shown_once(ada: httpx2.AsyncClient, desk: Desk) -> None:
    token = await desk.world.issue(desk.ada)
    page = await ada.get(token_path(token, "/rotate"))
    fields = fields_of(page)
    wrong = await ada.post(token_path(token, "/rotate"), data={**fields, "overlap_s": "9999999"})
    assert wrong.status_code == 422
    assert "Nothing was changed" in wrong.text
    answer = await ada.post(token_path(token, "/rotate"), data={**fields, "overlap_s": "3600"})
    assert answer.status_code == 200
    assert len(secrets_in(answer)) == 1
    now = await desk.world.read(token)
    assert now["overlap_until"] is not None
    assert now["scope"] == token["scope"]
    # A form that was sent already, or seen too long ago, changes nothing.
    again = await ada.post(token_path(token, "/rotate"), data={**fields, "overlap_s": "0"})
    assert again.status_code == 412
    assert secrets_in(again) == set()


async def test_a_token_is_ended_on_a_page_that_says_what_ends(ada: httpx2.AsyncClient, desk: Desk) -> None:
    token = await desk.world.issue(desk.ada)
    child = await desk.world.issue(desk.ada, parent_id=token["id"], expires_at=token["expires_at"])
    page = await ada.get(token_path(token, "/revoke"))
    assert "1 token attenuated from it ends too." in page.text
    fields = fields_of(page)
    empty = await ada.post(token_path(token, "/revoke"), data={**fields, "reason": " "})
    assert empty.status_code == 422
    assert (await desk.world.read(token))["status"] == "active"
    answer = await ada.post(token_path(token, "/revoke"), data={**fields, "reason": f"Lost. {EVIL}"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{token_path(token)}?done=revoked")
    for one in (token, child):
        assert (await desk.world.read(one))["status"] == "revoked"
    after = await ada.get(answer.headers["location"])
    assert "The token was revoked" in after.text
    assert "<script>alert" not in after.text
    assert token_path(token, "/rotate") not in after.text
    over = await ada.get(token_path(token, "/revoke"))
    assert "has already ended" in over.text


async def test_people_see_what_they_can_use(ada: httpx2.AsyncClient, desk: Desk) -> None:
    nothing = await ada.get(f"{MINE}/reach")
    assert "No access yet" in nothing.text
    await grant(desk.world.api, {"id": shown(desk.ada.id)})
    page = await ada.get(f"{MINE}/reach")
    assert desk.server.slug in page.text
    assert "refund" in page.text
    assert "destructive" in page.text


async def test_a_token_that_is_nobodys_is_a_page_that_says_so(ada: httpx2.AsyncClient) -> None:
    answer = await ada.get(token_path({"id": format_id(TOKEN, new_id())}))
    assert answer.status_code == 404
    assert "neither yours" in answer.text
    assert (await ada.get(f"{MINE}/tokens/rubbish")).status_code == 404


async def test_the_page_renews_no_token_of_an_agent_that_was_handed_over(
    ada: httpx2.AsyncClient, desk: Desk
) -> None:
    api = desk.world.api
    bot = await agent(api, await person(api))
    order = {"identity_id": bot["id"], "name": "ci", "scope": {"kind": "grants"}, "expires_at": in_days(7)}
    token = (await api.post("/api/v1/tokens", json=order)).json()["token"]
    path = f"/api/v1/identities/{bot['id']}"
    handed = await api.patch(path, json={"owner_id": shown(desk.ada.id)}, headers={"If-Match": "*"})
    assert handed.status_code == 200, handed.text
    page = await ada.get(token_path(token, "/rotate"))
    answer = await ada.post(token_path(token, "/rotate"), data=fields_of(page) | {"overlap_s": "0"})
    assert answer.status_code == 403
    assert "older than your ownership of its agent" in answer.text
    assert secrets_in(answer) == set()
    assert (await ada.get(token_path(token, "/revoke"))).status_code == 200
