"""The application with a provider to sign in at, browsers, and an organisation in which a call waits."""

from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
from playwright.async_api import Browser
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.features.servers.sync import RequestedSyncs
from app.main import Scopegate
from tests.adapters.console.provider import CLIENT, SECRET, SigningProvider, signing_provider
from tests.adapters.oidc.test_sign_in import settings_for, started
from tests.api import client_of
from tests.chromium import chromium
from tests.features.approvals.desk import Desk
from tests.features.tokens.world import World

NewBrowser = Callable[[], httpx2.AsyncClient]


@pytest.fixture
async def provider() -> AsyncIterator[SigningProvider]:
    async with signing_provider() as it:
        yield it


@pytest.fixture
async def app(database_url: str, provider: SigningProvider) -> AsyncIterator[Scopegate]:
    """The application, whose pages people sign in to at ``provider``."""
    more = {
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SecretStr(SECRET),
        "oidc_role_map": {
            "admins": "admin",
            "auditors": "auditor",
            "approvers": "approver",
            "issuers": "issuer",
            "owners": "owner",
            "provisioners": "provisioner",
        },
    }
    async with started(settings_for(database_url, provider, **more)) as app:
        # A test waits for a sync, also on a busy machine.
        app.api.state.requested_syncs = RequestedSyncs(answer_s=60)
        yield app


@pytest.fixture
async def new_browser(app: Scopegate) -> AsyncIterator[NewBrowser]:
    """Makes browsers: clients that keep cookies and follow nothing."""
    made: list[httpx2.AsyncClient] = []

    def make() -> httpx2.AsyncClient:
        made.append(client_of(app))
        made[-1].headers["Origin"] = str(made[-1].base_url).rstrip("/")
        return made[-1]

    yield make
    for browser in made:
        await browser.aclose()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium, as the machine has it."""
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def desk(api: httpx2.AsyncClient, sessions: async_sessionmaker[AsyncSession]) -> Desk:
    """An organisation in which a call of Ada's agent waits for Grace; both sign in by their names."""

    def nobody(caller: object) -> httpx2.AsyncClient:
        raise AssertionError("people sign in with a browser here")

    desk = await Desk(World(api, sessions), nobody).furnish()
    for name, person in (("ada", desk.ada), ("grace", desk.grace)):
        await desk.world.sql(
            "INSERT INTO identity_links (id, identity_id, provider_id, kind, value) "
            "SELECT gen_random_uuid(), :person, id, 'oidc', :name FROM identity_providers RETURNING id",
            person=person.id,
            name=name,
        )
    return desk
