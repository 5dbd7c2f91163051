"""The API of administrators: read, disable and enable them."""

import time
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from app.http.authorization import ROLE_PERMISSIONS, Role
from app.lib.ids import ADMINISTRATOR, IDENTITY, SERVICE_ACCOUNT, format_id, new_id
from tests.api import Account, ApiAs
from tests.features.administrators.conftest import ClientOf
from tests.features.administrators.people import NOW, Json, Sessions, claims, rows, run

PATH = "/api/v1/administrators"
UNKNOWN = f"{PATH}/{format_id(ADMINISTRATOR, new_id())}"


async def entered(client: ClientOf, sub: str = "ada", *groups: str, **more: Any) -> Json:
    """Sign in with these groups and return the response of /me."""
    answer = await client(claims(sub, *(groups or ("sg-admins",)), **more)).get("/api/v1/me")
    assert answer.status_code == 200, answer.text
    me: Json = answer.json()
    return me


async def listed(api: httpx2.AsyncClient, **query: Any) -> list[str]:
    answer = await api.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def test_an_administrator_sees_who_they_are(client: ClientOf) -> None:
    me = await entered(client, "ada", "sg-admins", "sg-auditors", name="Ada L.")
    assert me["type"] == "administrator"
    assert me["id"].startswith("adm_")
    assert me["name"] == "Ada L."
    assert me["identity_id"].startswith("idn_")
    assert (me["role"], me["roles"]) == ("admin", ["admin", "auditor"])
    both = ROLE_PERMISSIONS[Role.ADMIN] | ROLE_PERMISSIONS[Role.AUDITOR]
    assert me["permissions"] == sorted(both)


async def test_a_person_without_a_role_sees_who_they_are_and_nothing_else(client: ClientOf) -> None:
    known = await entered(client, "ada", "sg-admins")
    plain = client(claims("ada", "staff", iat=NOW + 60))
    me = (await plain.get("/api/v1/me")).json()
    assert (me["type"], me["id"], me["identity_id"]) == (
        "identity",
        known["identity_id"],
        known["identity_id"],
    )
    assert (me["role"], me["roles"], me["permissions"]) == (None, [], ["self.read", "self.write"])
    refused = await plain.get("/api/v1/identities")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "identities.read" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("path", "permission"), [("/api/v1/identities", "identities.read"), ("/api/v1/me", "self.read")]
)
async def test_a_stranger_is_refused_with_the_name_of_the_permission(
    client: ClientOf, path: str, permission: str
) -> None:
    answer = await client(claims("ada", "staff")).get(path)
    assert answer.status_code == 403
    assert permission in answer.json()["detail"]


async def test_what_a_sign_in_writes_survives_a_request_that_fails(
    client: ClientOf, api: httpx2.AsyncClient
) -> None:
    answer = await client(claims("ada", "sg-admins")).post("/api/v1/identities", json={})
    assert answer.status_code == 422
    assert len(await listed(api)) == 1


async def test_an_administrator_shows_with_roles_and_the_time_of_the_last_token(
    client: ClientOf, api: httpx2.AsyncClient
) -> None:
    me = await entered(client, "ada", "sg-auditors", "sg-owners")
    answer = await api.get(f"{PATH}/{me['id']}")
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["identity_id"] == me["identity_id"]
    assert shown["role_assignments"] == [
        {"role": "owner", "within": "all"},
        {"role": "auditor", "within": "all"},
    ]
    assert (shown["status"], shown["last_sign_in_at"]) == ("active", "2023-11-14T22:13:20Z")
    assert answer.headers["etag"] == f'"{shown["revision"]}"'
    [identity] = (await api.get(f"/api/v1/identities/{me['identity_id']}")).json()["links"]
    assert (identity["kind"], identity["value"]) == ("oidc", "ada")


