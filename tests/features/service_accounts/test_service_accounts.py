"""Service accounts: permissions and roles; ending one ends all its credentials."""

from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.keys import Peppers
from app.db.versions import move_versions
from app.http.authorization import Role
from app.lib.ids import IDENTITY, KEY, SERVICE_ACCOUNT, TOKEN, format_id, new_id
from app.main import Scopegate
from tests.api import Account, ApiAs, client_of, make_account

PATH = "/api/v1/service-accounts"


def body(owner: Account, **fields: Any) -> dict[str, Any]:
    return {"name": "pipeline", "owner_id": format_id(IDENTITY, owner.owner_id), "role": "issuer", **fields}


async def made(api: httpx2.AsyncClient, owner: Account, **fields: Any) -> dict[str, Any]:
    answer = await api.post(PATH, json=body(owner, **fields))
    assert answer.status_code == 201, answer.text
    account: dict[str, Any] = answer.json()
    return account


async def signed_in(app: Scopegate, client_id: str, secret: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    async with client_of(app) as client:
        answer = await client.post("/oauth/token", data=form)
    assert answer.status_code == 200, answer.text
    bearer: str = answer.json()["access_token"]
    return bearer


async def test_an_account_is_made_read_listed_changed_and_ended(
    api: httpx2.AsyncClient, owner: Account
) -> None:
    answer = await api.post(PATH, json=body(owner))
    assert answer.status_code == 201
    account = answer.json()
    assert answer.headers["Location"] == f"{PATH}/{account['id']}"
    assert answer.headers["ETag"] == '"1"'
    one = f"{PATH}/{account['id']}"
    assert (await api.get(one)).json() == account
    listed = (await api.get(PATH)).json()["items"]
    assert listed[0] == account

    changed = await api.patch(one, json={"name": "builds", "role": "auditor"}, headers={"If-Match": '"1"'})
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["role"], changed.json()["revision"]) == (
        "builds",
        "auditor",
        2,
    )
    assert (await api.patch(one, json={"name": "x"}, headers={"If-Match": '"1"'})).status_code == 412

    assert (await api.delete(one)).status_code == 204
    for gone in (await api.get(one), await api.delete(one), await api.patch(one, json={"name": "x"})):
        assert gone.status_code == 404
    assert (await api.get(one, params={"include": "ended"})).json()["ended_at"] is not None
    assert account["id"] not in [item["id"] for item in (await api.get(PATH)).json()["items"]]


async def test_filters_and_pages_hold_what_they_say(api: httpx2.AsyncClient, owner: Account) -> None:
    ids = [(await made(api, owner, name=f"job 100%_{n}", role="auditor"))["id"] for n in range(3)]
    await made(api, owner, name="other")
    first = (await api.get(PATH, params={"q": "100%_", "limit": 2})).json()
    assert [item["id"] for item in first["items"]] == [ids[2], ids[1]]
    cursor = first["next_cursor"]
    rest = (await api.get(PATH, params={"q": "100%_", "limit": 2, "cursor": cursor})).json()
    assert [item["id"] for item in rest["items"]] == [ids[0]]
    assert rest["next_cursor"] is None
    foreign = await api.get(PATH, params={"q": "other", "cursor": cursor})
    assert (foreign.status_code, foreign.json()["code"]) == (400, "cursor_mismatch")
    assert len((await api.get(PATH, params={"role": ["auditor", "approver"]})).json()["items"]) == 3
    assert (await api.get(PATH, params={"owner_id": format_id(IDENTITY, new_id())})).json()["items"] == []


