"""How much a caller may ask, how often an address may fail, and what answers say of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx2
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.keys import Peppers
from app.lib.ids import SERVICE_ACCOUNT, format_id
from app.main import Scopegate, create_app
from app.settings import Settings
from tests.api import BASE_URL, KEY, client_of, make_account

Sessions = async_sessionmaker[AsyncSession]
Limited = Callable[..., AbstractAsyncContextManager[Scopegate]]
ME = "/api/v1/me"


@pytest.fixture
def limited(database_url: str) -> Limited:
    """Starts the application with limits of a test's own."""

    @asynccontextmanager
    async def start(*, requests: int = 0, failures: int = 0) -> AsyncIterator[Scopegate]:
        key = SecretStr(KEY)
        app = create_app(
            Settings(
                database_url=SecretStr(database_url),
                token_pepper=key,
                encryption_key=key,
                signing_key=key,
                limit_requests=requests,
                limit_failed_sign_ins=failures,
            )
        )
        async with app.api.router.lifespan_context(app.api):
            yield app

    return start


def from_address(app: Scopegate, address: str, bearer: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app, client=(address, 50_000))
    headers = {"Authorization": f"Bearer {bearer}"}
    return httpx2.AsyncClient(transport=transport, base_url=BASE_URL, headers=headers)


async def test_past_its_requests_a_caller_waits_and_others_do_not(
    limited: Limited, sessions: Sessions, peppers: Peppers
) -> None:
    busy, other = await make_account(sessions, peppers), await make_account(sessions, peppers)
    async with limited(requests=3) as app, client_of(app, busy.bearer) as api:
        answers = [await api.get(ME) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        left = [answer.headers["RateLimit"].partition(";t=")[0] for answer in answers]
        assert left == [f'"requests";r={count}' for count in (2, 1, 0, 0)]
        assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"requests";q=3;w=60'}
        assert answers[3].json()["code"] == "rate_limited"
        assert 1 <= int(answers[3].headers["Retry-After"]) <= 60
        async with client_of(app, other.bearer) as calm:
            assert (await calm.get(ME)).status_code == 200


async def test_a_problem_tells_the_standing_too(
    limited: Limited, sessions: Sessions, peppers: Peppers
) -> None:
    account = await make_account(sessions, peppers, "auditor")
    async with limited(requests=3) as app, client_of(app, account.bearer) as api:
        answer = await api.post("/api/v1/groups", json={"name": "x"})
        assert answer.status_code == 403
        assert answer.headers["RateLimit"].startswith('"requests";r=2;')


async def test_without_limits_nothing_is_said(limited: Limited, sessions: Sessions, peppers: Peppers) -> None:
    account = await make_account(sessions, peppers)
    async with limited() as app, client_of(app, account.bearer) as api:
        assert "RateLimit" not in (await api.get(ME)).headers


async def test_an_address_that_keeps_failing_waits_and_what_worked_before_goes_on(
    limited: Limited, sessions: Sessions, peppers: Peppers
) -> None:
    known, late = await make_account(sessions, peppers), await make_account(sessions, peppers)
    wrong = known.bearer[:-1] + ("A" if known.bearer[-1] != "A" else "B")
    async with (
        limited(failures=2) as app,
        from_address(app, "192.0.2.1", known.bearer) as good,
        from_address(app, "192.0.2.1", wrong) as bad,
        from_address(app, "192.0.2.1", late.bearer) as newcomer,
        from_address(app, "192.0.2.2", late.bearer) as elsewhere,
    ):
        assert (await good.get(ME)).status_code == 200
        assert [(await bad.get(ME)).status_code for _ in range(3)] == [401, 401, 429]
        held = await newcomer.get(ME)
        assert held.status_code == 429
        assert int(held.headers["Retry-After"]) >= 1
        assert held.headers["RateLimit"].startswith('"failed-sign-ins";r=0;')
        assert (await good.get(ME)).status_code == 200
        assert (await elsewhere.get(ME)).status_code == 200


async def test_a_credential_that_was_revoked_is_held_back_like_any_other(
    limited: Limited, sessions: Sessions, peppers: Peppers
) -> None:
    account = await make_account(sessions, peppers)
    async with limited(failures=1) as app, client_of(app, account.bearer) as api:
        assert (await api.get(ME)).status_code == 200
        async with sessions() as session:
            await session.execute(text("UPDATE service_account_credentials SET revoked_at = now()"))
            await session.commit()
        assert [(await api.get(ME)).status_code for _ in range(2)] == [401, 429]


async def test_the_token_endpoint_counts_with_it(
    limited: Limited, sessions: Sessions, peppers: Peppers
) -> None:
    account = await make_account(sessions, peppers)
    async with limited(failures=2) as app, client_of(app) as api:

        async def sign_in(secret: str) -> httpx2.Response:
            form = {"grant_type": "client_credentials", "client_secret": secret}
            form["client_id"] = format_id(SERVICE_ACCOUNT, account.id)
            return await api.post("/oauth/token", data=form)

        assert (await sign_in(account.secret)).status_code == 200
        answers = [await sign_in("sgc_wrong") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [401, 401, 429]
        assert answers[2].json()["error"] == "temporarily_unavailable"
        assert answers[2].headers["Retry-After"]
        assert (await sign_in(account.secret)).status_code == 200
        bearer = {"Authorization": "Bearer sgb_wrong"}
        assert (await api.get(ME, headers=bearer)).status_code == 429


async def test_a_request_without_a_credential_is_never_held_back(limited: Limited) -> None:
    async with limited(failures=1) as app, client_of(app) as api:
        assert [(await api.get(ME)).status_code for _ in range(3)] == [401, 401, 401]


async def test_what_was_refused_is_in_the_audit_trail_counted_by_source(
    limited: Limited, sessions: Sessions
) -> None:
    async with limited() as app, from_address(app, "192.0.2.9", "sgb_wrong") as api:
        for number in range(3):
            await api.get(ME, headers={"User-Agent": f"guesser {number}"})
    # Stopping writes what was counted.
    async with sessions() as session:
        rows = await session.execute(
            text(
                "SELECT event.reason_code, event.decision, event.event_count, client.ip, client.user_agent "
                "FROM audit_events event JOIN audit_clients client ON client.id = event.client_id "
                "WHERE event.action = 'credential.refused'"
            )
        )
        assert [tuple(row) for row in rows] == [("api_credential_refused", "deny", 3, "192.0.2.9", None)]
        # A stranger's rows are as many as their addresses, whatever they call themselves.
        assert (await session.execute(text("SELECT count(*) FROM audit_clients"))).scalar_one() == 1