async def test_the_list_is_filtered_by_status_role_identity_and_text(
    client: ClientOf, api: httpx2.AsyncClient
) -> None:
    ada = await entered(client, "a", "sg-admins", preferred_username="ada", email="ada@example.com")
    bob = await entered(client, "b", "sg-owners", "sg-admins", preferred_username="bob", name="100% Bob")
    assert (await api.post(f"{PATH}/{ada['id']}/disable")).status_code == 200
    assert await listed(api) == [bob["id"], ada["id"]]
    assert await listed(api, status="disabled") == [ada["id"]]
    assert await listed(api, status=["disabled", "active"]) == [bob["id"], ada["id"]]
    assert await listed(api, role="owner") == [bob["id"]]
    assert await listed(api, role=["owner", "admin"]) == [bob["id"], ada["id"]]
    assert await listed(api, identity_id=ada["identity_id"]) == [ada["id"]]
    assert await listed(api, q="EXAMPLE.com") == [ada["id"]]
    assert await listed(api, q="0% b") == [bob["id"]]
    assert await listed(api, q="a%a") == []
    first = (await api.get(PATH, params={"limit": 1})).json()
    assert await listed(api, limit=1, cursor=first["next_cursor"]) == [ada["id"]]
    assert (await api.get(PATH, params={"status": "ended"})).status_code == 422


