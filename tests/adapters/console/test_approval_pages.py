"""Approvals on pages: what is shown to whom, as it is; and that a decision is made by a person on this page alone."""

import re
import sys
import unicodedata
from datetime import UTC, datetime
from html import unescape
from typing import Any

import httpx2
import pytest

from app.adapters.console.display import visible
from app.crypto.keys import Sealer
from app.db.call_arguments import arguments_place
from app.lib import strict_json
from app.lib.ids import APPROVAL, format_id
from app.models.access import Approval
from app.models.audit import AuditArguments
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import SigningProvider, sign_in
from tests.api import KEY
from tests.features.approvals.desk import Desk

Json = dict[str, Any]
EVIL = '"><script>alert(1)</script>'
BACKWARDS = "pay \u202e001 rub\u202c ok"


def path(approval: Approval, verb: str = "") -> str:
    return f"/console/approvals/{format_id(APPROVAL, approval.id)}{verb}"


def form_of(page: httpx2.Response) -> dict[str, str]:
    """The fields of the form that decides, as a browser would send them."""
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w*)">', page.text))
    assert {"form_token", "revision"} <= fields.keys(), page.text
    return fields


async def keep(desk: Desk, approval: Approval, arguments: Json) -> None:
    """Keep the arguments of the call that asked, as the gateway does."""
    assert approval.event_id is not None
    sealed = Sealer([KEY.encode()]).seal(strict_json.dumps(arguments), arguments_place(approval.event_id))
    row = AuditArguments(
        call_id=approval.event_id, time=datetime.now(UTC), key_id=sealed.key_id, sealed=sealed.data
    )
    await desk.world.add(row, versioned=False)
    await desk.world.sql(
        "INSERT INTO audit_events (id, action, actor_type, outcome) VALUES (:id, 'tool.call', 'identity', 'denied') "
        "RETURNING id",
        id=approval.event_id,
    )


@pytest.fixture
async def grace(new_browser: NewBrowser, provider: SigningProvider, desk: Desk) -> httpx2.AsyncClient:
    """Grace's browser; she is in the group that decides."""
    browser = new_browser()
    assert (await sign_in(browser, provider, sub="grace")).status_code == 303
    return browser


async def test_a_member_of_the_group_sees_what_is_asked_as_it_is_and_approves_it_once(
    grace: httpx2.AsyncClient, desk: Desk
) -> None:
    approval = await desk.asked(reason=f"{EVIL} {BACKWARDS}")
    await keep(desk, approval, {"amount": 2**60 + 1, "to": EVIL, "note": BACKWARDS, "pad": "\u2003" * 3})
    assert path(approval) in (await grace.get("/console/approvals")).text
    page = await grace.get(path(approval))
    assert page.status_code == 200
    for shown in ("Refunds bot", "Ada", "destructive", "Finance leads", str(2**60 + 1), "Large refunds need"):
        assert shown in page.text, shown
    assert all("src=" in tag for tag in re.findall("<script[^>]*>", page.text))
    assert page.text.count("&lt;script&gt;") >= 2
    assert "\u202e" not in page.text
    assert page.text.count("U+202E") == 2
    assert page.text.count("U+2003") == 3
    said = form_of(page) | {"reason": "Agreed on the phone."}
    answer = await grace.post(path(approval, "/approve"), data=said)
    assert (answer.status_code, answer.headers["location"]) == (303, path(approval))
    after = await grace.get(path(approval))
    assert "approved" in after.text
    assert "Agreed on the phone." in after.text
    assert "<textarea" not in after.text
    # Those who decide see the arguments while it waits.
    assert str(2**60 + 1) not in after.text
    again = await grace.post(path(approval, "/deny"), data=said)
    assert again.status_code == 412
    assert "changed since this page was shown" in again.text
    assert await desk.state(approval) == "approved"
    events = await desk.world.sql(
        "SELECT action FROM audit_events WHERE on_behalf_of = :id AND action <> 'session.open' ORDER BY seq",
        id=desk.grace.id,
    )
    assert [row[0] for row in events] == ["arguments.read", "approval.approve"]


