"""Invitations in the API: permissions, and storage of links."""

from typing import Any

import httpx2
from sqlalchemy import text

from app.features.identity_providers.schemas import Provider
from app.lib.ids import IDENTITY_PROVIDER, INVITATION, format_id, new_id, parse_id
from tests.api import ApiAs
from tests.features.administrators.people import stored_provider
from tests.features.principals import Json, Sessions, agent, fresh, person, pointers
from tests.features.tokens.world import in_days

PATH = "/api/v1/invitations"
# Each fits the length limit, but none is a valid name: controls, invisible text, too long in its comparable form.
BAD_NAMES = ("ada\u202e", "\u200b", "\ufdfa" * 20)


def body_of(provider: Provider, **fields: Any) -> Json:
    return {"provider_id": format_id(IDENTITY_PROVIDER, provider.id), "email": "nora@example.com"} | fields


async def test_an_invitation_is_made_read_listed_and_revoked_and_keeps_no_secret(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    provider = await stored_provider(sessions, client_id="scopegate")
    body = body_of(provider, person={"user_name": fresh("nora"), "attributes": {"site": "Bonn"}})
    key = {"Idempotency-Key": "once"}
    answer = await api.post(PATH, json=body, headers=key)
    made = answer.json()["invitation"]
    assert (made["status"], made["claim"], made["subject"]) == ("pending", None, None)
    assert answer.headers["cache-control"] == "no-store"
    again = (await api.post(PATH, json=body, headers=key)).json()
    assert (again["url"], again["secret_available"], again["invitation"]["id"]) == (None, False, made["id"])
    place = f"{PATH}/{made['id']}"
    assert (await api.get(place)).json() == made
    for wanted in (
        {"status": "pending"},
        {"identity_id": made["identity_id"]},
        {"provider_id": made["provider_id"]},
    ):
        assert [one["id"] for one in (await api.get(PATH, params=wanted)).json()["items"]] == [made["id"]]
    secret = answer.json()["url"].rpartition("/")[2]
    async with sessions() as session:
        for table in ("invitations", "audit_events", "idempotency_keys"):
            kept = await session.scalars(text(f"SELECT row_to_json({table})::text FROM {table}"))
            assert not [row for row in kept if secret[-49:] in row], table
    assert (await api.post(f"{place}/confirm")).json()["code"] == "invitation_not_claimed"
    revoked = (await api.delete(place, headers={"If-Match": '"1"'})).json()
    assert (revoked["status"], revoked["revision"]) == ("revoked", 2)
    assert (await api.delete(place)).json() == revoked
    assert (await api.get(f"{PATH}/{format_id(INVITATION, new_id())}")).status_code == 404


async def test_another_invitation_of_the_same_person_takes_the_place_of_the_first(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    provider, nora = await stored_provider(sessions, client_id="scopegate"), await person(api)
    first, second = [
        (await api.post(PATH, json=body_of(provider, identity_id=nora["id"]))).json()["invitation"]["id"]
        for _ in range(2)
    ]
    found = (await api.get(PATH)).json()["items"]
    assert [(one["id"], one["status"]) for one in found] == [(second, "pending"), (first, "revoked")]


async def test_bad_invitations_name_the_field(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    provider, nora = await stored_provider(sessions, client_id="scopegate"), await person(api)
    bot = await agent(api, nora)
    new = {"person": {"user_name": fresh("nora")}}
    unknown = format_id(IDENTITY_PROVIDER, new_id())
    nowhere = format_id(IDENTITY_PROVIDER, (await stored_provider(sessions)).id)
    for fields, expected in (
        ({}, ("/person", "one_of")),
        ({**new, "identity_id": nora["id"]}, ("/person", "one_of")),
        ({**new, "subject": "x"}, ("/email", "one_of")),
        ({**new, "email": None}, ("/email", "one_of")),
        ({**new, "provider_id": unknown}, ("/provider_id", "not_found")),
        # Its link would lead nowhere.
        ({**new, "provider_id": nowhere}, ("/provider_id", "no_client_id")),
        *(({"person": {"user_name": name}}, ("/person/user_name", "value_error")) for name in BAD_NAMES),
        ({**new, "expires_at": in_days(31)}, ("/expires_at", "out_of_range")),
        ({**new, "expires_at": in_days(-1)}, ("/expires_at", "out_of_range")),
        ({"identity_id": bot["id"]}, ("/identity_id", "not_an_active_person")),
    ):
        assert pointers(await api.post(PATH, json=body_of(provider, **fields))) == {expected}


async def test_who_may_not_grant_invites_new_people_and_no_one_who_is_there(
    api: httpx2.AsyncClient, api_as: ApiAs, sessions: Sessions
) -> None:
    provider, nora = await stored_provider(sessions, client_id="scopegate"), await person(api)
    hr, admin, auditor = await api_as("provisioner"), await api_as("admin"), await api_as("auditor")
    new = body_of(provider, person={"user_name": fresh("nora")})
    made = (await hr.post(PATH, json=new)).json()["invitation"]
    there = await hr.post(PATH, json=body_of(provider, identity_id=nora["id"]))
    assert (there.status_code, "grants.write" in there.json()["detail"]) == (403, True)
    assert (await hr.post(f"{PATH}/{made['id']}/confirm")).status_code == 403
    assert (await hr.delete(f"{PATH}/{made['id']}")).status_code == 200
    assert (await auditor.get(PATH)).status_code == 200
    assert (await auditor.post(PATH, json=new)).status_code == 403
    # Nor can a lower role invite to a higher one's identity.
    account = {"name": "keys", "owner_id": nora["id"], "role": "owner"}
    assert (await api.post("/api/v1/service-accounts", json=account)).status_code == 201
    above = await admin.post(PATH, json=body_of(provider, identity_id=nora["id"]))
    assert (above.status_code, above.json()["code"]) == (403, "role_above_own")
    me = (await admin.get("/api/v1/me")).json()["identity_id"]
    own = await admin.post(PATH, json=body_of(provider, identity_id=me))
    assert (own.status_code, own.json()["code"]) == (403, "own_account")


async def test_an_erasure_takes_what_an_invitation_says_of_the_person(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    provider, nora = await stored_provider(sessions, client_id="scopegate"), await person(api)
    made = (await api.post(PATH, json=body_of(provider, identity_id=nora["id"]))).json()["invitation"]
    await api.delete(f"/api/v1/identities/{nora['id']}")
    assert (await api.post(f"/api/v1/identities/{nora['id']}/erase")).status_code == 200
    left = (await api.get(f"{PATH}/{made['id']}")).json()
    assert (left["email"], left["status"]) == (None, "revoked")


async def test_another_link_claim_revokes_what_holds_a_value_of_the_one_before(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    """Confirmed later, the value would be used as one of the new claim: that of another account."""
    new = {"name": "SSO", "issuer": "https://sso.example.com", "audiences": ["a"], "client_id": "scopegate"}
    provider = (await api.post("/api/v1/identity-providers", json=new)).json()["id"]
    by_email = {"email": "nora@example.com"}
    bodies = ({"subject": "nora"}, by_email, by_email)
    made = []
    for fields in bodies:
        body = {"provider_id": provider, "person": {"user_name": fresh("nora")}, **fields}
        made.append((await api.post(PATH, json=body)).json()["invitation"]["id"])
    claim = (
        "UPDATE invitations SET status = 'claimed', claimed_link = 'nora', claimed_at = now() WHERE id = :id"
    )
    async with sessions() as session:
        await session.execute(text(claim), {"id": parse_id(INVITATION, made[2])})
        await session.commit()
    place = f"/api/v1/identity-providers/{provider}"
    assert (await api.patch(place, json={"people": ["staff"]})).status_code == 200
    assert [await status_of(api, id) for id in made] == ["pending", "pending", "claimed"]
    assert (await api.patch(place, json={"link_claim": "oid"})).status_code == 200
    assert [await status_of(api, id) for id in made] == ["revoked", "pending", "revoked"]


async def status_of(api: httpx2.AsyncClient, id: str) -> str:
    return str((await api.get(f"{PATH}/{id}")).json()["status"])
