"""The control plane for tests: the real application on a database of the test's own, and clients of it.

``api`` is a client signed in as an owner; ``api_as(role)`` makes one for another role; ``sessions`` reads and
writes the same database beside it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import httpx2
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.keys import Peppers
from app.db.engine import make_engine, make_sessions
from app.db.versions import move_versions
from app.domain.token_format import CLIENT_SECRET, format_credential
from app.features.service_accounts.authenticate import digest_of, issue_bearer
from app.http.authorization import Role
from app.lib.ids import new_id
from app.models.identities import Identity, ServiceAccount, ServiceAccountCredential
from app.settings import Settings
from tests.contract.conformance import Contract

if TYPE_CHECKING:
    from app.main import Scopegate

KEY = "test-key-of-more-than-thirty-two-characters"
BASE_URL = "http://127.0.0.1:8080"

ApiAs = Callable[[Role | str], Awaitable[httpx2.AsyncClient]]


@dataclass(frozen=True, slots=True)
class Account:
    """A service account made for a test, with one live credential."""

    id: UUID
    owner_id: UUID
    credential_id: UUID
    secret: str
    bearer: str


@pytest.fixture
def peppers() -> Peppers:
    """The peppers that the application under test uses."""
    return Peppers([KEY.encode()])


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Sessions on the database of the application under test."""
    engine = make_engine(database_url, pool_size=4, name="test")
    yield make_sessions(engine)
    await engine.dispose()


async def make_account(
    sessions: async_sessionmaker[AsyncSession], peppers: Peppers, role: Role | str = Role.OWNER
) -> Account:
    """A service account with this role, owned by a person of its own, and a bearer for it."""
    async with sessions() as session:
        owner = Identity(kind="person", user_name=f"person-{uuid4().hex}", display_name="A person")
        session.add(owner)
        await session.flush()
        await move_versions(session, [owner.id], narrows=False)
        account = ServiceAccount(name=f"{role} for a test", owner_id=owner.id, role=Role(role).value)
        session.add(account)
        await session.flush()
        credential_id = new_id()
        secret = format_credential(CLIENT_SECRET, credential_id, uuid4().bytes + uuid4().bytes)
        session.add(
            ServiceAccountCredential(
                id=credential_id,
                service_account_id=account.id,
                digest=digest_of(peppers, secret, CLIENT_SECRET),
                pepper_key_id=peppers.current_id,
            )
        )
        await session.flush()
        bearer = await issue_bearer(session, peppers, credential_id)
        await session.commit()
        return Account(account.id, owner.id, credential_id, secret, bearer.text)


def client_of(app: "Scopegate", bearer: str | None = None) -> httpx2.AsyncClient:
    """A client of the application itself, without a network; anonymous without a bearer.

    Every answer that it gets has to be one that the contract promises.
    """
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    contract = contract_of(app)

    async def check(response: httpx2.Response) -> None:
        request = response.request
        if contract.knows(request.url.path):
            body = await response.aread()
            contract.check(request.method, request.url.path, response.status_code, response.headers, body)

    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app),
        base_url=BASE_URL,
        headers=headers,
        event_hooks={"response": [check]},
    )


_contracts: list[Contract] = []


def contract_of(app: "Scopegate") -> Contract:
    """The contract of the application, which is the same whatever its settings; read once in each process."""
    if not _contracts:
        _contracts.append(Contract(app.api.openapi()))
    return _contracts[0]


@pytest.fixture
async def app(database_url: str) -> AsyncIterator["Scopegate"]:
    """The real application, started, on a database of the test's own."""
    # Late: a test of one room needs no other room to be importable.
    from app.features.servers.sync import RequestedSyncs
    from app.main import create_app

    key = SecretStr(KEY)
    settings = Settings(
        database_url=SecretStr(database_url), token_pepper=key, encryption_key=key, signing_key=key
    )
    app = create_app(settings)
    async with app.api.router.lifespan_context(app.api):
        # A test whose subject is another waits for a sync, also on a busy machine.
        app.api.state.requested_syncs = RequestedSyncs(answer_s=60)
        yield app


@pytest.fixture
async def anonymous(app: "Scopegate") -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a credential."""
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def owner(sessions: async_sessionmaker[AsyncSession], peppers: Peppers) -> Account:
    """The service account behind ``api``."""
    return await make_account(sessions, peppers)


@pytest.fixture
async def api(app: "Scopegate", owner: Account) -> AsyncIterator[httpx2.AsyncClient]:
    """A client signed in as a service account with the role owner."""
    async with client_of(app, owner.bearer) as client:
        yield client


@pytest.fixture
async def api_as(
    app: "Scopegate", sessions: async_sessionmaker[AsyncSession], peppers: Peppers
) -> AsyncIterator[ApiAs]:
    """Makes clients signed in as a fresh service account with another role."""
    clients: list[httpx2.AsyncClient] = []

    async def sign_in(role: Role | str) -> httpx2.AsyncClient:
        account = await make_account(sessions, peppers, role)
        clients.append(client_of(app, account.bearer))
        return clients[-1]

    yield sign_in
    for client in clients:
        await client.aclose()
