"""The page of the access matrix: the numbers of the API, each leading to its reasons, page by page."""

from uuid import uuid4

import httpx2

from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.people import EVIL, admin, links_of, signed_in_as
from tests.adapters.console.provider import SigningProvider
from tests.features.access.test_effective_access import Fleet, fleet
from tests.features.principals import fresh, grant, made, person

__all__ = ["admin", "fleet"]
PATH = "/console/access"


async def test_a_cell_has_the_number_of_tools_and_leads_to_the_reasons(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    word = fresh("crew")
    ada = await person(api, user_name=f"{word}-a", display_name=EVIL)
    bea = await person(api, user_name=f"{word}-b")
    away = await person(api, user_name=f"{word}-c")
    await grant(api, ada, servers=fleet.only("notes"))
    assert (await api.post(f"/api/v1/identities/{away['id']}/suspend")).status_code == 200
    page = await admin.get(PATH, params={"q": word})
    cells = links_of(page, r"/console/(explain|identities/\w+)\?.*")
    notes, books = fleet.slugs["notes"], fleet.slugs["books"]
    assert set(cells) == {
        f"/console/identities/{ada['id']}?tab=access&server_id={fleet.ids['notes']}",
        *(f"/console/explain?identity_id={one['id']}&server={books}" for one in (ada, bea)),
        f"/console/explain?identity_id={bea['id']}&server={notes}",
    }
    assert "▲</span> 3" in page.text
    assert "1 destructive" in page.text
    assert "<script>alert" not in page.text
    assert away["id"] not in page.text
    narrowed = await admin.get(PATH, params={"q": word, "server_q": books})
    assert fleet.ids["notes"] not in narrowed.text
    assert (await admin.get(cells[0])).status_code == 200


async def test_people_and_servers_lead_on_each_by_itself(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    word = fresh("crew")
    people = [await person(api, user_name=f"{word}-{n:02}") for n in range(21)]
    slugs = [f"{word}-{n:02}" for n in range(11)]
    ids = [
        (await made(api, "servers", {"slug": slug, "url": "https://mcp.example.com/"}))["id"]
        for slug in slugs
    ]
    first = await admin.get(PATH, params={"q": word, "server_q": word})
    (more_people,) = links_of(first, rf"{PATH}\?.*[?&]cursor=.*")
    (more_servers,) = links_of(first, rf"{PATH}\?.*server_cursor=.*")

    async def shown(address: str) -> tuple[list[str], list[str]]:
        page = await admin.get(address)
        assert page.status_code == 200
        rows = links_of(page, r"/console/identities/idn_\w+")
        columns = links_of(page, r"/console/servers/srv_\w+")
        return [one.rpartition("/")[2] for one in rows], [one.rpartition("/")[2] for one in columns]

    names = [one["id"] for one in people]
    assert await shown(f"{PATH}?q={word}&server_q={word}") == (names[:20], ids[:10])
    assert await shown(more_people) == (names[20:], ids[:10])
    assert await shown(more_servers) == (names[:20], ids[10:])
    (both,) = links_of(await admin.get(more_servers), rf"{PATH}\?.*[?&]cursor=.*")
    assert await shown(both) == (names[20:], ids[10:])


async def test_it_is_for_those_who_may_explain_and_says_when_there_is_nothing(
    admin: httpx2.AsyncClient, new_browser: NewBrowser, provider: SigningProvider
) -> None:
    nothing = await admin.get(PATH, params={"q": uuid4().hex})
    assert (nothing.status_code, "No identity matches" in nothing.text) == (200, True)
    provisioner = await signed_in_as(new_browser, provider, "provisioners", "pro")
    refused = await provisioner.get(PATH)
    assert refused.status_code == 403
    assert "access.explain" in refused.text
