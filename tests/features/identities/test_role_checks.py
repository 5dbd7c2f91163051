"""A role can act on its own level and below, but not on a higher one, itself, or the last owner."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import httpx2
import pytest

from app.crypto.keys import Peppers
from app.lib.ids import ADMINISTRATOR, IDENTITY, IDENTITY_PROVIDER, KEY, SERVICE_ACCOUNT, format_id
from app.main import Scopegate
from app.models.identities import Administrator, Identity, RoleAssignment
from tests.api import Account, ApiAs, client_of, make_account
from tests.features.administrators.people import stored_provider
from tests.features.administrators.test_break_glass import HASH, PASSWORD, started
from tests.features.principals import Sessions, person
from tests.features.tokens.world import World, in_days

PATH = "/api/v1/identities"
RECEIPTS = "/api/v1/offboarding-receipts"


@pytest.fixture
async def guarded(database_url: str) -> AsyncIterator[Scopegate]:
    """The application with a break-glass password."""
    async for app in started(database_url, HASH):
        yield app


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def path_of(id: UUID) -> str:
    return f"{PATH}/{format_id(IDENTITY, id)}"


async def administrator(sessions: Sessions, role: str) -> tuple[Identity, UUID]:
    """Sign a person in with a role; return it and the administrator's id."""
    world = World(None, sessions)  # type: ignore[arg-type]
    who = await world.person()
    await world.link(who.id, {"owners": "owner"})
    row = Administrator(identity_id=who.id)
    async with sessions() as session:
        session.add(row)
        await session.flush()
        session.add(RoleAssignment(administrator_id=row.id, role=role))
        await session.commit()
        return who, row.id


async def acts_on(api: httpx2.AsyncClient, path: str) -> list[httpx2.Response]:
    """Actions on an identity, without those that only an owner may perform."""
    later = {"reason": "x", "effective_at": in_days(3)}
    external_id = (await api.get(path)).json()["external_id"]
    return [
        await api.patch(path, json={"user_name": "renamed"}),
        await api.patch(path, json={"display_name": "Renamed"}),
        await api.post(f"{path}/suspend"),
        await api.post(f"{path}/reinstate"),
        await api.post(f"{path}/offboard?dry_run=true", json={"reason": "x"}),
        await api.post(f"{path}/offboard", json=later),
        await api.post(f"{PATH}/offboard?external_id={external_id}", json={"reason": "x"}),
        await api.post(f"{path}/offboard", json={"reason": "x"}),
        await api.delete(path),
    ]


@pytest.mark.parametrize(
    ("caller", "above"), [("admin", "owner"), ("provisioner", "owner"), ("provisioner", "admin")]
)
async def test_a_lower_role_does_nothing_to_a_higher_one_however_it_is_held(
    sessions: Sessions, peppers: Peppers, api_as: ApiAs, caller: str, above: str
) -> None:
    by_sign_in, _ = await administrator(sessions, above)
    by_account = (await make_account(sessions, peppers, above)).owner_id
    world = World(await api_as(caller), sessions)
    # The owner of an agent that owns the account.
    by_agent, robot = await world.person(), await make_account(sessions, peppers, above)
    await world.sql(
        "UPDATE identities SET kind = 'agent', owner_id = :owner WHERE id = :id",
        owner=by_agent.id,
        id=robot.owner_id,
    )
    for id in (by_sign_in.id, by_account, by_agent.id, robot.owner_id):
        await world.sql("UPDATE identities SET external_id = :text WHERE id = :id", text=id.hex, id=id)
        for answer in await acts_on(world.api, path_of(id)):
            assert code(answer) == (403, "role_above_own"), answer.request.url
        assert (await world.sql("SELECT status FROM identities WHERE id = :id", id=id)) == [("active",)]


async def test_a_disabled_account_or_administrator_stays_out_of_reach_of_a_lower_role(
    sessions: Sessions, peppers: Peppers, api: httpx2.AsyncClient, api_as: ApiAs
) -> None:
    admin = await api_as("admin")
    who, administrator_id = await administrator(sessions, "owner")
    account = await make_account(sessions, peppers)
    disabled = await api.post(f"/api/v1/administrators/{format_id(ADMINISTRATOR, administrator_id)}/disable")
    assert disabled.status_code == 200
    place = f"/api/v1/service-accounts/{format_id(SERVICE_ACCOUNT, account.id)}"
    assert (await api.patch(place, json={"status": "disabled"})).status_code == 200
    for id in (who.id, account.owner_id):
        assert code(await admin.post(f"{path_of(id)}/suspend")) == (403, "role_above_own")
        assert (await api.delete(path_of(id))).status_code == 200
        # Reinstating or erasing them is not for a lower role either.
        assert code(await admin.post(f"{path_of(id)}/reinstate")) == (403, "role_above_own")
        assert (await admin.post(f"{path_of(id)}/erase")).status_code == 403
    assert (await api.delete(place)).status_code == 204
    # An ended account gives no one a role.
    assert (await admin.post(f"{path_of(account.owner_id)}/reinstate")).status_code == 200


