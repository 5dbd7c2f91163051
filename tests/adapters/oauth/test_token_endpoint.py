"""The token endpoint speaks RFC 6749, in every refusal too."""

import base64
from typing import Any
from urllib.parse import quote_plus

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.adapters.oauth import routes
from app.domain.errors import Unavailable
from app.domain.token_format import TOKEN_NEEDED, format_credential
from app.lib.ids import SERVICE_ACCOUNT, format_id, new_id
from tests.api import Account

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def client_id(account: Account) -> str:
    return format_id(SERVICE_ACCOUNT, account.id)


def basic(id: str, secret: str) -> dict[str, str]:
    pair = f"{quote_plus(id)}:{quote_plus(secret)}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def full(account: Account, **fields: str) -> dict[str, str]:
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id(account),
        "client_secret": account.secret,
    }
    return {**form, **fields}


def check_error(answer: httpx2.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["error"] == code
    assert set(answer.json()) == {"error", "error_description"}
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize("where", ["basic", "body", "basic with the client id repeated"])
async def test_a_secret_is_traded_for_a_bearer_that_opens_the_api(
    anonymous: httpx2.AsyncClient, owner: Account, where: str
) -> None:
    form, headers = full(owner), {}
    if where != "body":
        del form["client_secret"]
        headers = basic(client_id(owner), owner.secret)
    if where == "basic":
        del form["client_id"]
    answer = await anonymous.post("/oauth/token", data=form, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    token = answer.json()
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 3600)
    assert token["access_token"].startswith("sgb_")
    me = await anonymous.get("/api/v1/me", headers={"Authorization": f"Bearer {token['access_token']}"})
    assert me.status_code == 200


async def test_a_sign_in_is_audited_without_the_secret(
    anonymous: httpx2.AsyncClient, owner: Account, sessions: async_sessionmaker[AsyncSession]
) -> None:
    await anonymous.post("/oauth/token", data=full(owner))
    async with sessions() as session:
        row = (await session.execute(text("SELECT action, actor_id, t::text FROM audit_events t"))).one()
    assert (row.action, row.actor_id) == ("service_account.sign_in", owner.id)
    assert owner.secret not in row[2]


async def test_expired_bearers_are_dropped_at_the_next_sign_in(
    anonymous: httpx2.AsyncClient, owner: Account, sessions: async_sessionmaker[AsyncSession]
) -> None:
    async with sessions() as session:
        await session.execute(text("UPDATE api_bearers SET expires_at = now() - interval '1 second'"))
        await session.commit()
    await anonymous.post("/oauth/token", data=full(owner))
    async with sessions() as session:
        assert await session.scalar(text("SELECT count(*) FROM api_bearers WHERE expires_at < now()")) == 0


@pytest.mark.parametrize(
    "way", ["wrong secret", "unknown account", "another's", "rubbish", "bearer for a secret"]
)
async def test_a_client_that_is_not_known_is_invalid_in_one_same_way(
    anonymous: httpx2.AsyncClient, owner: Account, way: str
) -> None:
    fields = {
        "wrong secret": {"client_secret": format_credential("sgc", owner.credential_id, bytes(32))},
        "unknown account": {"client_secret": format_credential("sgc", new_id(), bytes(32))},
        "another's": {"client_id": format_id(SERVICE_ACCOUNT, new_id())},
        "rubbish": {"client_id": "me", "client_secret": "please"},
        "bearer for a secret": {"client_secret": owner.bearer},
    }[way]
    answer = await anonymous.post("/oauth/token", data=full(owner, **fields))
    check_error(answer, 401, "invalid_client")
    assert answer.json()["error_description"] == "The client is unknown or its secret is not valid."


async def test_a_revoked_credential_is_invalid(
    anonymous: httpx2.AsyncClient, owner: Account, sessions: async_sessionmaker[AsyncSession]
) -> None:
    async with sessions() as session:
        await session.execute(text("UPDATE service_account_credentials SET revoked_at = now()"))
        await session.commit()
    check_error(await anonymous.post("/oauth/token", data=full(owner)), 401, "invalid_client")


BASIC_WRONG = ["Basic !!!", "Basic", "Basic bm9jb2xvbg==", "Bearer x", "Basic /w==", "Basic JWZmOiVmZg=="]


@pytest.mark.parametrize("header", BASIC_WRONG)
async def test_a_basic_header_that_cannot_be_read_is_an_invalid_client(
    anonymous: httpx2.AsyncClient, header: str
) -> None:
    answer = await anonymous.post(
        "/oauth/token", data={"grant_type": "client_credentials"}, headers={"Authorization": header}
    )
    check_error(answer, 401, "invalid_client")


async def test_no_client_at_all_is_an_invalid_client(anonymous: httpx2.AsyncClient) -> None:
    answer = await anonymous.post("/oauth/token", data={"grant_type": "client_credentials"})
    check_error(answer, 401, "invalid_client")


async def test_a_secret_in_both_places_is_an_invalid_request(
    anonymous: httpx2.AsyncClient, owner: Account
) -> None:
    headers = basic(client_id(owner), owner.secret)
    answer = await anonymous.post("/oauth/token", data=full(owner), headers=headers)
    check_error(answer, 400, "invalid_request")


async def test_two_authorization_headers_are_an_invalid_request(
    anonymous: httpx2.AsyncClient, owner: Account
) -> None:
    header = ("Authorization", basic(client_id(owner), owner.secret)["Authorization"])
    answer = await anonymous.post(
        "/oauth/token", data={"grant_type": "client_credentials"}, headers=[header, header]
    )
    check_error(answer, 400, "invalid_request")


@pytest.mark.parametrize("grant", ["password", "authorization_code", "", "client_credentials "])
async def test_other_grants_are_unsupported(
    anonymous: httpx2.AsyncClient, owner: Account, grant: str
) -> None:
    answer = await anonymous.post("/oauth/token", data=full(owner, grant_type=grant))
    check_error(answer, 400, "unsupported_grant_type")


async def test_a_missing_grant_type_and_a_scope_are_refused(
    anonymous: httpx2.AsyncClient, owner: Account
) -> None:
    form = full(owner)
    del form["grant_type"]
    check_error(await anonymous.post("/oauth/token", data=form), 400, "invalid_request")
    check_error(await anonymous.post("/oauth/token", data=full(owner, scope="all")), 400, "invalid_scope")


BAD_BODIES: dict[str, bytes] = {
    "twice": b"grant_type=client_credentials&grant_type=client_credentials&client_id=a&client_secret=b",
    "the client twice": b"grant_type=client_credentials&client_id=a&client_secret=b&client_id=c",
    "twice by an escape": b"grant_type=client_credentials&client_id=a&client_secret=b&client%5Fid=c",
    "a byte order mark": b"\xef\xbb\xbfgrant_type=client_credentials&client_id=a&client_secret=b",
    "UTF-16": "grant_type=client_credentials&client_id=a&client_secret=b".encode("utf-16"),
    "NUL": b"grant_type=client_credentials&client_id=a%00&client_secret=b",
    "not UTF-8": b"grant_type=client_credentials&client_id=%ff&client_secret=b",
    "surrogate": b"grant_type=client_credentials&client_id=%ed%a0%80&client_secret=b",
    "raw bytes": b"grant_type=client_credentials&client_id=\xff",
    "no pairs": b"grant_type",
    "empty": b"",
    "too long": b"grant_type=client_credentials&client_id=" + b"a" * 20_000,
    "many": b"&".join(b"a%d=1" % n for n in range(2_000)),
}


@pytest.mark.parametrize("kind", list(BAD_BODIES))
async def test_a_form_that_cannot_be_read_is_a_400_or_names_no_client(
    anonymous: httpx2.AsyncClient, kind: str
) -> None:
    answer = await anonymous.post("/oauth/token", content=BAD_BODIES[kind], headers=FORM)
    if kind in {"empty", "many"}:
        check_error(answer, 401, "invalid_client")
    else:
        check_error(answer, 400, "invalid_request")


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", ""])
async def test_another_media_type_is_an_invalid_request(anonymous: httpx2.AsyncClient, kind: str) -> None:
    headers: dict[str, Any] = {"Content-Type": kind}
    answer = await anonymous.post("/oauth/token", content=b"{}", headers=headers)
    check_error(answer, 400, "invalid_request")


async def test_parameters_in_the_url_are_refused_and_not_repeated(
    anonymous: httpx2.AsyncClient, owner: Account
) -> None:
    answer = await anonymous.post("/oauth/token", params=full(owner), content=b"", headers=FORM)
    check_error(answer, 400, "invalid_request")
    assert owner.secret not in answer.text


async def test_a_client_that_tries_to_register_is_answered_what_it_needs(
    anonymous: httpx2.AsyncClient,
) -> None:
    answer = await anonymous.post("/register", json={"redirect_uris": ["http://127.0.0.1:9/callback"]})
    check_error(answer, 403, "access_denied")
    assert answer.json()["error_description"] == TOKEN_NEEDED


async def test_no_authorization_server_is_advertised(anonymous: httpx2.AsyncClient) -> None:
    for document in ("oauth-authorization-server", "openid-configuration", "oauth-protected-resource"):
        for path in ("", "/mcp", "/mcp/notes"):
            answer = await anonymous.get(f"/.well-known/{document}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_database_that_cannot_serve_is_said_in_oauths_own_words(
    anonymous: httpx2.AsyncClient, owner: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Unavailable("The database cannot serve right now; repeat the request shortly.")

    monkeypatch.setattr(routes, "sign_in", away)
    answer = await anonymous.post("/oauth/token", data=full(owner))
    check_error(answer, 503, "temporarily_unavailable")
    assert answer.headers["Retry-After"] == "1"
