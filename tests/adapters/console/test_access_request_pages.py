"""Access is asked for on a page, decided in the inbox, given in part by a form; the inbox tells of it by itself."""

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest

from app.http import live
from app.lib.ids import IDENTITY, SERVER, format_id
from app.main import Scopegate
from app.models.servers import Server, Tool
from tests.adapters.console.browsing import Person
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import SigningProvider, sign_in
from tests.features.approvals.desk import DIGEST, Desk, shown
from tests.features.approvals.requests import open_up
from tests.features.tokens.world import in_days
from tests.streams import listening

INBOX = "/console/approvals"
ASK = "/console/my-access/request"
EVIL = '"><script>alert(1)</script>'


async def at_a_browser(new_browser: NewBrowser, provider: SigningProvider, sub: str) -> Person:
    browser = new_browser()
    assert (await sign_in(browser, provider, sub=sub)).status_code == 303
    return Person(browser)


@pytest.fixture
async def ada(new_browser: NewBrowser, provider: SigningProvider, desk: Desk) -> Person:
    """Ada asks: for the server of the desk, which Grace's group owns."""
    await open_up(desk)
    more = Tool(
        server_id=desk.server.id, name="balance", title=EVIL, input_schema={}, risk="read", assessed_risk="read",
        state="active", definition_digest=DIGEST,
    )  # fmt: skip
    await desk.world.add(more, versioned=False)
    return await at_a_browser(new_browser, provider, "ada")


@pytest.fixture
async def grace(new_browser: NewBrowser, provider: SigningProvider, desk: Desk) -> Person:
    """Grace decides; she has no role."""
    return await at_a_browser(new_browser, provider, "grace")


async def ask(ada: Person, *tools: str, **changed: str) -> Person:
    """Ask as the page leads to it; she is at the page of her request then."""
    await ada.open(ASK)
    await ada.follow("Payments")
    return await ada.send(ada.form("/srv_" + ada.address.rpartition("/srv_")[2]), tool=[*tools], **changed)


async def grants(desk: Desk) -> list[tuple[object, object]]:
    rows = await desk.world.sql("SELECT tools, expires_at FROM grants ORDER BY id")
    return [(row[0], row[1]) for row in rows]


async def test_somebody_without_a_role_asks_and_the_owners_of_the_server_give_it(
    ada: Person, grace: Person, desk: Desk
) -> None:
    await ada.open(f"{ASK}?q=balance")
    assert "2 tools" in ada.words
    await ask(ada, "refund", reason=f"On call. {EVIL}")
    assert ada.page.status_code == 200, ada.words
    assert ada.address.startswith(f"{INBOX}/apr_")
    assert "Ada requests refund on Payments" in ada.words
    assert "it is your own request" in ada.words
    assert "Your decision" not in ada.words
    assert "<script>alert" not in ada.page.text
    await grace.open(INBOX)
    assert "Access to Payments" in grace.words
    assert "destructive" in grace.words
    await grace.follow("Access to Payments")
    assert "<script>alert" not in grace.page.text
    assert grace.page.text.count("&lt;script&gt;") == 1
    form = grace.form("/deny")
    form.action = form.action.replace("/deny", "/approve")
    form.fields.pop("tool")
    await grace.send(form, reason="Welcome.")
    assert (grace.page.status_code, "Grace approved it" in grace.words) == (200, True)
    ((tools, until),) = await grants(desk)
    assert tools == {"kind": "names", "names": ["refund"]}
    assert isinstance(until, datetime)
    assert abs(until - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=5)
    await ada.open(ada.address)
    for words in ("approved", "Granted: refund", "Welcome.", "What you can use"):
        assert words in ada.words
    # Access alone connects no client: the page leads on to a token.
    assert "Next step: a token" in ada.words
    ada_id = format_id(IDENTITY, desk.ada.id)
    assert f"/console/tokens/new?identity_id={ada_id}" in ada.page.text
    await desk.world.api.post(
        "/api/v1/tokens",
        json={
            "identity_id": ada_id, "name": "laptop", "scope": {"kind": "grants"}, "expires_at": in_days(1),
        },
    )  # fmt: skip
    await ada.open(ada.address)
    assert "This token already reaches it: laptop" in ada.words
    await ada.open(ASK)
    assert "Your requests" in ada.words
    assert "approved" in ada.words
    assert "Get token" in ada.words
    await grace.open(f"{INBOX}?tab=over")
    assert "Access to Payments" in grace.words