async def test_an_owner_acts_on_owners_an_administrator_on_administrators_and_both_on_the_rest(
    sessions: Sessions, peppers: Peppers, api: httpx2.AsyncClient, api_as: ApiAs
) -> None:
    admin, provisioner = await api_as("admin"), await api_as("provisioner")
    for caller, role in ((api, "owner"), (admin, "admin"), (admin, "auditor"), (provisioner, "issuer")):
        id = (await make_account(sessions, peppers, role)).owner_id
        for verb in ("suspend", "reinstate"):
            assert (await caller.post(f"{path_of(id)}/{verb}")).status_code == 200
        assert (await caller.delete(path_of(id))).json()["changed"] is True


async def test_no_one_ends_or_renames_themselves_whichever_way_they_ask(
    app: Scopegate, sessions: Sessions, peppers: Peppers, api: httpx2.AsyncClient
) -> None:
    theirs, robot = await make_account(sessions, peppers), await make_account(sessions, peppers)
    path = path_of(theirs.owner_id)
    world = World(api, sessions)
    await world.sql(
        "UPDATE identities SET kind = 'agent', owner_id = :owner WHERE id = :id",
        owner=theirs.owner_id, id=robot.owner_id,
    )  # fmt: skip
    await world.sql("UPDATE identities SET external_id = 'E7' WHERE id = :id", id=theirs.owner_id)
    for bearer in (theirs.bearer, robot.bearer):
        async with client_of(app, bearer) as caller:
            for answer in await acts_on(caller, path):
                if answer.request.method == "PATCH" and answer.status_code == 200:
                    # They may change their own display name.
                    assert answer.json()["display_name"] == "Renamed"
                else:
                    assert code(answer) == (403, "own_account"), answer.request.url
            for field in ("email", "external_id"):
                assert code(await caller.patch(path, json={field: "a@example.com"})) == (403, "own_account")
    assert (await api.get(path)).json()["status"] == "active"