async def test_a_form_decides_from_a_page_of_ours_of_this_session_and_revision_alone(
    grace: httpx2.AsyncClient, desk: Desk, new_browser: NewBrowser, provider: SigningProvider
) -> None:
    approval = await desk.asked()
    fields = form_of(await grace.get(path(approval)))

    async def tried(headers: dict[str, str] | None = None, **changed: str) -> int:
        data = {name: value for name, value in (fields | changed).items() if value != "..."}
        return (await grace.post(path(approval, "/approve"), data=data, headers=headers)).status_code

    assert await tried({"Origin": "https://evil.example.com"}) == 403
    assert await tried({"Origin": "null"}) == 403
    assert await tried({"Origin": "http://127.0.0.1:9090"}) == 403
    assert await tried(form_token="...") == 403
    assert await tried(form_token="0" * 64) == 403
    other = new_browser()
    await sign_in(other, provider, sub="grace")
    assert await tried(form_token=form_of(await other.get(path(approval)))["form_token"]) == 403
    assert await tried(revision="7") == 412
    assert await tried(revision="...") == 412
    assert await tried(reason="x" * 501) == 422
    assert await tried(reason="a\x00b") == 400
    json = {"Content-Type": "application/json"}
    assert (await grace.post(path(approval, "/approve"), content=b"{}", headers=json)).status_code == 400
    del grace.headers["Origin"]
    assert await tried() == 403
    # A link, or a picture, decides nothing.
    assert (await grace.get(path(approval, "/approve"))).status_code == 404
    # Whoever is not signed in is told that nothing was decided, and is not sent on with the form.
    nobody = new_browser()
    refused = await nobody.post(path(approval, "/approve"), data=fields)
    assert refused.status_code == 401
    assert f"/login?next={path(approval).replace('/', '%2F')}" in unescape(refused.text)
    assert await desk.state(approval) == "pending"


async def test_who_may_not_decide_or_see_learns_no_more_than_that(
    grace: httpx2.AsyncClient, desk: Desk, new_browser: NewBrowser, provider: SigningProvider
) -> None:
    own, theirs = await desk.asked(), await desk.asked(approver_group_id=None)
    await keep(desk, own, {"amount": 987654})
    ada = new_browser()
    await sign_in(ada, provider, sub="ada")
    await desk.join(desk.ada)
    page = await ada.get(path(own))
    assert page.status_code == 200
    assert "<textarea" not in page.text
    assert "987654" not in page.text
    fields = form_of(await grace.get(path(own)))
    mine = re.search(r'name="form_token" value="(\w+)"', page.text)
    assert mine is not None
    refused = await ada.post(path(own, "/approve"), data=fields | {"form_token": mine[1]})
    assert refused.status_code == 403
    assert "your own" in refused.text
    assert await desk.state(own) == "pending"
    # Another group's is not there at all, like one that does not exist, or is no id.
    hidden = await grace.get(path(theirs))
    missing = [
        await grace.get(f"/console/approvals/{one}") for one in ("apr_01jdpnwz00e008000000000000", "apr_x")
    ]
    assert {answer.status_code for answer in (hidden, *missing)} == {404}
    assert "refund" not in hidden.text


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_one_that_is_over_or_of_no_use_says_so_and_has_no_form(
    grace: httpx2.AsyncClient, desk: Desk
) -> None:
    approval = await desk.asked()
    fields = form_of(await grace.get(path(approval)))
    set_state = "UPDATE approvals SET state = :state WHERE id = :id RETURNING id"
    words = {
        "approved": "runs once",
        "denied": "caller receives the denial",
        "cancelled": "cancelled with",
        "consumed": "has run",
    }
    for state, said in words.items():
        await desk.world.sql(set_state, state=state, id=approval.id)
        page = await grace.get(path(approval))
        assert said in page.text, state
        assert "<textarea" not in page.text
        assert (await grace.post(path(approval, "/approve"), data=fields)).status_code == 409, state
    await desk.world.sql(set_state, state="pending", id=approval.id)
    await desk.world.sql("UPDATE policies SET version = version + 1 RETURNING id")
    void = await grace.get(path(approval))
    assert "a policy that required it changed" in void.text
    assert "<textarea" not in void.text
    past = "UPDATE approvals SET expires_at = now() - interval '1 minute' WHERE id = :id RETURNING id"
    await desk.world.sql(past, id=approval.id)
    assert "not decided, or not used, in time" in (await grace.get(path(approval))).text
    expired = await grace.post(path(approval, "/deny"), data=fields)
    assert expired.status_code == 409
    assert "expired" in expired.text


def test_invisible_and_reversing_characters_are_shown_by_their_code() -> None:
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp", "Zs"} and char not in " \n":
            assert visible(f"a{char}b") == f'a<span class="odd">U+{code:04X}</span>b'
    for text, shown in (
        ("<b>&\"'", "&lt;b&gt;&amp;&#34;&#39;"),
        ("漢字 é Ω\nnext", "漢字 é Ω\nnext"),
        (
            "\u3164\ufe0f\U000e0101",
            "".join(f'<span class="odd">U+{c:04X}</span>' for c in (0x3164, 0xFE0F, 0xE0101)),
        ),
        ("e" + "\u0301" * 5, "e" + "\u0301" * 4 + '<span class="odd">U+0301</span>'),
    ):
        assert visible(text) == shown
