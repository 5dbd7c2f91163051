"""A receipt lists by id all that one offboarding ended; anyone can verify it, and it outlives an erasure."""

import json
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from joserfc.jwk import KeySet
from joserfc.jws import deserialize_compact

from app.crypto.signing import verify
from app.lib.ids import ADMINISTRATOR, APPROVAL, GRANT, GROUP, IDENTITY, SERVICE_ACCOUNT, format_id, new_id
from app.models.access import Approval, Grant
from app.models.identities import Administrator, BrowserSession, Group, GroupMember, Identity, ServiceAccount
from app.models.identity_providers import IdentityProvider
from tests.api import Account, ApiAs
from tests.features.tokens.world import World

RECEIPTS = "/api/v1/offboarding-receipts"
ALL = {"kind": "all"}
TYPE = "scopegate-receipt+jwt"


async def receipt_of(world: World, answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found = await world.api.get(f"{RECEIPTS}/{answer.json()['receipt_id']}")
    assert found.status_code == 200, found.text
    body: dict[str, Any] = found.json()
    return body


async def signed_content(world: World, receipt: dict[str, Any]) -> dict[str, Any]:
    keys = (await world.api.get("/.well-known/jwks.json", headers={"Authorization": ""})).json()["keys"]
    return verify(receipt["signed"], keys, type=TYPE)[0]


async def test_all_that_ended_is_on_the_receipt_and_signed(world: World, owner: Account) -> None:
    person = await world.person(
        user_name="ada.lovelace", display_name="Ada Lovelace", email="ada@example.com"
    )
    agent = await world.agent(person)
    group = Group(name="Engineers of Ada Lovelace")
    grant = Grant(
        identity_id=person.id, servers=ALL, tools=ALL, resources=True, prompts=True, reason="Ada asked"
    )
    account = ServiceAccount(name="ada's deploy", owner_id=person.id, role="issuer")
    administrator, approval = (
        Administrator(identity_id=person.id),
        Approval(kind="access", identity_id=person.id),
    )
    await world.add(group, grant)
    await world.add(
        GroupMember(group_id=group.id, identity_id=person.id),
        account,
        administrator,
        approval,
        versioned=False,
    )
    provider = IdentityProvider(name="login", issuer="https://login.example.com")
    await world.add(provider, versioned=False)
    await world.add(browser_of(person, provider), versioned=False)
    own, agents = await world.issue(person, name="Ada's laptop"), await world.issue(agent)
    answer = await world.api.post(
        f"/api/v1/identities/{format_id(IDENTITY, person.id)}/offboard",
        json={"reason": "Ada Lovelace left"},
        headers={"X-Request-ID": "hr-4711"},
    )
    receipt = await receipt_of(world, answer)
    content = dict(receipt["receipt"])
    at, id = content.pop("offboarded_at"), format_id(IDENTITY, person.id)
    assert content == {
        "identity_id": id,
        "kind": "person",
        "via": "api",
        "by": {
            "type": "service_account",
            "id": format_id(SERVICE_ACCOUNT, owner.id),
            "on_behalf_of": format_id(IDENTITY, owner.owner_id),
        },
        "request_id": "hr-4711",
        "schedule": None,
        "tokens": [
            {"id": own["id"], "identity_id": id},
            {"id": agents["id"], "identity_id": format_id(IDENTITY, agent.id)},
        ],
        "agents": {
            "suspended": [format_id(IDENTITY, agent.id)],
            "transferred": [],
            "transferred_to": None,
            "heir_not_active": None,
        },
        "approvals": [format_id(APPROVAL, approval.id)],
        "grants": [format_id(GRANT, grant.id)],
        "groups": [format_id(GROUP, group.id)],
        "service_accounts": [format_id(SERVICE_ACCOUNT, account.id)],
        "administrator_id": format_id(ADMINISTRATOR, administrator.id),
        "browser_sessions": 1,
        "in_flight": 0,
    }
    assert answer.json()["identity"]["offboarded_at"] == at
    signed = await signed_content(world, receipt)
    assert signed["receipt"] == content | {"offboarded_at": at}
    assert (signed["jti"], signed["sub"], signed["iss"]) == (receipt["id"], id, "http://127.0.0.1:8080")
    # No personal data, so that it can be kept after an erasure. No id has such letters.
    text = json.dumps(signed).lower()
    assert not [word for word in ("lovelace", "deploy", "engineers", "laptop", "left") if word in text]

    erased = await world.api.post(f"/api/v1/identities/{id}/erase")
    assert erased.status_code == 200, erased.text
    after = await receipt_of(world, answer)
    assert after == receipt | {"reason": None}
    assert receipt["reason"] == "Ada Lovelace left"
    assert await signed_content(world, after) == signed


def browser_of(person: Identity, provider: IdentityProvider) -> BrowserSession:
    return BrowserSession(
        digest=b"d",
        pepper_key_id="k",
        identity_id=person.id,
        provider_id=provider.id,
        link="ada",
        subject="ada",
        id_token=b"t",
        seen_at=datetime.now(UTC),
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )


async def test_receipts_are_listed_by_identity_and_older_ones_say_that_they_are_not_signed(
    world: World, api_as: ApiAs
) -> None:
    first, second, heir = await world.person(), await world.person(), await world.person()
    agent = await world.agent(first)
    ids = []
    for person in (first, second):
        answer = await world.api.post(
            f"/api/v1/identities/{format_id(IDENTITY, person.id)}/offboard",
            json={"reason": "left", "transfer_agents_to": format_id(IDENTITY, heir.id)},
        )
        ids.append(answer.json()["receipt_id"])
        if person is first:
            handed_over = {"to": format_id(IDENTITY, heir.id), "agents": [format_id(IDENTITY, agent.id)]}
            assert answer.json()["transferred"] == handed_over
            agents = (await receipt_of(world, answer))["receipt"]["agents"]
            assert (agents["transferred"], agents["transferred_to"]) == (
                handed_over["agents"],
                handed_over["to"],
            )
    everything = await world.api.get(RECEIPTS, params={"limit": 1})
    assert [one["id"] for one in everything.json()["items"]] == ids[1:]
    rest = await world.api.get(RECEIPTS, params={"limit": 1, "cursor": everything.json()["next_cursor"]})
    assert [one["id"] for one in rest.json()["items"]] == ids[:1]
    of_one = await world.api.get(RECEIPTS, params={"identity_id": format_id(IDENTITY, first.id)})
    assert [one["id"] for one in of_one.json()["items"]] == ids[:1]
    # As an older version wrote it.
    await world.sql(
        "UPDATE offboarding_receipts SET signed = NULL, key_id = NULL, body = body - 'receipt' WHERE identity_id = :id",
        id=first.id,
    )
    old = (await world.api.get(f"{RECEIPTS}/{ids[0]}")).json()
    assert (old["receipt"], old["signed"], old["key_id"]) == (None, None, None)
    again = await world.api.post(
        f"/api/v1/identities/{format_id(IDENTITY, first.id)}/offboard", json={"reason": "again"}
    )
    assert (again.json()["changed"], again.json()["receipt_id"]) == (False, ids[0])
    assert (await world.api.get(f"{RECEIPTS}/{format_id('evt', new_id())}")).status_code == 404
    for role, expected in (("provisioner", 200), ("auditor", 200)):
        assert (await (await api_as(role)).get(RECEIPTS)).status_code == expected


async def test_the_public_keys_are_open_to_all_and_read_by_others_libraries(
    world: World, anonymous: httpx2.AsyncClient
) -> None:
    person = await world.person()
    answer = await world.api.delete(f"/api/v1/identities/{format_id(IDENTITY, person.id)}")
    receipt = await receipt_of(world, answer)
    keys = await anonymous.get("/.well-known/jwks.json")
    assert keys.headers["Cache-Control"] == "public, max-age=300"
    key_set = KeySet.import_key_set(keys.json())
    with warnings.catch_warnings(action="ignore"):
        read = deserialize_compact(receipt["signed"], key_set, algorithms=["EdDSA"])
    assert json.loads(read.payload)["jti"] == receipt["id"]
    assert [key["kid"] for key in keys.json()["keys"]] == [receipt["key_id"]]


async def test_one_that_a_later_version_has_made_is_shown_as_far_as_it_is_known(world: World) -> None:
    """While versions run at the same time, or after a downgrade."""
    person = await world.person()
    path = f"/api/v1/identities/{format_id(IDENTITY, person.id)}"
    answer = await world.api.delete(path)
    before = await receipt_of(world, answer)
    await world.sql(
        "UPDATE offboarding_receipts SET body = jsonb_set(jsonb_set(body, '{receipt,more}', '[]'),"
        " '{revoked,more}', '[]') WHERE identity_id = :id",
        id=person.id,
    )
    after = await receipt_of(world, answer)
    assert before["receipt"] is not None
    assert after == before | {"receipt": None}
    assert (await world.api.get(RECEIPTS)).json()["items"] == [after]
    again = await world.api.delete(path)
    assert (again.status_code, again.json()["revoked"]) == (200, answer.json()["revoked"])