async def test_a_disabled_administrator_is_out_at_once_and_in_again_when_enabled(
    client: ClientOf, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    me = await entered(client)
    disabled = await api.post(f"{PATH}/{me['id']}/disable")
    assert (disabled.status_code, disabled.json()["status"]) == (200, "disabled")
    assert disabled.headers["etag"] == f'"{disabled.json()["revision"]}"' == '"2"'
    for groups in (["sg-admins"], []):
        for iat in (NOW, NOW + 60):
            refused = await client(claims("ada", *groups, iat=iat)).get("/api/v1/me")
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    again = await api.post(f"{PATH}/{me['id']}/disable")
    assert again.json() == disabled.json()
    enabled = await api.post(f"{PATH}/{me['id']}/enable")
    assert enabled.json()["status"] == "active"
    assert await entered(client) == me
    events = await rows(
        sessions,
        "SELECT action, changes FROM audit_events WHERE action ~ 'administrator.(en|dis)able' ORDER BY xact",
    )
    assert [tuple(event) for event in events] == [
        ("administrator.disable", {"status": {"from": "active", "to": "disabled"}}),
        ("administrator.enable", {"status": {"from": "disabled", "to": "active"}}),
    ]


async def test_reinstating_a_person_does_not_let_the_administrator_in(
    client: ClientOf, api: httpx2.AsyncClient
) -> None:
    me = await entered(client)
    person = f"/api/v1/identities/{me['identity_id']}"
    assert (await api.post(f"{person}/offboard", json={"reason": "left"})).status_code == 200
    early = await api.post(f"{PATH}/{me['id']}/enable")
    assert (early.status_code, early.json()["code"]) == (409, "identity_not_active")
    assert (await api.post(f"{person}/reinstate")).status_code == 200
    assert (await client(claims("ada", "sg-admins")).get("/api/v1/me")).status_code == 401
    assert (await api.post(f"{PATH}/{me['id']}/enable")).status_code == 200
    # Earlier tokens of their provider stay invalid.
    assert (await client(claims("ada", "sg-admins")).get("/api/v1/me")).status_code == 401
    assert await entered(client, iat=int(time.time()) + 30) == me


async def test_nobody_disables_or_enables_themselves_nor_through_what_they_answer_for(
    client: ClientOf, api: httpx2.AsyncClient, owner: Account, sessions: Sessions
) -> None:
    me = await entered(client, "ada", "sg-owners")
    own = client(claims("ada", "sg-owners"))
    attempts = [own]
    for verb in ("disable", "enable"):
        for caller in attempts:
            answer = await caller.post(f"{PATH}/{me['id']}/{verb}")
            assert (answer.status_code, answer.json()["code"]) == (403, "own_account")
    # The service account behind `api` belongs to the administrator from here on, then to an agent of theirs.
    account = f"/api/v1/service-accounts/{format_id(SERVICE_ACCOUNT, owner.id)}"
    assert (await api.patch(account, json={"owner_id": me["identity_id"]})).status_code == 200
    assert (await api.post(f"{PATH}/{me['id']}/enable")).json()["code"] == "own_account"
    body = {"kind": "agent", "user_name": f"agent-{uuid4().hex}", "owner_id": me["identity_id"]}
    agent = (await api.post("/api/v1/identities", json=body)).json()
    assert (await api.patch(account, json={"owner_id": agent["id"]})).status_code == 200
    assert (await api.post(f"{PATH}/{me['id']}/disable")).json()["code"] == "own_account"
    shown = await api.get(f"{PATH}/{me['id']}")
    assert (shown.json()["status"], shown.json()["revision"]) == ("active", 1)


async def test_if_match_guards_both_verbs(client: ClientOf, api: httpx2.AsyncClient) -> None:
    me = await entered(client)
    for verb in ("disable", "enable"):
        stale = await api.post(f"{PATH}/{me['id']}/{verb}", headers={"If-Match": '"7"'})
        assert (stale.status_code, stale.json()["code"]) == (412, "revision_mismatch")
    fresh = await api.post(f"{PATH}/{me['id']}/disable", headers={"If-Match": '"1"'})
    assert fresh.status_code == 200


@pytest.mark.parametrize("role", list(Role))
async def test_owners_alone_change_administrators_and_auditors_read_them(
    client: ClientOf, api_as: ApiAs, role: Role
) -> None:
    me = await entered(client)
    caller = await api_as(role)
    read = [await caller.get(PATH), await caller.get(f"{PATH}/{me['id']}")]
    reads = role in {Role.OWNER, Role.AUDITOR}
    assert {answer.status_code for answer in read} == ({200} if reads else {403})
    for verb in ("disable", "enable"):
        answer = await caller.post(f"{PATH}/{me['id']}/{verb}")
        assert answer.status_code == (200 if role is Role.OWNER else 403)
        assert role is Role.OWNER or "administrators.write" in answer.json()["detail"]


async def test_an_unknown_administrator_is_not_found(api: httpx2.AsyncClient) -> None:
    for answer in (
        await api.get(UNKNOWN),
        await api.post(f"{UNKNOWN}/disable"),
        await api.post(f"{UNKNOWN}/enable"),
    ):
        assert answer.status_code == 404
    assert (await api.get(f"{PATH}/{format_id(IDENTITY, new_id())}")).status_code == 422


async def test_the_trail_names_administrators_and_finds_them_by_name(
    client: ClientOf, api: httpx2.AsyncClient
) -> None:
    me = await entered(client, "ada", "sg-admins", name="Ada L.")
    made = {"kind": "person", "user_name": "made-by-ada"}
    await client(claims("ada", "sg-admins")).post("/api/v1/identities", json=made)
    events = (await api.get("/api/v1/audit-events", params={"actor_id": me["id"]})).json()["items"]
    assert [event["action"] for event in events] == [
        "identity.create", "administrator.sign_in", "administrator.create", "identity.create",
    ]  # fmt: skip
    assert {str(event["actor"]) for event in events} == {
        str({"type": "administrator", "id": me["id"], "name": "Ada L."})
    }
    assert events[0]["on_behalf_of"] == me["identity_id"]
    assert events[1]["object"] == {"type": "administrator", "id": me["id"]}
    assert events[1]["changes"]["provider_id"].startswith("idp_")
    since = {"q": "ada l", "since": events[-1]["time"]}
    found = (await api.get("/api/v1/audit-events", params=since)).json()["items"]
    assert {event["id"] for event in found} >= {event["id"] for event in events[:-1]}


async def test_no_name_or_link_of_a_person_stands_in_the_trail(client: ClientOf, sessions: Sessions) -> None:
    await entered(client, "link-of-zoya", "sg-admins", preferred_username="name-of-zoya", email="mail@zoya")
    await entered(client, "link-of-zoya", "sg-owners", iat=NOW + 60)
    for row in await rows(sessions, "SELECT to_jsonb(e)::text AS line FROM audit_events e"):
        assert "zoya" not in row.line


async def test_a_suspended_person_is_out_and_in_again_when_reinstated(
    client: ClientOf, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    me = await entered(client)
    person = f"/api/v1/identities/{me['identity_id']}"
    assert (await api.post(f"{person}/suspend")).status_code == 200
    assert (await client(claims("ada", "sg-admins")).get("/api/v1/me")).status_code == 401
    assert (await api.post(f"{person}/reinstate")).status_code == 200
    assert await entered(client) == me
    await run(sessions, "UPDATE identities SET status = 'offboarded'")
    assert (await client(claims("ada", "sg-admins", iat=NOW + 60)).get("/api/v1/me")).status_code == 401
