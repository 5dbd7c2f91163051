"""``/me`` returns the caller's permissions, and only accepts a live bearer token."""

from collections.abc import Callable

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.domain.token_format import format_credential
from app.http.authorization import ROLE_PERMISSIONS, Role
from app.lib.ids import IDENTITY, SERVICE_ACCOUNT, format_id, new_id
from tests.api import Account, ApiAs


async def test_an_owner_sees_who_they_are(api: httpx2.AsyncClient, owner: Account) -> None:
    answer = await api.get("/api/v1/me")
    assert answer.status_code == 200
    me = answer.json()
    assert me["id"] == format_id(SERVICE_ACCOUNT, owner.id)
    assert me["identity_id"] == format_id(IDENTITY, owner.owner_id)
    assert me["role"] == "owner"
    assert me["permissions"] == sorted(ROLE_PERMISSIONS[Role.OWNER])


@pytest.mark.parametrize("role", list(Role))
async def test_every_role_sees_its_own_permissions(api_as: ApiAs, role: Role) -> None:
    me = (await (await api_as(role)).get("/api/v1/me")).json()
    assert me["role"] == role
    assert me["permissions"] == sorted(ROLE_PERMISSIONS[role])


Header = Callable[[Account], list[tuple[str, str]]]
REFUSED: dict[str, Header] = {
    "none": lambda account: [],
    "empty": lambda account: [("Authorization", "")],
    "another scheme": lambda account: [("Authorization", f"Basic {account.bearer}")],
    "no token": lambda account: [("Authorization", "Bearer ")],
    "malformed": lambda account: [("Authorization", "Bearer malformed")],
    "cut": lambda account: [("Authorization", f"Bearer {account.bearer[:-1]}")],
    "unknown id": lambda account: [
        ("Authorization", "Bearer " + format_credential("sgb", new_id(), bytes(32)))
    ],
    "client secret": lambda account: [("Authorization", f"Bearer {account.secret}")],
    "scoped token": lambda account: [
        ("Authorization", "Bearer " + format_credential("sgt", new_id(), bytes(32)))
    ],
    "cookie": lambda account: [("Cookie", f"access_token={account.bearer}")],
}


@pytest.mark.parametrize("kind", list(REFUSED))
async def test_whatever_is_not_a_live_bearer_gets_one_same_401(
    anonymous: httpx2.AsyncClient, owner: Account, kind: str
) -> None:
    answer = await anonymous.get("/api/v1/me", headers=REFUSED[kind](owner))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    body = answer.json()
    assert body["code"] == "unauthenticated"
    assert body["detail"].startswith("The API needs a valid credential")


async def test_a_wrong_secret_under_a_known_id_is_refused(
    anonymous: httpx2.AsyncClient, owner: Account
) -> None:
    from app.domain.token_format import parse_credential

    known = parse_credential(owner.bearer, "sgb")
    assert known is not None
    forged = format_credential("sgb", known.id, bytes(32))
    answer = await anonymous.get("/api/v1/me", headers={"Authorization": f"Bearer {forged}"})
    assert answer.status_code == 401


async def test_a_non_ascii_bearer_is_refused(anonymous: httpx2.AsyncClient) -> None:
    answer = await anonymous.get("/api/v1/me", headers=[(b"Authorization", "Bearer sgb_é".encode())])
    assert answer.status_code == 401


async def test_a_bearer_in_the_query_string_is_refused(anonymous: httpx2.AsyncClient, owner: Account) -> None:
    answer = await anonymous.get("/api/v1/me", params={"access_token": owner.bearer})
    assert answer.status_code == 401
    assert owner.bearer not in answer.text


async def test_two_authorization_headers_are_malformed(anonymous: httpx2.AsyncClient, owner: Account) -> None:
    header = ("Authorization", f"Bearer {owner.bearer}")
    answer = await anonymous.get("/api/v1/me", headers=[header, header])
    assert answer.status_code == 400


ENDINGS = {
    "credential revoked": "UPDATE service_account_credentials SET revoked_at = now()",
    "bearer expired": "UPDATE api_bearers SET expires_at = now() - interval '1 second'",
    "account disabled": "UPDATE service_accounts SET status = 'disabled'",
    "account ended": "UPDATE service_accounts SET ended_at = now()",
    "account flagged": "UPDATE service_accounts SET owner_offboarded = true",
    "owner offboarded": "UPDATE identities SET status = 'offboarded'",
}


@pytest.mark.parametrize("ending", list(ENDINGS))
async def test_a_bearer_dies_at_once_with_what_it_rests_on(
    api: httpx2.AsyncClient, sessions: async_sessionmaker[AsyncSession], ending: str
) -> None:
    assert (await api.get("/api/v1/me")).status_code == 200
    async with sessions() as session:
        await session.execute(text(ENDINGS[ending]))
        await session.commit()
    assert (await api.get("/api/v1/me")).status_code == 401
