"""Home says how things stand and leads to the lists; where there is nothing yet, it says what to do first."""

import re
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from app.lib.ids import format_id
from app.main import Scopegate
from tests.adapters.console.browsing import Person
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import SigningProvider
from tests.adapters.console.test_audit_pages import commit, rows, signed_in_as
from tests.adapters.scim.conftest import USER
from tests.api import client_of
from tests.features.approvals.desk import Desk
from tests.features.principals import Sessions
from tests.story.provisioning import make_directory


def numbers(person: Person) -> dict[str, str]:
    """The numbers that the page begins with, by what they count."""
    found = re.findall(
        r'<span class="number[^"]*">([^<]+)</span> <span class="text-secondary">([^<]+)</span>',
        person.page.text,
    )
    return {name: value for value, name in found}


def steps(person: Person) -> list[bool]:
    """Which of the first steps are done."""
    return [said == "done" for said in re.findall(r"(done|to do):</span>", person.page.text)]


async def test_where_there_is_nothing_the_first_steps_are_told_and_ticked_off(
    new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient
) -> None:
    admin = await signed_in_as(new_browser, provider, "admins")
    await admin.open("/console")
    # The owner of the service account that the test uses is somebody already.
    assert steps(admin) == [False, True, False, False]
    assert admin.link("Register a server") == "/console/servers/new"
    body = {"slug": "notes", "name": "Notes", "url": "https://notes.example.com/mcp"}
    assert (await api.post("/api/v1/servers", json=body)).status_code == 201
    await admin.open("/console")
    assert steps(admin) == [True, True, False, False]
    approver = await signed_in_as(new_browser, provider, "approvers")
    await approver.open("/console")
    assert steps(approver) == [True, True, False, False]
    assert not [href for href, _ in approver.shown.links if href.endswith("/new")]


async def test_the_numbers_are_those_of_the_lists_that_they_lead_to(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk, sessions: Sessions
) -> None:
    # In one hour, though it may turn meanwhile.
    now = datetime.now(UTC)
    denied = [await commit(sessions, decision="deny", reason_code="no_grant", time=now) for _ in range(3)]
    await commit(sessions, decision="allow")
    await desk.asked()
    admin = await signed_in_as(new_browser, provider, "admins")
    await admin.open("/console")
    shown = numbers(admin)
    assert shown["Denied calls in 24 hours"] == "3"
    assert shown["Pending approvals"] == "1"
    assert shown["Active tokens"] == "1"
    assert int(shown["Calls in 24 hours"]) >= 4
    await admin.follow("Denied calls in 24 hours")
    assert set(rows(admin.page)) == set(denied)
    await admin.open("/console")
    bars = re.findall(r'<a href="([^"]+)" tabindex="-1">\s*<title>([^<]+)</title>', admin.page.text)
    (leading,) = [href for href, title in bars if "3 denied calls" in title]
    await admin.open(leading.replace("&amp;", "&"))
    assert set(rows(admin.page)) == set(denied)


async def test_what_waits_and_what_ends_soon_is_named_with_its_page(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    waiting: Any = await desk.asked()
    admin = await signed_in_as(new_browser, provider, "admins")
    await admin.open("/console")
    links = [href for href, _ in admin.shown.links]
    assert f"/console/approvals/{format_id('apr', waiting.id)}" in links
    (ending,) = [href for href in links if re.fullmatch(r"/console/tokens/tok_\w+", href)]
    await admin.open(ending)
    assert admin.page.status_code == 200


@pytest.mark.parametrize("group", ["approvers", "issuers"])
async def test_whoever_may_not_audit_sees_no_counts_of_calls(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk, sessions: Sessions, group: str
) -> None:
    await commit(sessions, decision="deny")
    person = await signed_in_as(new_browser, provider, group)
    await person.open("/console")
    assert set(numbers(person)) == {
        "Active tokens",
        "Pending approvals",
        "Active servers",
        "People and agents",
    }
    assert "enied" not in person.words
    assert not [href for href, _ in person.shown.links if "/console/audit" in href]


async def test_more_than_a_hundred_are_not_counted(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.adapters.console.pages import home

    monkeypatch.setattr(home, "COUNTED", 1)
    person = await signed_in_as(new_browser, provider, "issuers")
    await person.open("/console")
    assert numbers(person)["People and agents"] == "1+"


async def test_administrators_see_at_home_whom_of_them_a_directory_offboarded(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk, api: httpx2.AsyncClient, app: Scopegate
) -> None:
    directory = await make_directory(api, "https://directory.example.com")
    made = {}
    async with client_of(app, directory.secret) as scim:
        for name in ("Ada Lovelace", "Grace Hopper"):
            body = {"schemas": [USER], "userName": name, "externalId": name}
            made[name] = (await scim.post("/scim/v2/Users", json=body)).json()["id"]
        account = {"name": "keys", "owner_id": made["Ada Lovelace"], "role": "admin"}
        assert (await api.post("/api/v1/service-accounts", json=account)).status_code == 201
        for id in made.values():
            assert (await scim.delete(f"/scim/v2/Users/{id}")).status_code == 204
    await desk.asked()
    admin = await signed_in_as(new_browser, provider, "admins")
    await admin.open("/console")
    (receipt,) = (
        await api.get("/api/v1/offboarding-receipts", params={"identity_id": made["Ada Lovelace"]})
    ).json()["items"]
    assert admin.link("Ada Lovelace") == f"/console/offboarding-receipts/{receipt['id']}"
    assert "Grace Hopper" not in admin.page.text
    approver = await signed_in_as(new_browser, provider, "approvers")
    await approver.open("/console")
    assert "Ada Lovelace" not in approver.page.text
