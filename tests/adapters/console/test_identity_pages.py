"""Pages about people and agents: what is shown to whom, and that each form does what the API does, or says why not."""

import httpx2
import pytest

from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.organisation import in_days
from tests.adapters.console.people import EVIL, admin, links_of, signed_in_as
from tests.adapters.console.provider import SigningProvider
from tests.adapters.console.servers import fields_of
from tests.features.access.test_effective_access import Fleet, fleet
from tests.features.principals import Json, agent, fresh, grant, group, person

__all__ = ["admin", "fleet"]
ROOT = "/console/identities"


async def read(api: httpx2.AsyncClient, id: str) -> Json:
    """An identity as the API shows it."""
    answer = await api.get(f"/api/v1/identities/{id}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def test_the_list_searches_filters_and_leads_on_by_its_own_links(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    word = fresh("crowd")
    owner = await person(api, user_name=f"{word}-owner", display_name=EVIL)
    made = [await agent(api, owner, user_name=f"{word}-{n:02}") for n in range(26)]
    first = await admin.get(ROOT, params={"q": word, "kind": "agent"})
    assert first.status_code == 200
    (following,) = links_of(first, rf"{ROOT}\?.*cursor=.*")
    second = await admin.get(following)
    shown = [links_of(page, rf"{ROOT}/idn_\w+") for page in (first, second)]
    agents = [[link for link in links if owner["id"] not in link] for links in shown]
    assert [link.rpartition("/")[2] for links in agents for link in links] == [one["id"] for one in made][
        ::-1
    ]
    assert len(agents[0]) == 25
    assert links_of(second, rf"{ROOT}\?q={word}&kind=agent")
    assert "<script>alert" not in first.text
    assert "&lt;script&gt;" in first.text
    part = await admin.get(ROOT, params={"q": word}, headers={"HX-Request": "true", "HX-Target": "div#list"})
    assert "<!doctype" not in part.text
    assert made[25]["id"] in part.text
    assert "No identity matches" in (await admin.get(ROOT, params={"q": fresh("none")})).text
    assert (await admin.get(ROOT, params={"kind": "robot"})).status_code == 400


async def test_a_person_and_an_agent_are_made_by_forms_and_what_is_wrong_is_said_with_what_was_typed(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    name, new = fresh("ada"), f"{ROOT}/new"
    hidden = fields_of(await admin.get(new), new)
    typed = {"user_name": name, "email": "no address", "attributes": "department=finance\nsite = Bern"}
    refused = await admin.post(new, data=hidden | typed)
    assert refused.status_code == 422
    assert f'value="{name}"' in refused.text
    assert 'aria-invalid="true"' in refused.text
    odd = await admin.post(new, data=hidden | typed | {"email": "", "attributes": "finance"})
    assert odd.status_code == 422
    assert "one attribute on each line" in odd.text
    made = await admin.post(new, data=hidden | typed | {"email": "ada@example.com"})
    assert made.status_code == 303
    ada = await read(api, made.headers["location"].rpartition("/")[2].partition("?")[0])
    assert (ada["kind"], ada["user_name"], ada["email"]) == ("person", name, "ada@example.com")
    assert ada["attributes"] == {"department": "finance", "site": "Bern"}
    again = await admin.post(new, data=hidden | typed | {"email": ""})
    assert (again.status_code, "Another identity has this" in again.text) == (409, True)
    choosing = await admin.get(new, params={"kind": "agent", "q": name})
    (choose,) = links_of(choosing, rf"{new}\?kind=agent&owner_id={ada['id']}")
    hidden = fields_of(await admin.get(choose), new)
    bot = await admin.post(new, data=hidden | {"user_name": fresh("bot")})
    assert bot.status_code == 303
    found = (await api.get("/api/v1/identities", params={"owner_id": ada["id"]})).json()["items"]
    assert [one["kind"] for one in found] == ["agent"]


async def test_an_edit_changes_what_was_shown_and_overwrites_nothing_unseen(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    ada, bea = await person(api, attributes={"site": "Bern", "team": "a"}), await person(api)
    bot = await agent(api, ada)
    path = f"{ROOT}/{bot['id']}/edit"
    (choose,) = links_of(
        await admin.get(path, params={"q": bea["user_name"]}), rf"{path}\?owner_id={bea['id']}"
    )
    hidden = fields_of(await admin.get(choose), path)
    stale = await admin.post(
        path, data=hidden | {"revision": "7", "user_name": bot["user_name"], "display_name": "Mine"}
    )
    assert stale.status_code == 412
    assert 'value="Mine"' in stale.text
    assert (await read(api, bot["id"]))["owner_id"] == ada["id"]
    done = await admin.post(path, data=hidden | {"user_name": bot["user_name"], "display_name": "Ours"})
    assert done.status_code == 303
    now = await read(api, bot["id"])
    assert (now["owner_id"], now["display_name"]) == (bea["id"], "Ours")
    path = f"{ROOT}/{ada['id']}/edit"
    page = await admin.get(path)
    assert "site=Bern\nteam=a" in page.text
    fields = {"user_name": ada["user_name"], "attributes": "team=b"}
    assert (await admin.post(path, data=fields_of(page, path) | fields)).status_code == 303
    assert (await read(api, ada["id"]))["attributes"] == {"team": "b"}


async def test_suspending_and_reinstating_are_forms_of_a_page_that_says_what_stops(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    ada = await person(api)
    bot = await agent(api, ada, display_name="Busy bot")
    path = f"{ROOT}/{ada['id']}"
    page = await admin.get(f"{path}/suspend")
    assert "Busy bot" in page.text
    hidden = fields_of(page, f"{path}/suspend")
    assert (await admin.post(f"{path}/suspend", data=hidden | {"revision": "9"})).status_code == 412
    assert (await read(api, ada["id"]))["status"] == "active"
    assert (await admin.post(f"{path}/suspend", data=hidden)).headers["location"] == f"{path}?done=suspended"
    assert (await read(api, ada["id"]))["status"] == "suspended"
    assert "owner_suspended" in (await api.get(f"/api/v1/identities/{bot['id']}/access")).text
    hidden = fields_of(await admin.get(path), f"{path}/reinstate")
    assert (await admin.post(f"{path}/reinstate", data=hidden)).status_code == 303
    assert (await read(api, ada["id"]))["status"] == "active"


async def test_a_change_takes_a_form_of_this_session_and_this_service(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, new_browser: NewBrowser, provider: SigningProvider
) -> None:
    ada = await person(api)
    path = f"{ROOT}/{ada['id']}/suspend"
    hidden = fields_of(await admin.get(path), path)
    other = await signed_in_as(new_browser, provider, "admins", "else")
    assert (await other.post(path, data=hidden)).status_code == 403
    assert (await admin.post(path, data={"revision": hidden["revision"]})).status_code == 403
    foreign = {"Origin": "https://evil.example.com"}
    assert (await admin.post(path, data=hidden, headers=foreign)).status_code == 403
    assert (await read(api, ada["id"]))["status"] == "active"


async def test_access_comes_with_its_grant_its_group_and_the_way_to_the_explanation(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ada = await person(api)
    team = await group(api, ada, name=fresh(EVIL))
    ours = await grant(api, team, tools={"kind": "names", "names": ["look"]})
    own = await grant(api, ada, servers=fleet.only("notes"), tools={"kind": "names", "names": ["wipe"]})
    path, notes = f"{ROOT}/{ada['id']}", fleet.slugs["notes"]
    page = await admin.get(path, params={"tab": "access", "server_id": fleet.ids["notes"]})
    assert fleet.slugs["books"] not in page.text
    assert set(links_of(page, r"/console/grants/grant_\w+")) == {
        f"/console/grants/{one['id']}" for one in (ours, own)
    }
    assert links_of(page, rf"/console/groups/{team['id']}")
    explain = links_of(page, r"/console/explain\?.*")
    assert {link.partition("?")[2] for link in explain} == {
        f"identity_id={ada['id']}&server={notes}&tool={tool}" for tool in ("look", "wipe")
    }
    assert "<script>alert" not in page.text
    assert fleet.slugs["books"] in (await admin.get(path, params={"tab": "access"})).text
    nobody = await admin.get(f"{ROOT}/{(await person(api))['id']}", params={"tab": "access"})
    assert "No access yet" in nobody.text


async def test_each_tab_needs_what_its_contents_need_and_is_offered_to_nobody_else(
    api: httpx2.AsyncClient, new_browser: NewBrowser, provider: SigningProvider
) -> None:
    ada = await person(api, display_name="Ada Lovelace")
    path = f"{ROOT}/{ada['id']}"
    provisioner = await signed_in_as(new_browser, provider, "provisioners", "pro")
    page = await provisioner.get(path)
    assert page.status_code == 200
    assert links_of(page, r".*\?tab=\w+") == []
    assert links_of(page, rf"{path}/offboard")
    for tab, permission in (
        ("access", "grants.read"), ("tokens", "tokens.read"), ("activity", "audit.read"),
    ):  # fmt: skip
        refused = await provisioner.get(path, params={"tab": tab})
        assert refused.status_code == 403
        assert permission in refused.text
    assert (await provisioner.get(path, params={"tab": "other"})).status_code == 404
    approver = await signed_in_as(new_browser, provider, "approvers", "app")
    assert links_of(await approver.get(path), rf"{path}/\w+") == []
    for verb in ("edit", "suspend", "offboard", "erase"):
        assert (await approver.get(f"{path}/{verb}")).status_code == 403


@pytest.mark.parametrize("id", ["idn_01jdpnwz00e008000000000000", "idn_x", "srv_01jdpnwz00e008000000000000"])
async def test_nobody_of_that_id_is_404(admin: httpx2.AsyncClient, id: str) -> None:
    for verb in ("", "/edit", "/suspend", "/offboard"):
        assert (await admin.get(f"{ROOT}/{id}{verb}")).status_code == 404


async def test_tokens_and_activity_are_those_of_this_identity(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    ada, bea = await person(api), await person(api)
    names = {}
    for one in (ada, bea):
        names[one["id"]] = fresh("token")
        body = {
            "identity_id": one["id"], "name": names[one["id"]], "scope": {"kind": "grants"},
            "expires_at": in_days(30),
        }  # fmt: skip
        assert (await api.post("/api/v1/tokens", json=body)).status_code == 201
    page = await admin.get(f"{ROOT}/{ada['id']}", params={"tab": "tokens", "identity_id": bea["id"]})
    assert names[ada["id"]] in page.text
    assert names[bea["id"]] not in page.text
    quiet = await admin.get(f"{ROOT}/{ada['id']}", params={"tab": "activity"})
    assert "No activity yet" in quiet.text
    assert links_of(quiet, rf"/console/audit\?actor_id={ada['id']}&period=all")
