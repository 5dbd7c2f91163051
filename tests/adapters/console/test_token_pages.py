"""Tokens on pages: what is found and shown, and that each form does what the API does, or says why not."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from app.lib.ids import TOKEN, parse_id
from app.main import Scopegate
from tests.adapters.console.browsing import Person
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.people import provider_id
from tests.adapters.console.provider import SigningProvider
from tests.adapters.console.test_issuing_pages import EVIL, somebody
from tests.features.access.test_effective_access import Fleet
from tests.features.principals import Json, Sessions, agent, grant, person
from tests.features.tokens.world import World, in_days
from tests.streams import listening

LIST = "/console/tokens"


@pytest.fixture
async def admin(new_browser: NewBrowser, provider: SigningProvider) -> Person:
    """An administrator at a browser."""
    return await somebody(new_browser, provider, "admins")


@pytest.fixture
async def fleet(api: httpx2.AsyncClient) -> Fleet:
    """Two servers with a tool of each risk."""
    fleet = Fleet(api)
    await fleet.add("notes")
    await fleet.add("books")
    return fleet


async def issued(
    api: httpx2.AsyncClient, whose: Json, name: str = "laptop", days: float = 7, **more: object
) -> Json:
    body = {
        "identity_id": whose["id"],
        "name": name,
        "scope": {"kind": "grants"},
        "expires_at": in_days(days),
        **more,
    }
    answer = await api.post("/api/v1/tokens", json=body)
    assert answer.status_code == 201, answer.text
    token: Json = answer.json()
    return token


def path_of(token: Json, more: str = "") -> str:
    return f"{LIST}/{token['token']['id']}{more}"


async def now(api: httpx2.AsyncClient, token: Json) -> Json:
    read: Json = (await api.get(f"/api/v1/tokens/{token['token']['id']}")).json()
    return read


async def test_tokens_are_found_by_name_holder_state_and_end_page_by_page(
    admin: Person, api: httpx2.AsyncClient
) -> None:
    await admin.open(LIST)
    assert "No tokens yet" in admin.words
    ana, bo = await person(api, display_name="Ana"), await person(api, display_name=f"Bo {EVIL}")
    for number in range(27):
        await issued(api, ana, f"of-ana-{number:02}")
    soon, late = await issued(api, bo, "soon", days=10), await issued(api, bo, "late", days=80)
    await api.post(f"/api/v1/tokens/{late['token']['id']}/revoke", json={"reason": "lost"})
    await admin.open(LIST)
    assert "of-ana-26" in admin.words
    assert "of-ana-00" not in admin.words
    assert "<script>alert" not in admin.page.text
    await admin.follow("Next page")
    assert "of-ana-00" in admin.words
    await admin.open(f"{LIST}?q=of-ana-07")
    assert len(re.findall(r"of-ana-\d\d", admin.page.text.partition("<tbody>")[2])) == 1
    await admin.open(f"{LIST}?who=Bo")
    assert "soon" in admin.words
    assert "late" in admin.words
    assert "of-ana" not in admin.words
    await admin.open(f"{LIST}?who=Bo&status=revoked")
    assert "soon" not in admin.words
    await admin.open(f"{LIST}?expires_in=14&who=Ana")
    assert admin.words.index("of-ana-00") < admin.words.index("of-ana-20")
    assert admin.link("Next page").count("cursor") == 1
    await admin.follow("Next page")
    assert "of-ana-26" in admin.words
    await admin.open(f"{LIST}?expires_in=7&who=Bo")
    assert "No token matches" in admin.words
    await admin.open(f"{LIST}?identity_id={bo['id']}")
    assert "of-ana" not in admin.words
    for odd in ("expires_in=5", "status=odd", "identity_id=idn_x"):
        assert (await admin.open(f"{LIST}?{odd}")).page.status_code == 400, odd
    assert (await admin.open(f"{LIST}/tok_01jdpnwz00e008000000000000")).page.status_code == 404
    await admin.open(path_of(soon))
    assert "Waiting for first use" in admin.words


async def test_a_token_is_rotated_with_its_secret_shown_once(admin: Person, api: httpx2.AsyncClient) -> None:
    token = await issued(api, await person(api))
    await admin.open(path_of(token))
    await admin.follow("Rotate")
    form = admin.form("/rotate")
    await admin.send(form, overlap_s="3600")
    assert admin.page.headers["cache-control"] == "no-store"
    shown = re.search(r"sgt_\w+", admin.page.text)
    assert shown is not None
    assert shown[0] != token["secret"]
    assert (await now(api, token))["overlap_until"] is not None
    # A reload sends the same form.
    await admin.send(form, overlap_s="3600")
    assert admin.page.status_code == 412
    assert "sgt_" not in admin.page.text
    assert (await admin.send("/rotate", overlap_s="7")).page.status_code == 400
    await admin.open(path_of(token))
    assert "Two secrets work" in admin.words


async def test_a_token_is_narrowed_and_never_widened(
    admin: Person, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ana = await person(api)
    await grant(api, ana)
    everything = {"servers": fleet.only("notes"), "tools": {"kind": "all"}}
    named = {"servers": fleet.only("books"), "tools": {"kind": "names", "names": ["look", "wipe"]}}
    scope = {"kind": "listed", "entries": [everything, named, named]}
    token = await issued(api, ana, days=30, scope=scope)
    await admin.open(path_of(token))
    assert "every tool on " + fleet.slugs["notes"] in admin.words
    await admin.follow("Narrow")
    later = (datetime.now(UTC) + timedelta(days=60)).date().isoformat()
    await admin.send("/narrow", date=later)
    assert admin.page.status_code == 422
    assert "can only be earlier" in admin.words
    day = (datetime.now(UTC) + timedelta(days=5)).date().isoformat()
    changed: dict[str, Any] = {"entry-0": "read", "tool-1": ["look"], "tool-2": []}
    await admin.send("/narrow", name=EVIL, date=day, **changed)
    assert "was changed" in admin.words
    read = await now(api, token)
    assert read["name"] == EVIL
    assert read["expires_at"].startswith(day)
    first, second = read["scope"]["entries"]
    assert (first["tools"], first["resources"], first["prompts"]) == (
        {"kind": "risk", "risk": ["read"]},
        False,
        False,
    )
    assert second["tools"] == {"kind": "names", "names": ["look"]}
    whole = await issued(api, ana, "whole")
    await admin.open(path_of(whole, "/narrow"))
    form = admin.form("/narrow")
    await admin.send(form, **{"entry-0": "read"})
    assert (await now(api, whole))["scope"]["entries"][0]["tools"] == {"kind": "risk", "risk": ["read"]}
    assert (await admin.send(form, name="other")).page.status_code == 412


async def test_what_was_chosen_of_a_token_stays_chosen_when_something_else_is_wrong(
    admin: Person, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    """Or whoever mends a date, and sends the form again, narrows nothing that they meant to."""
    ana = await person(api)
    await grant(api, ana)
    everything = {"servers": fleet.only("notes"), "tools": {"kind": "all"}}
    named = {"servers": fleet.only("books"), "tools": {"kind": "names", "names": ["look", "wipe"]}}
    scope = {"kind": "listed", "entries": [everything, everything, named]}
    token, whole = await issued(api, ana, scope=scope), await issued(api, ana, "whole")
    later = (datetime.now(UTC) + timedelta(days=60)).date().isoformat()
    await admin.open(path_of(token, "/narrow"))
    shown = admin.form("/narrow")
    changed: dict[str, Any] = {"entry-0": "read", "entry-1": "drop", "tool-2": ["look"]}
    await admin.send(shown, date=later, **changed)
    assert admin.page.status_code == 422
    await admin.send("/narrow", date="")
    first, second = (await now(api, token))["scope"]["entries"]
    assert first["tools"] == {"kind": "risk", "risk": ["read"]}
    assert second["tools"] == {"kind": "names", "names": ["look"]}
    # Of another revision, another line may stand in the place of each.
    await admin.send(shown, name="other", **{"entry-0": "drop"})
    assert admin.page.status_code == 412
    assert admin.form("/narrow").fields["entry-0"] == ["keep"]
    await admin.open(path_of(whole, "/narrow"))
    await admin.send("/narrow", date=later, **{"entry-0": "read"})
    assert admin.form("/narrow").fields["entry-0"] == ["read"]


async def test_the_last_day_that_is_offered_is_taken(admin: Person, api: httpx2.AsyncClient) -> None:
    token = await issued(api, await person(api), days=20)
    before = await now(api, token)
    await admin.open(path_of(token, "/narrow"))
    await admin.send("/narrow", name="other", date=before["expires_at"][:10])
    after = await now(api, token)
    assert (after["name"], after["expires_at"]) == ("other", before["expires_at"])


async def test_until_when_earlier_secrets_work_stays_as_it_was_chosen(
    admin: Person, api: httpx2.AsyncClient
) -> None:
    """Or whoever presses the button again ends at once what was to work for a day."""
    token = await issued(api, await person(api))
    await admin.open(path_of(token, "/rotate"))
    assert admin.form("/rotate").fields["overlap_s"] == ["0"]
    await api.patch(f"/api/v1/tokens/{token['token']['id']}", json={"name": "other"})
    await admin.send("/rotate", overlap_s="86400")
    assert admin.page.status_code == 412
    assert admin.form("/rotate").fields["overlap_s"] == ["86400"]
    await admin.open(path_of(token, "/pickup"))
    assert admin.form("/pickup").fields["overlap_s"] == ["0"]
    await api.post(f"/api/v1/tokens/{token['token']['id']}/revoke", json={"reason": "lost"})
    await admin.send("/pickup", overlap_s="3600")
    assert admin.page.status_code == 409
    assert admin.form("/pickup").fields["overlap_s"] == ["3600"]


async def test_a_token_is_revoked_with_what_was_attenuated_from_it(
    admin: Person, new_browser: NewBrowser, provider: SigningProvider, api: httpx2.AsyncClient
) -> None:
    ana = await person(api)
    bot = await agent(api, ana)
    token = await issued(api, ana)
    child = await issued(api, bot, "of the bot", days=3, parent_id=token["token"]["id"])
    await admin.open(path_of(token))
    assert "of the bot" in admin.words
    await admin.follow("Revoke")
    assert "1 token attenuated from it ends too: of the bot" in admin.words
    assert (await now(api, token))["status"] == "active"
    form = admin.form("/revoke")
    assert (await admin.send(form, reason=" ")).page.status_code == 422
    auditor = await somebody(new_browser, provider, "auditors")
    await auditor.open(path_of(token))
    assert auditor.page.status_code == 200
    assert "Revoke" not in auditor.words
    for more in ("/revoke", "/rotate", "/narrow", "/pickup"):
        assert (await auditor.open(path_of(token, more))).page.status_code == 403
    await admin.send(form, form_token="0" * 64, reason="lost")
    assert admin.page.status_code == 403
    await admin.send(form, reason="laptop lost")
    assert "was revoked" in admin.words
    assert "laptop lost" in admin.words
    assert {(await now(api, one))["status"] for one in (token, child)} == {"revoked"}


async def test_a_secret_is_delivered_by_a_link_that_can_be_taken_back(
    admin: Person, api: httpx2.AsyncClient
) -> None:
    links = [{"provider_id": await provider_id(api), "kind": "oidc", "value": "ana"}]
    token = await issued(api, await person(api, display_name="Ana", links=links))
    await admin.open(path_of(token, "/pickup"))
    await admin.send("/pickup", overlap_s="0")
    assert "/console/pickups/pku_" in admin.page.text
    assert "Ready for pickup by Ana" in admin.words
    await admin.send("/cancel")
    assert "link was cancelled" in admin.words
    assert "/console/pickups/pku_" not in admin.page.text
    assert "cancelled" in admin.words


async def used(world: World, token_id: UUID, action: str, decision: str) -> None:
    await world.sql(
        "INSERT INTO audit_events (id, action, decision, actor_type, token_id, tool) "
        "VALUES (:id, :action, :decision, 'identity', :token, 'look') RETURNING id",
        id=uuid4(), action=action, decision=decision, token=token_id,
    )  # fmt: skip


async def test_the_light_turns_green_by_itself_with_the_first_call_that_is_allowed(
    admin: Person, api: httpx2.AsyncClient, sessions: Sessions, app: Scopegate
) -> None:
    world = World(api, sessions)
    token = await issued(api, await person(api))
    id = parse_id(TOKEN, token["token"]["id"])
    cookies = "; ".join(f"{name}={value}" for name, value in admin.browser.cookies.items())
    headers = {"Cookie": cookies, "Accept": "text/event-stream"}
    async with listening(app, path_of(token, "/first-use/live"), headers) as stream:
        assert "Waiting for first use" in ((await stream.event()).data or b"").decode()
        for action, decision, said in (
            ("tools.list", "allow", "Connected"),
            ("tool.call", "deny", "Refused"),
            ("tool.call", "allow", "It works"),
        ):
            await used(world, id, action, decision)
            assert said in ((await stream.event()).data or b"").decode()
        assert (await stream.event()).event == "ended"
    await admin.open(path_of(token))
    assert "It works. First call of look on" in admin.words
