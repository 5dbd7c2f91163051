"""External systems that report leavers: a directory with SCIM, a provider with Shared Signals."""

from dataclasses import dataclass
from uuid import uuid4

from app.crypto.keys import Peppers
from app.db.engine import make_engine, make_sessions
from app.domain.security_events import EventType
from app.lib.ids import IDENTITY, IDENTITY_PROVIDER, SERVICE_ACCOUNT, format_id, parse_id
from tests.adapters.ssf.transmitter import Transmitter
from tests.api import KEY, make_account
from tests.faults.harness import fetch
from tests.faults.rig.fleet import Cell, Fleet
from tests.faults.rig.office import Answered, Office
from tests.story.provisioning import SCIM_JSON, Directory

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_LINK = """
INSERT INTO identity_links (id, identity_id, provider_id, kind, value) VALUES (gen_random_uuid(), $1, $2, 'oidc', $3)
"""


@dataclass(frozen=True, slots=True)
class Scim:
    """A directory that provisions."""

    office: Office
    directory: Directory

    @classmethod
    async def make(cls, fleet: Fleet) -> "Scim":
        """Register it, like ``make_directory``, with retries."""
        office = fleet.office
        me = (await office.insist("GET", "/api/v1/me")).body
        account = await office.made(
            "service-accounts", name=f"SCIM {uuid4().hex}", owner_id=me["identity_id"], role="provisioner"
        )
        key = await office.insist("POST", f"/api/v1/service-accounts/{account['id']}/credentials", json={})
        secret = key.body["client_secret"]
        fleet.secrets.add(secret)
        provider = await office.made(
            "identity-providers",
            name="Directory",
            issuer=f"https://{uuid4().hex}.example.com",
            audiences=["scopegate"],
            scim={"service_account_id": account["id"]},
        )
        return cls(office, Directory(provider["id"], account["id"], secret))

    async def employ(self, cell: Cell) -> None:
        """A person of this directory's."""
        body = {"userName": uuid4().hex}
        made = await self.office.insist("POST", "/scim/v2/Users", json=body, headers=self.directory.headers())
        cell.person = made.body["id"]

    async def deactivate(self, cell: Cell) -> Answered:
        """Tell that the person is not active any more."""
        operation = {"op": "replace", "path": "active", "value": False}
        body = {"schemas": [PATCH], "Operations": [operation]}
        headers = self.directory.headers() | {"Content-Type": SCIM_JSON}
        return await self.office.insist("PATCH", f"/scim/v2/Users/{cell.person}", json=body, headers=headers)


@dataclass(frozen=True, slots=True)
class Signals:
    """A provider that tells of events."""

    fleet: Fleet
    database_url: str
    provider: str
    secret: str
    transmitter: Transmitter
    issuer: str
    sent: list[tuple[Cell, str]]
    """Event tokens that had an effect, with whose they were."""

    @classmethod
    async def make(cls, fleet: Fleet, database_url: str, transmitter: Transmitter) -> "Signals":
        """Register it."""
        engine = make_engine(database_url, pool_size=1, name="test")
        account = await make_account(make_sessions(engine), Peppers([KEY.encode()]), "provisioner")
        await engine.dispose()
        fleet.secrets.add(account.secret)
        issuer = f"https://{uuid4().hex}.example.com"
        provider = await fleet.office.made(
            "identity-providers",
            name="SSO",
            issuer=issuer,
            audiences=["scopegate"],
            signals=transmitter.settings | {"service_account_id": format_id(SERVICE_ACCOUNT, account.id)},
        )
        return cls(fleet, database_url, provider["id"], account.secret, transmitter, issuer, [])

    async def employ(self, cell: Cell) -> None:
        """A person who is linked to this provider by their own id."""
        await self.fleet.employ(cell)
        await link(self.database_url, self.provider, cell.person)

    def event(self, cell: Cell, type: EventType) -> str:
        """A signed event of the person of a cell."""
        subject = {"format": "iss_sub", "iss": self.issuer, "sub": cell.person}
        event = self.transmitter.event(type, subject)
        self.sent.append((cell, event))
        return event

    async def push(self, event: str) -> Answered:
        """Push it until a gateway accepts it."""
        headers = {"Content-Type": "application/secevent+jwt", "Authorization": f"Bearer {self.secret}"}
        return await self.fleet.office.insist("POST", "/ssf/events", content=event, headers=headers)


async def link(database_url: str, provider: str, person: str) -> None:
    """Have a person known to a provider by their own id."""
    ids = parse_id(IDENTITY, person), parse_id(IDENTITY_PROVIDER, provider)
    await fetch(database_url, _LINK, *ids, person)
