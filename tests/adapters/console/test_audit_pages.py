"""The pages of the audit trail: what is shown to whom, what filters find, that it grows and leaves as a file."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from sqlalchemy import text

from app.crypto.keys import Sealer
from app.db.call_arguments import arguments_place
from app.features.audit import stats
from app.http import live
from app.lib.ids import EVENT, SERVER, TOKEN, format_id, new_id
from app.main import Scopegate
from app.models.audit import AuditArguments, AuditEvent
from tests.adapters.console.browsing import Person
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import SigningProvider, sign_in
from tests.api import KEY
from tests.features.access.test_effective_access import Fleet
from tests.features.principals import Sessions, person, plain
from tests.features.tokens.world import in_days
from tests.settling import settled
from tests.streams import listening

PATH = "/console/audit"
EVIL = '"><script>alert(1)</script>'


async def commit(sessions: Sessions, **columns: Any) -> str:
    """Record one call, or what else is said."""
    row = AuditEvent(**{"id": new_id(), "action": "tool.call", "actor_type": "identity", **columns})
    async with sessions() as session:
        session.add(row)
        await session.commit()
    return format_id(EVENT, row.id)


async def signed_in_as(new_browser: NewBrowser, provider: SigningProvider, group: str) -> Person:
    browser = new_browser()
    assert (await sign_in(browser, provider, sub=group, groups=[group])).status_code == 303
    return Person(browser)


@pytest.fixture
async def admin(new_browser: NewBrowser, provider: SigningProvider) -> Person:
    return await signed_in_as(new_browser, provider, "admins")


def rows(page: httpx2.Response) -> list[str]:
    """The events that a list shows, by their ids."""
    return re.findall(r'<tr id="(evt_\w+)"', page.text)


async def test_events_are_shown_newest_first_with_who_did_what_and_why_not(
    admin: Person, sessions: Sessions
) -> None:
    allowed = await commit(sessions, decision="allow", outcome="success", tool="read_note")
    denied = await commit(sessions, decision="deny", reason_code="no_grant", tool=EVIL, event_count=40)
    await admin.open(PATH)
    assert admin.page.status_code == 200
    assert rows(admin.page)[:2] == [denied, allowed]
    assert "<script>alert" not in admin.page.text
    assert "denied \u00d7 40" in admin.words
    assert "no grant" in admin.words
    assert admin.link("Why?") == f"/console/explain?event_id={denied}"


async def test_filters_narrow_the_list_stay_while_one_pages_and_are_taken_away_one_by_one(
    admin: Person, sessions: Sessions
) -> None:
    token = new_id()
    mine = [await commit(sessions, token_id=token, decision="deny") for _ in range(27)]
    await commit(sessions, token_id=token, decision="allow")
    await commit(sessions, decision="deny")
    await admin.open(f"{PATH}?token_id={format_id(TOKEN, token)}&decision=deny")
    assert rows(admin.page) == mine[:1:-1]
    form = admin.form(PATH)
    assert form.fields["token_id"] == [format_id(TOKEN, token)]
    following = admin.link("Next page")
    await admin.open(following)
    assert rows(admin.page) == mine[1::-1]
    await admin.follow("First page")
    assert len(rows(admin.page)) == 25
    await admin.follow("Decision: deny")
    assert parse_qs(urlsplit(admin.address).query) == {"token_id": [format_id(TOKEN, token)]}
    assert len(rows(admin.page)) == 25


async def test_links_to_the_trail_look_as_far_back_as_what_they_stand_beside(
    admin: Person, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    """Or "all refusals", beside the last one of three days ago, leads to none."""
    ana, fleet = await person(api), Fleet(api)
    await fleet.add("notes")
    order = {
        "identity_id": ana["id"],
        "name": "laptop",
        "scope": {"kind": "grants"},
        "expires_at": in_days(7),
    }
    token = (await api.post("/api/v1/tokens", json=order)).json()["token"]
    [tool] = (await api.get("/api/v1/tools", params={"q": "wipe"})).json()["items"]
    refused = await commit(
        sessions, token_id=plain(token), actor_id=plain(ana), server_id=plain({"id": fleet.ids["notes"]}),
        tool="look", decision="deny", reason_code="no_grant", time=datetime.now(UTC) - timedelta(days=3),
    )  # fmt: skip
    for page, words in (
        (f"/console/tokens/{token['id']}", "Show all refusals"),
        (f"/console/tokens/{token['id']}", "Activity"),
        (f"/console/identities/{ana['id']}?tab=activity", "Show in the audit log"),
    ):
        await admin.open(page)
        await admin.follow(words)
        assert refused in rows(admin.page), (page, words)
    await admin.open(f"/console/tools/{tool['id']}?tab=calls")
    assert "of the last 7 days" in admin.words
    assert parse_qs(urlsplit(admin.link("Show last 30 days")).query)["period"] == ["30d"]


async def test_a_time_that_was_picked_stays_while_one_filters_until_another_is_chosen(
    admin: Person, sessions: Sessions
) -> None:
    now = datetime.now(UTC)
    early = await commit(sessions, time=now - timedelta(days=3), decision="deny")
    late = await commit(sessions, decision="deny")
    since, until = ((now - timedelta(days=days)).isoformat() for days in (4, 2))
    await admin.open(f"{PATH}?{urlencode({'since': since, 'until': until})}")
    await admin.send(PATH, decision="deny")
    assert rows(admin.page) == [early]
    await admin.send(PATH, period="24h")
    assert early not in rows(admin.page)
    assert late in rows(admin.page)
    assert "since" not in admin.form(PATH).fields
    assert "since=" not in admin.link("Refresh")


async def test_a_bar_of_the_histogram_leads_to_its_hour(admin: Person, sessions: Sessions) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    earlier = await commit(sessions, time=hour - timedelta(hours=3), decision="deny")
    await commit(sessions, decision="allow")
    await admin.open(PATH)
    bars = re.findall(r'<a href="([^"]+)" tabindex="-1">\s*<title>([^<]+)</title>', admin.page.text)
    (leading,) = [href for href, title in bars if "1 events, 1 denied" in title]
    await admin.open(leading.replace("&amp;", "&"))
    assert rows(admin.page) == [earlier]
    assert "Live" not in admin.words
    await admin.follow("Show latest events")
    assert len(rows(admin.page)) >= 2


async def test_the_histogram_counts_what_the_filters_leave(
    admin: Person, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool, decision in (("refund", "deny"), ("refund", "allow"), ("balance", "allow")):
        await commit(sessions, tool=tool, decision=decision)
    await admin.open(f"{PATH}?tool=refund")
    assert len(rows(admin.page)) == 2
    assert "2 events, 1 denied" in admin.words
    await admin.open(f"{PATH}?tool=none")
    assert "0 events" in admin.words
    monkeypatch.setattr(stats, "MAX_MATCHING", 1)
    await admin.open(f"{PATH}?tool=refund")
    assert "1 event , only the newest are counted" in admin.words


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("period=all", 200),
        ("period=all&tool=x", 200),
        ("period=all&outcome=success", 200),
        ("since=2020-01-01T00:00:00Z", 200),
        ("since=2020-01-01T00:00:00Z&tool=x", 400),
        ("period=ever", 400),
        ("token_id=rubbish", 400),
        ("cursor=rubbish", 200),
        ("at=rubbish", 400),
        ("at=2026-01-01", 200),
        ("decision=maybe", 400),
        ("q=%00", 400),
        ("after=", 200),
    ],
)
async def test_an_address_is_answered_with_a_page_whatever_it_asks_for(
    admin: Person, query: str, status: int
) -> None:
    await admin.open(f"{PATH}?{query}")
    assert admin.page.status_code == status
    assert "<h1>" in admin.page.text


async def test_what_matches_is_put_into_the_page_as_it_is_recorded(
    app: Scopegate, admin: Person, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_EVERY_S", 0.02)
    await admin.open(f"{PATH}?decision=deny")
    (path,) = re.findall(r'hx-sse:connect="([^"]+)"', admin.page.text)
    parts = urlsplit(path.replace("&amp;", "&"))
    cookie = "; ".join(f"{name}={value}" for name, value in admin.browser.cookies.items())
    headers = {"Cookie": cookie, "Accept": "text/html, text/event-stream"}
    async with listening(app, parts.path, headers, parse_qs(parts.query)) as stream:
        assert stream.status == 200
        first = await stream.event()
        assert rows_in(first.data) == []
        await commit(sessions, decision="allow")
        denied = await commit(sessions, decision="deny")
        assert rows_in((await stream.event()).data) == [denied]
        later = await commit(sessions, decision="deny")
        shown = (await stream.event()).data
        assert rows_in(shown) == [later, denied]
        assert f'<tr id="{later}" class="is-fresh">'.encode() in (shown or b"")
        await admin.browser.post("/logout", data={"form_token": token_of(admin)})
        await commit(sessions, decision="deny")
        while (ended := await stream.event()).event != "ended":
            assert rows_in(ended.data)
        assert json.loads(ended.data or b"") == {"code": "unauthenticated"}


def rows_in(data: bytes | None) -> list[str]:
    return re.findall(r'<tr id="(evt_\w+)"', (data or b"").decode())


def token_of(person: Person) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', person.page.text)
    assert found is not None
    return found[1]


async def test_a_page_that_listens_does_not_keep_its_session_awake(
    app: Scopegate, admin: Person, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_EVERY_S", 0.02)
    await admin.open(PATH)
    cookie = "; ".join(f"{name}={value}" for name, value in admin.browser.cookies.items())
    headers = {"Cookie": cookie, "Accept": "text/html, text/event-stream"}
    idle = "UPDATE browser_sessions SET seen_at = clock_timestamp() - interval '1 hour' + interval '1 second' * {}"
    async with listening(app, f"{PATH}/live", headers) as stream:
        await stream.event()
        async with sessions() as session:
            await session.execute(text(idle.format(30)))
            await session.commit()
        await commit(sessions)
        assert rows_in((await stream.event()).data)
        async with sessions() as session:
            await session.execute(text(idle.format(0)))
            await session.commit()
        await commit(sessions)
        while (ended := await stream.event()).event != "ended":
            continue
        assert json.loads(ended.data or b"") == {"code": "unauthenticated"}
    async with listening(app, f"{PATH}/live", headers) as refused:
        assert json.loads((await refused.event()).data or b"") == {"code": "unauthenticated"}


async def test_whoever_searches_is_awake_though_a_script_asks_for_them(
    admin: Person, sessions: Sessions
) -> None:
    awake = "SELECT min(seen_at) > clock_timestamp() - interval '1 minute' FROM browser_sessions"
    await admin.open(PATH)
    async with sessions() as session:
        await session.execute(
            text("UPDATE browser_sessions SET seen_at = clock_timestamp() - interval '30 minutes'")
        )
        await session.commit()
        assert not await session.scalar(text(awake))
    # As htmx with streams asks for any part.
    headers = {"HX-Request": "true", "HX-Target": "div#list", "Accept": "text/html, text/event-stream"}
    assert (await admin.browser.get(PATH, headers=headers)).status_code == 200
    async with sessions() as session:
        assert await session.scalar(text(awake))


async def test_a_paused_list_does_not_listen_and_can_go_on(admin: Person) -> None:
    await admin.open(PATH)
    assert "hx-sse:connect" in admin.page.text
    await admin.follow("Pause")
    assert "hx-sse:connect" not in admin.page.text
    await admin.follow("Resume")
    assert "hx-sse:connect" in admin.page.text


async def test_what_is_shown_leaves_as_a_file(admin: Person, sessions: Sessions) -> None:
    denied = await commit(sessions, decision="deny")
    await commit(sessions, decision="allow")
    await commit(sessions, decision="deny", time=datetime.now(UTC) - timedelta(days=3))
    await settled(sessions)
    await admin.open(f"{PATH}?decision=deny")
    lines = await admin.browser.get(admin.link("NDJSON"))
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["id"] for line in lines.text.splitlines()] == [denied]
    of_ocsf = await admin.browser.get(admin.link("OCSF"))
    assert [json.loads(line)["metadata"]["uid"] for line in of_ocsf.text.splitlines()] == [denied]
    table = await admin.browser.get(admin.link("CSV"))
    assert table.headers["content-disposition"].endswith('.csv"')
    assert len(table.text.splitlines()) == 2
    assert (await admin.browser.get(f"{PATH}/export?format=xml")).status_code == 400


async def test_an_event_has_a_page_with_what_changed_and_what_it_is_about(
    admin: Person, sessions: Sessions
) -> None:
    token, server = new_id(), new_id()
    changes = {"name": {"from": "a", "to": EVIL}, "added": {"x": 1}, "email": {"personal": True}}
    id = await commit(
        sessions, action="server.update", actor_type="administrator", token_id=token, server_id=server,
        object_type="server", object_id=server, changes=changes,
        request_id="req-7", outcome="success",
    )  # fmt: skip
    await admin.open(f"{PATH}/{id}")
    assert "<script>alert" not in admin.page.text
    assert "name a" in admin.words
    assert '{"x": 1}' in admin.words
    assert "email changed; personal data is not kept" in admin.words
    links = {href for href, _ in admin.shown.links}
    assert f"/console/servers/{format_id(SERVER, server)}" in links
    assert f"/console/tokens/{format_id(TOKEN, token)}" in links
    await admin.follow("All events of this request")
    assert rows(admin.page) == [id]


async def test_arguments_are_shown_to_whoever_asks_for_them_and_that_is_on_record(
    admin: Person, sessions: Sessions
) -> None:
    other, uuid, sealer = await commit(sessions, decision="allow"), new_id(), Sealer([KEY.encode()])
    async with sessions() as session:
        row = AuditEvent(id=uuid, action="tool.call", actor_type="identity", decision="allow")
        session.add(row)
        await session.flush()
        sealed = sealer.seal(json.dumps({"note": EVIL}).encode(), arguments_place(uuid))
        session.add(
            AuditArguments(call_id=uuid, time=datetime.now(UTC), key_id=sealed.key_id, sealed=sealed.data)
        )
        await session.commit()
    call = format_id(EVENT, uuid)
    await admin.open(f"{PATH}/{call}")
    assert EVIL[2:] not in admin.page.text
    await admin.send("/arguments")
    assert "alert(1)" in admin.words
    assert "<script>alert" not in admin.page.text
    await admin.open(f"{PATH}?action=arguments.read")
    assert len(rows(admin.page)) == 1
    await admin.open(f"{PATH}/{other}")
    await admin.send("/arguments")
    assert "The arguments are not kept" in admin.words
    refused = await admin.browser.post(f"{PATH}/{call}/arguments", data={"form_token": "of another"})
    assert refused.status_code == 403


@pytest.mark.parametrize("group", ["approvers", "issuers"])
async def test_whoever_may_not_audit_sees_none_of_it(
    new_browser: NewBrowser, provider: SigningProvider, sessions: Sessions, group: str
) -> None:
    id = await commit(sessions, decision="deny")
    person = await signed_in_as(new_browser, provider, group)
    for path in (PATH, f"{PATH}/{id}", f"{PATH}/export?format=csv"):
        await person.open(path)
        assert person.page.status_code == 403, path
        assert "audit.read" in person.words
    # Whoever is_live_request is told that it is over, and does not ask again.
    assert (
        await person.browser.get(f"{PATH}/live")
    ).text == 'event: ended\r\ndata: {"code":"forbidden"}\r\n\r\n'
    await person.open("/console/approvals")
    answer = await person.browser.post(f"{PATH}/{id}/arguments", data={"form_token": token_of(person)})
    assert answer.status_code == 403


async def test_what_is_not_there_is_no_page(admin: Person) -> None:
    for id in (format_id(EVENT, new_id()), "evt_rubbish"):
        await admin.open(f"{PATH}/{id}")
        assert admin.page.status_code == 404