async def test_less_is_given_by_ticks_and_a_day_and_more_is_refused(
    ada: Person, grace: Person, desk: Desk
) -> None:
    await ask(ada, "refund", "balance", reason="On call.")
    await grace.open(ada.address)
    form = grace.form("/deny")
    assert form.fields["tool"] == ["balance", "refund"]
    form.action = form.action.replace("/deny", "/approve")
    asked = datetime.fromisoformat(form.fields["asked_until"][0])
    for changed, said in (
        ({"tool": []}, "it selects no tool"),
        ({"tool": ["balance", "void"]}, "more tools than were requested"),
        ({"until": f"{asked + timedelta(days=2):%Y-%m-%d}"}, "Access was requested until"),
        ({"until": "2020-01-01"}, "must be in the future"),
        ({"until": "soon"}, "Choose a day."),
        ({"reason": "x" * 501}, "500"),
    ):
        await grace.send(form, give="less", **changed)
        assert grace.page.status_code == 422, changed
        assert said in grace.words
        assert "Nothing was changed" in grace.words
    assert await grants(desk) == []
    sooner = asked - timedelta(days=10)
    await grace.send(form, give="less", tool="balance", until=f"{sooner:%Y-%m-%d}")
    assert grace.page.status_code == 200, grace.words
    assert "Granted: balance" in grace.words
    expected = datetime(sooner.year, sooner.month, sooner.day, 23, 59, tzinfo=UTC)
    assert await grants(desk) == [({"kind": "names", "names": ["balance"]}, expected)]
    await grace.send(form, give="less", tool="balance")
    assert grace.page.status_code == 412
    assert "changed since this page was shown" in grace.words


async def test_ticks_say_nothing_to_the_button_that_gives_all(ada: Person, grace: Person, desk: Desk) -> None:
    await ask(ada, which="all", reason="On call.", lasts="7")
    await grace.open(ada.address)
    assert "The request is for every tool" in grace.words
    form = grace.form("/deny")
    assert "tool" not in form.fields
    form.action = form.action.replace("/deny", "/approve")
    await grace.send(form, tool="balance")
    ((tools, _),) = await grants(desk)
    assert tools == {"kind": "all"}


async def test_a_form_that_cannot_be_taken_is_shown_again_as_it_was_filled_in(
    ada: Person, desk: Desk
) -> None:
    agent = shown(desk.agent.id)
    await ask(ada, "balance", reason="", lasts="date", date="", identity_id=agent)
    assert ada.page.status_code == 422
    assert "Choose a day." in ada.words
    form = ada.form("/srv_" + ada.address.rpartition("/srv_")[2])
    assert (form.fields["tool"], form.fields["lasts"], form.fields["identity_id"]) == (
        ["balance"],
        ["date"],
        [agent],
    )
    for changed, said in (
        ({"tool": None, "lasts": "7", "reason": "x"}, "it selects no tool"),
        ({"lasts": "7", "reason": ""}, "at least 1 character"),
        ({"date": f"{datetime.now(UTC) + timedelta(days=400):%Y-%m-%d}", "reason": "x"}, "at most 366 days"),
        ({"lasts": "7", "reason": "x", "identity_id": shown(desk.grace.id)}, "You own no agent"),
    ):
        await ada.send(form, **changed)
        assert (ada.page.status_code, said in ada.words) == (422, True), (changed, ada.words)
    assert await desk.world.sql("SELECT 1 FROM approvals") == []
    await ada.send(form, lasts="7", reason="For the bot.")
    assert "Refunds bot requests balance" in ada.words
    await ask(ada, "balance", reason="Again.", identity_id=agent)
    assert ada.page.status_code == 409
    assert "for the same access is still pending" in ada.words


async def test_the_last_day_that_the_form_offers_can_be_asked_for(ada: Person, desk: Desk) -> None:
    await ask(ada, "balance", reason="")
    latest = re.search(r'type="date" [^>]* max="([-0-9]+)"', ada.page.text)
    assert latest is not None
    await ask(ada, "balance", reason="x", lasts="date", date=latest[1])
    assert ada.page.status_code == 200, ada.words


async def test_what_cannot_be_asked_for_is_not_there(ada: Person, desk: Desk) -> None:
    closed = Server(slug="closed", name="Closed", url="https://mcp.example.com/")
    await desk.world.add(closed)
    await ada.open(ASK)
    assert "Closed" not in ada.words
    for id in (format_id(SERVER, closed.id), "srv_01jdpnwz00e008000000000000", "x"):
        await ada.open(f"{ASK}/{id}")
        assert ada.page.status_code == 404
        assert "Closed" not in ada.words