async def test_a_secret_signs_in_until_it_is_revoked_and_its_bearers_die_with_it(
    app: Scopegate, api: httpx2.AsyncClient, owner: Account
) -> None:
    account = await made(api, owner)
    answer = await api.post(f"{PATH}/{account['id']}/credentials")
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    issued = answer.json()
    assert issued["client_id"] == account["id"]
    assert issued["client_secret"].startswith("sgc_")
    bearer = await signed_in(app, issued["client_id"], issued["client_secret"])

    async with client_of(app, bearer) as program:
        assert (await program.get("/api/v1/me")).json()["role"] == "issuer"
        credential = f"{PATH}/{account['id']}/credentials/{issued['credential']['id']}"
        assert (await api.delete(credential)).status_code == 204
        assert (await program.get("/api/v1/me")).status_code == 401
    assert (await api.delete(credential)).status_code == 404
    listed = (await api.get(f"{PATH}/{account['id']}/credentials")).json()["items"]
    assert [item["revoked_at"] is not None for item in listed] == [True]
    assert "secret" not in str(listed)


async def test_no_secret_is_readable_in_the_database(
    api: httpx2.AsyncClient, owner: Account, sessions: async_sessionmaker[AsyncSession]
) -> None:
    account = await made(api, owner)
    secret = (await api.post(f"{PATH}/{account['id']}/credentials")).json()["client_secret"]
    async with sessions() as session:
        for table in ("service_account_credentials", "api_bearers", "audit_events"):
            rows = await session.execute(text(f"SELECT t::text FROM {table} t"))
            dump = "".join(row[0] for row in rows)
            assert secret.split("_")[2] not in dump
            assert owner.bearer.split("_")[2] not in dump


async def test_no_one_changes_or_ends_their_own_account(api: httpx2.AsyncClient, owner: Account) -> None:
    own = f"{PATH}/{format_id(SERVICE_ACCOUNT, owner.id)}"
    for answer in (
        await api.patch(own, json={"role": "admin"}),
        await api.patch(own, json={"status": "disabled"}),
        await api.delete(own),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "own_account")
    assert (await api.patch(own, json={"name": "renamed", "role": "owner"})).status_code == 200
    assert (await api.post(f"{own}/credentials")).status_code == 201


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
async def test_only_an_owner_makes_or_arms_accounts(
    api: httpx2.AsyncClient, api_as: ApiAs, owner: Account, role: Role
) -> None:
    account = await made(api, owner)
    other = await api_as(role)
    one = f"{PATH}/{account['id']}"
    answers = [
        await other.post(PATH, json=body(owner, role="owner")),
        await other.post(PATH, json=body(owner, role=role.value)),
        await other.patch(one, json={"role": "owner"}),
        await other.post(f"{one}/credentials"),
        await other.delete(one),
    ]
    assert [answer.status_code for answer in answers] == [403] * 5
    assert "service_accounts.write" in answers[0].json()["detail"]


@pytest.mark.parametrize("status", ["suspended", "offboarded"])
async def test_the_owner_must_be_an_active_identity(
    api: httpx2.AsyncClient, owner: Account, sessions: async_sessionmaker[AsyncSession], status: str
) -> None:
    account = await made(api, owner)
    async with sessions() as session:
        person = (
            await session.execute(
                text(
                    "INSERT INTO identities (id, kind, user_name, status)"
                    " VALUES (gen_random_uuid(), 'person', 'gone', :status) RETURNING id"
                ),
                {"status": status},
            )
        ).scalar_one()
        await session.commit()
    for id in (person, new_id()):
        owner_id = format_id(IDENTITY, id)
        answers = [
            await api.post(PATH, json=body(owner, owner_id=owner_id)),
            await api.patch(f"{PATH}/{account['id']}", json={"owner_id": owner_id}),
        ]
        for answer in answers:
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["pointer"] == "/owner_id"


async def test_a_new_owner_brings_a_flagged_account_back(
    app: Scopegate, api: httpx2.AsyncClient, owner: Account, sessions: async_sessionmaker[AsyncSession]
) -> None:
    account = await made(api, owner)
    issued = (await api.post(f"{PATH}/{account['id']}/credentials")).json()
    bearer = await signed_in(app, issued["client_id"], issued["client_secret"])
    async with sessions() as session:
        await session.execute(
            text("UPDATE service_accounts SET owner_offboarded = true WHERE name = 'pipeline'")
        )
        await session.commit()
    async with client_of(app, bearer) as program:
        assert (await program.get("/api/v1/me")).status_code == 401
        answer = await api.patch(
            f"{PATH}/{account['id']}", json={"owner_id": format_id(IDENTITY, owner.owner_id)}
        )
        assert answer.json()["owner_offboarded"] is False
        assert (await program.get("/api/v1/me")).status_code == 200