async def test_the_last_active_owner_stays_whichever_way_they_would_end(
    guarded: Scopegate, sessions: Sessions, peppers: Peppers
) -> None:
    """The break-glass administrator is an owner only for minutes, and does not count."""
    last, suspended = await make_account(sessions, peppers), await make_account(sessions, peppers)
    signed_in, administrator_id = await administrator(sessions, "owner")
    world = World(None, sessions)  # type: ignore[arg-type]
    await world.sql("UPDATE identities SET status = 'suspended' WHERE id = :id", id=suspended.owner_id)
    off = (await stored_provider(sessions)).id
    await world.sql("UPDATE identity_providers SET status = 'disabled' WHERE id = :id", id=off)
    away = {"provider_id": format_id(IDENTITY_PROVIDER, off), "kind": "oidc", "value": "ada"}
    account = f"/api/v1/service-accounts/{format_id(SERVICE_ACCOUNT, last.id)}"
    disable = f"/api/v1/administrators/{format_id(ADMINISTRATOR, administrator_id)}/disable"
    async with client_of(guarded) as door:
        opened = await door.post("/api/v1/break-glass", json={"password": PASSWORD, "reason": "a test"})
    async with client_of(guarded, opened.json()["access_token"]) as api:
        # Either one of two may go.
        assert (await api.post(disable)).status_code == 200
        for answer in (
            await api.post(f"{path_of(last.owner_id)}/suspend"),
            await api.post(f"{path_of(last.owner_id)}/offboard?dry_run=true", json={"reason": "x"}),
            await api.delete(path_of(last.owner_id)),
            await api.patch(account, json={"status": "disabled"}),
            await api.patch(account, json={"role": "admin"}),
            await api.delete(account),
            await api.delete(f"{account}/credentials/{format_id(KEY, last.credential_id)}"),
        ):
            assert code(answer) == (409, "last_owner"), answer.request.url
        assert (await api.post(disable.replace("disable", "enable"))).status_code == 200
        # A provider that is disabled or ended is no way to sign in.
        for gone in ("status = 'disabled'", "ended_at = now()"):
            await world.sql(f"UPDATE identity_providers SET {gone} WHERE id <> :off", off=off)
            assert code(await api.post(f"{path_of(last.owner_id)}/suspend")) == (409, "last_owner"), gone
            await world.sql(
                "UPDATE identity_providers SET status = 'active', ended_at = NULL WHERE id <> :off", off=off
            )
        [row] = await world.sql(
            "SELECT provider_id FROM identity_links WHERE identity_id = :id", id=signed_in.id
        )
        provider = f"/api/v1/identity-providers/{format_id(IDENTITY_PROVIDER, row.provider_id)}"
        for status in ("disabled", "active"):
            assert (await api.patch(provider, json={"status": status})).status_code == 200
        assert (await api.post(f"{path_of(last.owner_id)}/suspend")).status_code == 200
        for answer in (
            await api.post(disable),
            await api.post(f"{path_of(signed_in.id)}/suspend"),
            await api.delete(path_of(signed_in.id)),
            await api.patch(path_of(signed_in.id), json={"links": []}),
            await api.patch(path_of(signed_in.id), json={"links": [away]}),
            await api.patch(provider, json={"status": "disabled"}),
            await api.patch(provider, json={"role_map": {"owners": None}}),
            await api.patch(provider, json={"role_map": {"owners": "admin"}}),
            await api.delete(provider),
        ):
            assert code(answer) == (409, "last_owner"), answer.request.url
        assert (await api.get(provider)).json()["revision"] == 3
        another = {"role_map": {"owners": None, "heads": "owner"}}
        assert (await api.patch(provider, json=another)).status_code == 200
        # An inactive account does not count as an owner.
        assert (await api.delete(path_of(suspended.owner_id))).status_code == 200


async def test_the_last_owner_rotates_its_secret_and_does_not_lock_itself_out(
    api: httpx2.AsyncClient, owner: Account
) -> None:
    keys = f"/api/v1/service-accounts/{format_id(SERVICE_ACCOUNT, owner.id)}/credentials"
    first = f"{keys}/{format_id(KEY, owner.credential_id)}"
    assert code(await api.delete(first)) == (409, "last_owner")
    assert (await api.post(keys)).status_code == 201
    assert (await api.delete(first)).status_code == 204


async def test_two_owners_who_end_each_other_at_once_leave_one(
    app: Scopegate, sessions: Sessions, peppers: Peppers
) -> None:
    one, two = await make_account(sessions, peppers), await make_account(sessions, peppers)
    async with client_of(app, one.bearer) as first, client_of(app, two.bearer) as second:
        answers = await asyncio.gather(
            first.post(f"{path_of(two.owner_id)}/suspend"), second.post(f"{path_of(one.owner_id)}/suspend")
        )
    assert sorted(answer.status_code for answer in answers) in ([200, 401], [200, 409])


async def test_a_planned_offboarding_is_cancelled_when_its_time_finds_a_higher_role_or_the_last_owner(
    sessions: Sessions, api: httpx2.AsyncClient, api_as: ApiAs
) -> None:
    world, hr = World(api, sessions), await api_as("provisioner")
    ada = await person(api)
    set_for = await hr.post(f"{PATH}/{ada['id']}/offboard", json={"reason": "x", "effective_at": in_days(3)})
    assert set_for.json()["scheduled"]["status"] == "pending"
    given = {"name": "keys", "owner_id": ada["id"], "role": "owner"}
    assert (await api.post("/api/v1/service-accounts", json=given)).status_code == 201
    scheduled = f"/api/v1/scheduled-offboardings/{set_for.json()['scheduled']['id']}"
    assert code(await hr.delete(scheduled)) == (403, "role_above_own")
    await world.sql("UPDATE scheduled_offboardings SET effective_at = now() - interval '1 hour' RETURNING id")
    async with asyncio.timeout(50):
        while (await api.get(scheduled)).json()["status"] == "pending":
            pass
    assert (await api.get(scheduled)).json()["status"] == "cancelled"
    assert (await api.get(f"{PATH}/{ada['id']}")).json()["status"] == "active"
    because = await world.sql(
        "SELECT changes ->> 'because' FROM audit_events WHERE action = 'identity.cancel_offboarding'"
    )
    assert because == [("role_above_own",)]
