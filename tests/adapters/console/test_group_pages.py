"""Pages of groups: members come and go by search, what is granted stands beside them, and a group ends by a form."""

import httpx2

from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.people import EVIL, admin, links_of, signed_in_as
from tests.adapters.console.provider import SigningProvider
from tests.adapters.console.servers import fields_of
from tests.features.principals import Json, fresh, grant, group, person

__all__ = ["admin"]
ROOT = "/console/groups"


async def members(api: httpx2.AsyncClient, one: Json) -> list[str]:
    answer = await api.get(f"/api/v1/groups/{one['id']}/members")
    return [member["identity_id"] for member in answer.json()["items"]]


async def test_a_group_is_made_changed_and_ended_by_forms(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    name, new = fresh("team"), f"{ROOT}/new"
    hidden = fields_of(await admin.get(new), new)
    assert (await admin.post(new, data=hidden | {"name": "", "description": "Kept"})).status_code == 422
    made = await admin.post(new, data=hidden | {"name": name, "description": EVIL})
    assert made.status_code == 303
    path = made.headers["location"].partition("?")[0]
    taken = await admin.post(new, data=hidden | {"name": name.upper(), "description": "Kept"})
    assert (taken.status_code, "Kept</textarea>" in taken.text) == (409, True)
    listed = await admin.get(ROOT, params={"q": name})
    assert path in links_of(listed, r".*")
    assert "<script>alert" not in listed.text
    hidden = fields_of(await admin.get(f"{path}/edit"), f"{path}/edit")
    changed = {"name": f"{name}-2", "description": ""}
    stale = await admin.post(f"{path}/edit", data=hidden | changed | {"revision": "9"})
    assert (stale.status_code, "It was changed since" in stale.text) == (412, True)
    assert (await admin.post(f"{path}/edit", data=hidden | changed)).status_code == 303
    shown = (await api.get(f"/api/v1/groups/{path.rpartition('/')[2]}")).json()
    assert (shown["name"], shown["description"]) == (f"{name}-2", None)
    hidden = fields_of(await admin.get(f"{path}/end"), f"{path}/end")
    assert (await admin.post(f"{path}/end", data=hidden | {"revision": "1"})).status_code == 412
    assert (await admin.post(f"{path}/end", data=hidden)).headers["location"] == f"{ROOT}?done=ended"
    assert (await admin.get(path)).status_code == 404


async def test_members_are_found_added_and_removed(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    ada, bea = await person(api), await person(api, display_name=EVIL)
    gone = await person(api)
    team = await group(api, ada, name=fresh("team"))
    path = f"{ROOT}/{team['id']}"
    found = await admin.get(path, params={"q": bea["user_name"]})
    assert "not a member" in found.text
    assert "<script>alert" not in found.text
    part = {"HX-Request": "true", "HX-Target": "div#found"}
    assert "<h1" not in (await admin.get(path, params={"q": ada["user_name"]}, headers=part)).text
    hidden = fields_of(found, f"{path}/members")
    assert hidden["identity_id"] == bea["id"]
    assert (await admin.post(f"{path}/members", data=hidden | {"form_token": "x"})).status_code == 403
    assert (await admin.post(f"{path}/members", data=hidden)).status_code == 303
    assert set(await members(api, team)) == {ada["id"], bea["id"]}
    assert "Remove" in (await admin.get(path, params={"q": bea["user_name"]})).text
    removed = await admin.post(f"{path}/members/remove", data=hidden | {"identity_id": ada["id"]})
    assert removed.status_code == 303
    assert await members(api, team) == [bea["id"]]
    # One click removed a member, and one adds the member again.
    shown = await admin.get(removed.headers["location"])
    assert f"{ada['user_name']} is no longer a member" in shown.text
    assert (await admin.post(f"{path}/members", data=fields_of(shown, f"{path}/members"))).status_code == 303
    assert set(await members(api, team)) == {ada["id"], bea["id"]}
    assert "no longer a member" not in (await admin.get(removed.headers["location"])).text
    await admin.post(f"{path}/members/remove", data=hidden | {"identity_id": ada["id"]})
    await api.post(f"/api/v1/identities/{gone['id']}/offboard", json={"reason": "left"})
    refused = await admin.post(f"{path}/members", data=hidden | {"identity_id": gone["id"]})
    assert (refused.status_code, "offboarded; reinstate it" in refused.text) == (409, True)
    assert (await admin.post(f"{path}/members", data=hidden | {"identity_id": "x"})).status_code == 400
    assert await members(api, team) == [bea["id"]]


async def test_members_lead_on_by_the_links_of_the_page(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    people = [await person(api) for _ in range(26)]
    team = await group(api, *people, name=fresh("team"))
    path = f"{ROOT}/{team['id']}"
    first = await admin.get(path)
    (following,) = links_of(first, rf"{path}\?cursor=.*")
    second = await admin.get(following)
    shown = [link for page in (first, second) for link in links_of(page, r"/console/identities/idn_\w+")]
    assert [link.rpartition("/")[2] for link in shown] == [one["id"] for one in people][::-1]


async def test_what_a_group_was_granted_stands_on_its_page(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    team, other = await group(api, name=fresh("team")), await group(api, name=fresh("other"))
    ours, theirs = await grant(api, team), await grant(api, other)
    page = await admin.get(f"{ROOT}/{team['id']}", params={"tab": "grants"})
    assert "every tool on every server" in page.text
    assert links_of(page, r"/console/grants/grant_\w+") == [f"/console/grants/{ours['id']}"]
    assert theirs["id"] not in page.text


async def test_whoever_may_not_grant_does_not_change_a_group_that_gives_rights(
    api: httpx2.AsyncClient, new_browser: NewBrowser, provider: SigningProvider
) -> None:
    ada = await person(api)
    plain, granted = await group(api, name=fresh("plain")), await group(api, name=fresh("granted"))
    await grant(api, granted)
    provisioner = await signed_in_as(new_browser, provider, "provisioners", "pro")
    hidden: dict[str, str] = {}
    for one, answer in ((plain, 303), (granted, 403)):
        path = f"{ROOT}/{one['id']}"
        page = await provisioner.get(path, params={"q": ada["user_name"]})
        assert links_of(page, r".*tab=grants") == []
        # No button is shown that would be refused.
        assert (f'action="{path}/members"' in page.text) is (one is plain)
        hidden = hidden or fields_of(page, f"{path}/members")
        assert (await provisioner.post(f"{path}/members", data=hidden)).status_code == answer
    refused = await provisioner.get(f"{ROOT}/{granted['id']}", params={"tab": "grants"})
    assert refused.status_code == 403
    assert "grants.read" in refused.text
    approver = await signed_in_as(new_browser, provider, "approvers", "app")
    page = await approver.get(f"{ROOT}/{plain['id']}")
    assert page.status_code == 200
    assert 'method="post" action="/console/groups' not in page.text
    assert links_of(page, rf"{ROOT}/\w+/\w+") == []
    for verb in ("edit", "end"):
        assert (await approver.get(f"{ROOT}/{plain['id']}/{verb}")).status_code == 403


async def test_a_refusal_stands_on_the_page_of_the_group_whose_list_goes_on_from_there(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    gone = await person(api)
    path = f"{ROOT}/{(await group(api, *[await person(api) for _ in range(26)]))['id']}"
    await api.post(f"/api/v1/identities/{gone['id']}/offboard", json={"reason": "left"})
    hidden = fields_of(await admin.get(f"{path}/end"), f"{path}/end")
    refused = await admin.post(f"{path}/members", data=hidden | {"identity_id": gone["id"]})
    assert refused.status_code == 409
    (more,) = links_of(refused, r".*cursor=.*")
    assert more.startswith(f"{path}?")
    assert f'method="get" action="{path}"' in refused.text
    assert (await admin.get(more)).status_code == 200