BAD: dict[str, dict[str, Any]] = {
    "unknown field": {"colour": "red"},
    "unknown role": {"role": "emperor"},
    "empty name": {"name": ""},
    "long name": {"name": "x" * 201},
    "number for a name": {"name": 7},
    "id of another kind": {"owner_id": format_id(TOKEN, new_id())},
    "malformed id": {"owner_id": "idn_x"},
}


@pytest.mark.parametrize("kind", list(BAD))
async def test_bad_input_is_a_422_that_names_the_field(
    api: httpx2.AsyncClient, owner: Account, kind: str
) -> None:
    answer = await api.post(PATH, json=body(owner, **BAD[kind]))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/" + next(iter(BAD[kind]))


async def test_a_null_in_a_patch_and_a_lone_surrogate_are_refused(
    api: httpx2.AsyncClient, owner: Account
) -> None:
    account = await made(api, owner)
    one = f"{PATH}/{account['id']}"
    assert (await api.patch(one, json={"name": None})).status_code == 422
    surrogate = await api.patch(
        one, content=b'{"name": "\\ud800"}', headers={"Content-Type": "application/json"}
    )
    assert surrogate.status_code in {400, 422}
    missing = f"{one}/credentials/{format_id(KEY, new_id())}"
    assert (await api.delete(missing)).status_code == 404


async def test_every_change_is_audited_without_secrets(
    api: httpx2.AsyncClient, owner: Account, sessions: async_sessionmaker[AsyncSession]
) -> None:
    account = await made(api, owner)
    issued = (await api.post(f"{PATH}/{account['id']}/credentials")).json()
    await api.patch(f"{PATH}/{account['id']}", json={"role": "auditor"})
    await api.delete(f"{PATH}/{account['id']}/credentials/{issued['credential']['id']}")
    await api.delete(f"{PATH}/{account['id']}")
    async with sessions() as session:
        rows = (
            await session.execute(
                text("SELECT action, actor_id, changes::text FROM audit_events ORDER BY epoch, xact, seq")
            )
        ).all()
    assert [row.action for row in rows] == [
        "service_account.create",
        "service_account.credential_create",
        "service_account.update",
        "service_account.credential_revoke",
        "service_account.delete",
    ]
    assert {row.actor_id for row in rows} == {owner.id}
    assert issued["client_secret"] not in str(rows)


@pytest.mark.parametrize("agent", [False, True], ids=["a person answers", "an agent answers"])
async def test_an_account_sleeps_while_whoever_answers_for_it_is_suspended(
    api: httpx2.AsyncClient,
    app: Scopegate,
    sessions: async_sessionmaker[AsyncSession],
    peppers: Peppers,
    agent: bool,
) -> None:
    account = await make_account(sessions, peppers, "auditor")
    person = account.owner_id
    if agent:
        person = new_id()
        async with sessions() as session:
            await session.execute(
                text("INSERT INTO identities (id, kind, user_name) VALUES (:id, 'person', 'answers')"),
                {"id": person},
            )
            await session.execute(
                text("UPDATE identities SET kind = 'agent', owner_id = :person WHERE id = :id"),
                {"person": person, "id": account.owner_id},
            )
            await move_versions(session, [person], narrows=False)
            await session.commit()
    path = f"/api/v1/identities/{format_id(IDENTITY, person)}"
    async with client_of(app, account.bearer) as client:
        assert (await client.get("/api/v1/me")).status_code == 200
        assert (await api.post(f"{path}/suspend")).status_code == 200
        assert (await client.get("/api/v1/me")).status_code == 401
        assert (await api.post(f"{path}/reinstate")).status_code == 200
        assert (await client.get("/api/v1/me")).status_code == 200
