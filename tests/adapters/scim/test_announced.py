"""What is announced can be read by older clients, and says of what we do not keep that nobody may write it."""

from typing import Any

import httpx2

from tests.adapters.scim.conftest import USER, patch, user

NOT_KEPT = {"password", "phoneNumbers", "addresses", "photos", "profileUrl", "nickName", "roles"}


def every(attributes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Attributes with all that are below them."""
    return [one for top in attributes for one in (top, *every(top.get("subAttributes", [])))]


async def test_what_is_not_kept_is_nobodys_to_write_and_is_dropped_where_it_comes(
    scim: httpx2.AsyncClient,
) -> None:
    schema = (await scim.get(f"Schemas/{USER}")).json()
    listed = (await scim.get("Schemas")).json()["Resources"]
    assert schema["attributes"] == next(one["attributes"] for one in listed if one["id"] == USER)
    found = {one["name"]: one for one in schema["attributes"]}
    assert found.keys() >= NOT_KEPT
    for one in every([found[name] for name in NOT_KEPT]):
        assert (one["mutability"], one["returned"]) == ("readOnly", "never"), one["name"]
    assert found["title"]["mutability"] == "readWrite"

    sent: dict[str, Any] = {"password": "hunter2", "phoneNumbers": [{"value": "1"}], "nickName": "Al"}
    made = await scim.post("Users", json=user("ada", title="Countess", **sent))
    assert made.status_code == 201, made.text
    changed = await scim.patch(
        f"Users/{made.json()['id']}",
        json=patch({"op": "replace", "path": "nickName", "value": "B"}, {"op": "add", "value": sent}),
    )
    for answer in (made, changed, await scim.get(f"Users/{made.json()['id']}")):
        assert answer.is_success, answer.text
        assert answer.json()["title"] == "Countess"
        assert not sent.keys() & answer.json().keys()
        assert "hunter2" not in answer.text


async def test_cursors_are_served_and_not_announced(scim: httpx2.AsyncClient) -> None:
    assert "pagination" not in (await scim.get("ServiceProviderConfig")).json()
    for name in ("ada", "grace"):
        assert (await scim.post("Users", json=user(name))).status_code == 201
    first = (await scim.get("Users", params={"cursor": "", "count": "1"})).json()
    second = (await scim.get("Users", params={"cursor": first["nextCursor"], "count": "1"})).json()
    names = [page["Resources"][0]["userName"] for page in (first, second)]
    assert sorted(names) == ["ada", "grace"]
    assert "nextCursor" not in second


async def test_a_removed_active_is_hidden_until_it_is_said_again_and_changes_nothing(
    scim: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    made = (await scim.post("Users", json=user("ada", active=True))).json()
    path = f"Users/{made['id']}"

    async def shown(answer: httpx2.Response) -> tuple[Any, Any, str]:
        """``active`` of the answer and of a GET, and the status that the API tells."""
        assert answer.status_code == 200, answer.text
        identity = (await api.get(f"/api/v1/identities/{made['id']}")).json()
        return answer.json().get("active"), (await scim.get(path)).json().get("active"), identity["status"]

    remove = patch({"op": "Remove", "path": "active"})
    title = patch({"op": "replace", "path": "title", "value": "Countess"})
    end = patch({"op": "replace", "path": "active", "value": False})
    assert await shown(await scim.patch(path, json=remove)) == (None, None, "active")
    assert await shown(await scim.patch(path, json=title)) == (None, None, "active")
    assert await shown(await scim.patch(path, json=end)) == (False, False, "offboarded")
    # Removed, it is no way back in either.
    assert await shown(await scim.patch(path, json=remove)) == (None, None, "offboarded")
    assert await shown(await scim.put(path, json=user("ada"))) == (False, False, "offboarded")


async def test_a_value_of_a_wrong_type_is_told_in_a_line_that_does_not_repeat_it(
    scim: httpx2.AsyncClient,
) -> None:
    path = f"Users/{(await scim.post('Users', json=user('ada'))).json()['id']}"
    wrong = [("active", "hunter2"), ("title", {"x": "hunter2"}), ("emails", "hunter2"), ("name", ["hunter2"])]
    for name, value in wrong:
        made = await scim.post("Users", json=user("grace", **{name: value}))
        changed = await scim.patch(path, json=patch({"op": "replace", "path": name, "value": value}))
        for answer in (made, changed):
            assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidValue"), answer.text
            detail = answer.json()["detail"]
            assert name in detail
            assert [part for part in ("\n", "http", "hunter2") if part in detail] == []