async def test_a_request_is_taken_back_by_whoever_asked(ada: Person, grace: Person, desk: Desk) -> None:
    await ask(ada, "refund", reason="On call.")
    address = ada.address
    await grace.open(address)
    assert not [form for form in grace.shown.forms if form.action.endswith("/withdraw")]
    stolen = grace.form("/deny")
    stolen.action = f"{address}/withdraw"
    await grace.send(stolen)
    assert grace.page.status_code == 403
    await ada.send("/withdraw")
    assert "withdrawn" in ada.words
    rows = await desk.world.sql("SELECT state FROM approvals")
    assert [row[0] for row in rows] == ["cancelled"]


async def test_the_list_is_read_page_by_page_with_its_filters(grace: Person, desk: Desk) -> None:
    calls = [await desk.asked() for _ in range(27)]
    await grace.open(f"{INBOX}?kind=call")
    first = set(re.findall(r'id="one-(apr_\w+)"', grace.page.text))
    assert "hx-sse:connect" in grace.page.text
    await grace.follow("Next page")
    rest = set(re.findall(r'id="one-(apr_\w+)"', grace.page.text))
    assert (len(first), len(first | rest)) == (25, len(calls))
    assert "hx-sse:connect" not in grace.page.text
    await grace.open(f"{INBOX}?kind=access")
    assert "No approval matches" in grace.words
    await grace.open(f"{INBOX}?tab=over&state=denied")
    assert "No approval matches" in grace.words
    assert (await grace.open(f"{INBOX}?kind=nothing")).page.status_code == 400


@pytest.mark.parametrize("old", ["/approvals", "/approvals/apr_01jdpnwz00e008000000000000"])
async def test_links_from_before_lead_to_the_console(grace: Person, old: str) -> None:
    answer = await grace.browser.get(old)
    assert (answer.status_code, answer.headers["location"]) == (308, f"/console{old}")
    assert (await grace.browser.get("/approvals/x")).status_code == 404


async def test_the_inbox_tells_of_what_comes_and_of_what_is_decided(
    app: Scopegate, ada: Person, grace: Person, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_EVERY_S", 0.02)
    call = await desk.asked()
    await grace.open(INBOX)
    (path,) = re.findall(r'hx-sse:connect="([^"]+)"', grace.page.text)
    parts = urlsplit(unescape(path))
    cookie = "; ".join(f"{name}={value}" for name, value in grace.browser.cookies.items())
    headers = {"Cookie": cookie, "Accept": "text/html, text/event-stream"}
    async with listening(app, parts.path, headers, parse_qs(parts.query)) as stream:
        await ask(ada, "refund", reason=EVIL)
        data = ((await stream.event()).data or b"").decode()
        # Nothing came before: what the page has is not sent again.
        assert "Access to Payments" in data
        assert "<script>alert" not in data
        assert "refund on payments" in data or "refund on " in data
        await desk.world.api.post(f"/api/v1/approvals/{ada.address.rpartition('/')[2]}/deny", json={})
        data = ((await stream.event()).data or b"").decode()
        assert "Access to Payments" not in data
        assert f"one-{format_id('apr', call.id)}" in data
        form = next(form for form in grace.shown.forms if form.action == "/logout")
        await grace.browser.post("/logout", data=form.fields)
        while (ended := await stream.event()).event != "ended":
            assert ended.data
        assert json.loads(ended.data or b"") == {"code": "unauthenticated"}
    assert "hx-sse:connect" not in (await ada.open(f"{INBOX}?live=off")).page.text
    assert "Refresh list" in ada.words


async def test_who_asked_once_does_not_watch_a_server_that_cannot_be_asked_for_any_more(
    ada: Person, grace: Person, desk: Desk
) -> None:
    await ask(ada, which="all", reason="On call.")
    assert "balance" in ada.page.text
    await desk.world.sql("UPDATE servers SET requestable = false WHERE id = :id", id=desk.server.id)
    later = Tool(
        server_id=desk.server.id, name="payroll_export", input_schema={}, risk="read", assessed_risk="read",
        state="active", definition_digest=DIGEST,
    )  # fmt: skip
    await desk.world.add(later, versioned=False)
    await ada.open(ada.address)
    assert "It can no longer be granted" in ada.words
    for name in ("payroll_export", "balance", "refund"):
        assert name not in ada.page.text


async def test_enter_in_a_field_of_giving_less_gives_no_more_than_that(
    ada: Person, grace: Person, desk: Desk
) -> None:
    await ask(ada, "refund", "balance", reason="On call.")
    await grace.open(ada.address)
    form = grace.page.text.partition('/deny">')[2].partition("</form>")[0]
    # What Enter presses, by the HTML standard.
    first = re.findall(r"<button[^>]*>", form)[0]
    assert 'name="give" value="less"' in first
    assert "/approve" in first
