"""A small world in the database for tests: a person with a grant, a server with tools, a token."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from app.access.reading import consistent, read_fleet, read_token
from app.admission.rows import Row, Values, cells_of, dependencies_of
from app.admission.writer import AdmissionWriter
from app.crypto.keys import Peppers
from app.db.clock import DatabaseClock
from app.db.connection import GuardedConnection, Primary
from app.db.rewinds import RewindGuard
from app.domain.access import AccessRequest, Decision, PolicyContext, decide
from app.domain.policy import GrantedIsAllowed
from app.domain.token_format import SCOPED_TOKEN, Credential, format_credential, parse_credential
from app.features.audit.epochs import ensure_epoch
from app.lib.ids import new_id

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
KEY = b"a pepper of thirty-two bytes or more"


@dataclass(frozen=True, slots=True)
class World:
    """The ids of the rows, and the token's text."""

    person: UUID
    server: UUID
    grant: UUID
    token: UUID
    text: str

    @property
    def credential(self) -> Credential:
        credential = parse_credential(self.text, SCOPED_TOKEN)
        assert credential is not None
        return credential


async def make_world(connection: Connection) -> World:
    """Insert the rows, with versions 1."""
    person, server, grant, token = new_id(), new_id(), new_id(), new_id()
    text = format_credential(SCOPED_TOKEN, token, bytes(range(32)))
    credential = parse_credential(text, SCOPED_TOKEN)
    assert credential is not None
    peppers = Peppers([KEY])
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO identities (id, kind, user_name) VALUES ($1, 'person', $2)",
            person,
            f"maria-{person.hex}",
        )
        await connection.execute(
            "INSERT INTO servers (id, slug, name, url) VALUES ($1, $2, 'Time', 'http://127.0.0.1:9')",
            server, f"time-{server.hex[-12:]}",
        )  # fmt: skip
        for name, risk in (("get_time", "read"), ("set_time", "write")):
            await connection.execute(
                "INSERT INTO tools (id, server_id, name, input_schema, risk, assessed_risk, risk_overridden, held,"
                " state, definition_digest, approved_digest) VALUES"
                " ($1, $2, $3, '{}', $4, $4, false, false, 'active', $5, $5)",
                new_id(), server, name, risk, b"digest",
            )  # fmt: skip
        await connection.execute(
            "INSERT INTO grants (id, identity_id, servers, tools, resources, prompts)"
            """ VALUES ($1, $2, '{"kind": "all"}', '{"kind": "names", "names": ["get_time"]}', false, false)""",
            grant, person,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO tokens (id, identity_id, name, scope, expires_at)"
            """ VALUES ($1, $2, 'laptop', '{"kind": "grants"}', now() + interval '1 day')""",
            token, person,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO token_secrets (id, token_id, digest, pepper_key_id) VALUES ($1, $2, $3, $4)",
            new_id(), token, peppers.digest(credential.digest_input), peppers.current_id,
        )  # fmt: skip
        await connection.executemany(
            "INSERT INTO access_versions (id, version) VALUES ($1, 1)",
            [(i,) for i in (person, server, grant, token)],
        )
    return World(person, server, grant, token, text)


async def decision(connection: Connection, world: World, tool: str) -> Decision:
    """The present decision for a call, from fresh data."""
    async with consistent(connection):
        entry = await read_token(connection, world.token)
        fleet = (await read_fleet(connection, None)).build()
        now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    assert entry is not None
    context = PolicyContext(fleet.version, fleet.policy_version, GrantedIsAllowed())
    return decide(AccessRequest(entry.token, fleet.servers.get(world.server), tool), context, now)


def call_row(world: World, decided: Decision, **columns: Any) -> Row:
    """The guarded audit row of a call."""
    values = Values(
        id=new_id(), action="tool.call", decision=decided.effect.value, reason_code=decided.reason_code,
        actor_type="identity", actor_id=world.person, token_id=world.token, server_id=world.server,
        **columns,
    )  # fmt: skip
    span = (str(decided.valid_from), str(decided.valid_until)) if decided.allowed else None
    return Row(values.id, cells_of(values), dependencies_of(decided.depends_on), span)


@asynccontextmanager
async def writer_on(url: str, rewinds: RewindGuard | None = None) -> AsyncIterator[AdmissionWriter]:
    """An admission writer that serves its queue."""

    async def connect() -> GuardedConnection:
        connection = await Primary(url).connect(10, {})
        await ensure_epoch(connection)
        return connection

    writer = AdmissionWriter(connect, DatabaseClock(), new_id(), "key", rewinds=rewinds)
    serving = asyncio.create_task(writer.run())
    yield writer
    writer.close()
    await asyncio.wait([serving], timeout=60)
    assert serving.done()
    serving.result()
