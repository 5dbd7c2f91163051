"""Testing a connection on a page: what the API's check found, in words, with no secret in it."""

import re

import httpx2
import pytest

from app.lib.ids import TOKEN, format_id, new_id
from tests.adapters.console.browsing import Person
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import SigningProvider, sign_in
from tests.features.access.recorded import record_call
from tests.features.approvals.desk import Desk
from tests.features.tokens.world import in_days

MINE = "/console/my-access/tokens/{}/check"
ANY = "/console/tokens/{}/check"


@pytest.fixture
async def ada(new_browser: NewBrowser, provider: SigningProvider, desk: Desk) -> Person:
    """Ada's browser. She has no role."""
    browser = new_browser()
    assert (await sign_in(browser, provider, sub="ada")).status_code == 303
    return Person(browser)


async def issued(desk: Desk) -> tuple[str, str]:
    """The id and the secret of a token of Ada's."""
    order = desk.world.order(desk.ada, expires_at=in_days(9))
    answer = (await desk.world.api.post("/api/v1/tokens", json=order)).json()
    return answer["token"]["id"], answer["secret"]


async def test_a_holder_tests_their_token_and_is_told_what_to_do(ada: Person, desk: Desk) -> None:
    id, secret = await issued(desk)
    page = MINE.format(id)
    await ada.open(page)
    assert "OK" not in ada.words, "looking at the form tests nothing"
    await ada.send(page, secret=secret)
    assert "It is the current secret of this token." in ada.words
    # A script brings it to the reader's zone.
    assert re.search(r'It is live until <time datetime="[\dT:-]+Z" title="[\d :-]+ UTC">', ada.page.text)
    assert "It reaches no server" in ada.words
    assert "Request access" in ada.words
    assert secret not in ada.page.text
    assert ada.page.headers["cache-control"] == "no-store"
    await ada.send(page, secret=secret[:-1])
    assert "its checksum is wrong" in ada.words
    assert secret[:-1] not in ada.page.text
    await ada.send(page, secret="x" * 600)
    assert ada.page.status_code == 422
    assert "x" * 600 not in ada.page.text


async def test_the_part_that_a_script_asks_for_is_the_result_alone(ada: Person, desk: Desk) -> None:
    id, _ = await issued(desk)
    page = MINE.format(id)
    await ada.open(page)
    fields = {name: values[0] for name, values in ada.form(page).fields.items()}
    headers = {"HX-Request": "true", "HX-Target": "result"}
    part: httpx2.Response = await ada.browser.post(page, data=fields, headers=headers)
    assert "<html" not in part.text
    assert 'id="found"' in part.text
    assert "default-src 'none'" in part.headers["content-security-policy"]


async def test_what_cannot_be_answered_is_said_in_the_part_that_asked(ada: Person, desk: Desk) -> None:
    headers = {"HX-Request": "true", "HX-Target": "div#result"}
    answer = await ada.browser.get(MINE.format(format_id(TOKEN, new_id())), headers=headers)
    assert answer.status_code == 404
    assert "<html" not in answer.text
    assert answer.text.strip().startswith('<div class="alert alert-danger" role="alert"')
    assert "There is no such token" in answer.text


async def test_a_refusal_leads_to_its_explanation_for_those_who_may_read_it(
    ada: Person, desk: Desk, new_browser: NewBrowser, provider: SigningProvider
) -> None:
    id, _ = await issued(desk)
    token = {"id": id, "identity_id": (await desk.world.read({"id": id}))["identity_id"]}
    where = {"id": await desk.world.server()}
    refused = {"decision": "deny", "reason_code": "no_grant"}
    event = await record_call(desk.world.sessions, token, where, "<b>refund</b>", None, **refused)
    await ada.send((await ada.open(MINE.format(id))).form("/check"))
    assert "It asked for something that it does not reach, or that does not exist." in ada.words
    assert f"give them the event id {event}" in ada.words
    assert "<b>refund" not in ada.page.text
    browser = new_browser()
    await sign_in(browser, provider, sub="root", groups=["admins"])
    admin = Person(browser)
    await admin.send((await admin.open(ANY.format(id))).form("/check"))
    assert "No live grant of the identity or its groups reaches it." in admin.words
    assert admin.link("Explain this refusal") == f"/console/explain?event_id={event}"


async def test_nobody_tests_what_is_not_theirs(ada: Person, desk: Desk) -> None:
    of_grace = (await desk.world.issue(desk.grace))["id"]
    for hidden in (of_grace, format_id(TOKEN, new_id())):
        assert (await ada.open(MINE.format(hidden))).page.status_code == 404
    assert (await ada.open(ANY.format(of_grace))).page.status_code == 403
    assert "tokens.read" in ada.words
    of_agent = desk.token["id"]
    assert (await ada.open(MINE.format(of_agent))).page.status_code == 200
    form = ada.form("/check")
    form.fields["form_token"] = ["another"]
    assert (await ada.send(form)).page.status_code == 403
