"""The real application with one provider whose transmitter is a test's own, and the people of that provider."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from uuid import UUID, uuid4

import httpx2
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.keys import Peppers
from app.lib.ids import IDENTITY, IDENTITY_PROVIDER, SERVICE_ACCOUNT, format_id, new_id, parse_id
from app.main import Scopegate, create_app
from app.models.identities import BrowserSession, Identity, IdentityLink
from app.settings import Settings
from tests.adapters.ssf.transmitter import Transmitter
from tests.api import KEY, Account, client_of, make_account

Json = dict[str, Any]
Sessions = async_sessionmaker[AsyncSession]
OIDC_ISSUER = "https://sso.example.com"
EVENT_TOKEN = {"Content-Type": "application/secevent+jwt"}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, and their token."""

    id: str
    name: str
    token: str

    @property
    def uuid(self) -> UUID:
        return parse_id(IDENTITY, self.id)


@dataclass
class World:
    """The application, its owner's client, the provider with its signals, and whoever may push for it."""

    app: Scopegate
    api: httpx2.AsyncClient
    sessions: Sessions
    transmitter: Transmitter
    provider: str
    account: Account

    @property
    def path(self) -> str:
        """Where the stream of the provider is managed."""
        return f"/api/v1/identity-providers/{self.provider}/signals"

    @property
    def provider_id(self) -> UUID:
        return parse_id(IDENTITY_PROVIDER, self.provider)

    async def push(self, event: str | bytes, secret: str | None = None, **headers: str) -> httpx2.Response:
        """Push an event token as the transmitter does."""
        sent = EVENT_TOKEN | {"Authorization": f"Bearer {secret or self.account.secret}"} | headers
        return await self.api.post("/ssf/events", content=event, headers=sent)

    async def person(self, *links: tuple[str, str], owned: bool = False, **fields: Any) -> Person:
        """Somebody with links of these kinds at the provider, or whom it owns, and a token of theirs."""
        name = f"p-{uuid4().hex[:12]}"
        made = await self.made("/api/v1/identities", {"kind": "person", "user_name": name, **fields})
        id = parse_id(IDENTITY, made["id"])
        async with self.sessions() as session:
            for kind, value in links:
                session.add(
                    IdentityLink(identity_id=id, provider_id=self.provider_id, kind=kind, value=value)
                )
            if owned:
                (await session.get_one(Identity, id)).provider_id = self.provider_id
            await session.commit()
        return Person(made["id"], made["user_name"], await self.token(made["id"]))

    async def token(self, identity: str, **fields: Any) -> str:
        """A token of an identity; its id."""
        # As late as its parent's at most, if it has one.
        expires_at = (datetime.now(UTC) + timedelta(hours=12 if fields else 24)).isoformat()
        body = {
            "identity_id": identity,
            "name": "laptop",
            "scope": {"kind": "grants"},
            "expires_at": expires_at,
        }
        return str((await self.made("/api/v1/tokens", body | fields))["token"]["id"])

    async def browser(self, person: Person, sid: str | None = None, subject: str | None = None) -> UUID:
        """A browser that somebody is signed in with; the session's id."""
        now = datetime.now(UTC)
        row = BrowserSession(
            id=new_id(),
            digest=b"x" * 32,
            pepper_key_id="x",
            identity_id=person.uuid,
            provider_id=self.provider_id,
            link="x",
            subject=subject or uuid4().hex,
            provider_session=sid,
            role_values=[],
            id_token=b"x",
            seen_at=now,
            expires_at=now + timedelta(hours=1),
        )
        async with self.sessions() as session:
            session.add(row)
            await session.commit()
        return row.id

    async def browsers(self) -> set[UUID]:
        """Who is signed in."""
        return {row.id for row in await self.rows("SELECT id FROM browser_sessions")}

    async def made(self, path: str, body: Json) -> Json:
        """POST what makes something."""
        answer = await self.api.post(path, json=body)
        assert answer.status_code == 201, answer.text
        found: Json = answer.json()
        return found

    async def status(self, token: str) -> str:
        """How a token stands."""
        return str((await self.api.get(f"/api/v1/tokens/{token}")).json()["status"])

    async def standing(self, person: Person) -> str:
        """How an identity stands."""
        return str((await self.api.get(f"/api/v1/identities/{person.id}")).json()["status"])

    async def rows(self, query: str, **values: Any) -> list[Any]:
        async with self.sessions() as session:
            return list(await session.execute(text(query), values))

    async def recorded(self, *actions: str) -> list[Any]:
        """Events of these actions, in the order of their commits."""
        return await self.rows(
            "SELECT * FROM audit_events WHERE action = ANY(:actions) ORDER BY xact, seq",
            actions=list(actions),
        )

    async def last(self) -> Json:
        """What the last event that was received did, as it is on record."""
        changes: Json = (await self.recorded("signal.received"))[-1].changes
        return changes

    async def manage(
        self, method: str, path: str = "", body: Json | None = None, **headers: str
    ) -> httpx2.Response:
        """Ask for the management of the stream."""
        return await self.api.request(method, self.path + path, json=body, headers=headers)


@asynccontextmanager
async def world_of(
    database_url: str, sessions: Sessions, transmitter: Transmitter, **signals: Any
) -> AsyncIterator[World]:
    """Start it, with the provider's settings as they should be but for ``signals``."""
    key, peppers = SecretStr(KEY), Peppers([KEY.encode()])
    settings = Settings(
        database_url=SecretStr(database_url),
        token_pepper=key,
        encryption_key=key,
        signing_key=key,
        upstream_allowed_networks=(ip_network("127.0.0.1/32"),),
    )
    app = create_app(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.api.router.lifespan_context(app.api))
        owner = await make_account(sessions, peppers)
        account = await make_account(sessions, peppers, "provisioner")
        api = await stack.enter_async_context(client_of(app, owner.bearer))
        world = World(app, api, sessions, transmitter, "", account)
        world.provider = await register(world, account, transmitter, issuer=OIDC_ISSUER, **signals)
        yield world


async def register(
    world: World, account: Account, transmitter: Transmitter, *, issuer: str, **signals: Any
) -> str:
    """Register a provider with this transmitter, for whom this service account pushes; its id."""
    told = transmitter.settings | {"service_account_id": format_id(SERVICE_ACCOUNT, account.id)} | signals
    body = {"name": "SSO", "issuer": issuer, "audiences": ["scopegate"], "signals": told}
    return str((await world.made("/api/v1/identity-providers", body))["id"])
