"""Arguments are kept as the server is configured, in the transaction of the call's audit row."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from app.access.reading import consistent, read_fleet, read_token
from app.admission.postgres_store import CallRecords
from app.admission.rows import Clients, Refusals
from app.admission.store import Admitted, Client, DecidedCall, Stale, Withheld
from app.admission.usage import CallUses
from app.crypto.keys import Sealed, Sealer, UnsealingFault
from app.db.call_arguments import open_arguments
from app.db.clock import DatabaseClock
from app.domain.access import Decision
from app.domain.objects import Server, Token
from app.domain.policy import Effect
from app.lib.ids import new_id
from tests.admission.consuming import ASK, approve, running_consuming_writer
from tests.admission.world import Connection, decision, make_world, writer_on

SEALER = Sealer([b"a key of thirty-two bytes or more!"])
ARGUMENTS = {"account": "4711", "amount": 9007199254740993}


class Desk:
    """Admits calls."""

    def __init__(
        self, port: CallRecords, connection: Connection, parts: tuple[Token, Server, Decision]
    ) -> None:
        self.port, self.connection = port, connection
        self.token, self.server, self.allowed = parts
        self.asking = replace(self.allowed, effect=Effect.REQUIRE_APPROVAL, asks=(ASK,), for_any_call=False)

    async def admit(
        self, keep: str, decided: Decision, **others: Any
    ) -> tuple[UUID, Admitted | Stale | Withheld]:
        """Admit one more call to a server with this setting."""
        server = replace(self.server, keep_arguments=keep)
        given: dict[str, Any] = {"arguments": ARGUMENTS, **others}
        call = DecidedCall(
            new_id(), "tool.call", "tools/call", self.token, server, "get_time", decided, Client(), **given
        )
        return call.id, await self.port.admit(call)

    async def kept(self) -> dict[UUID, Sealed]:
        """The kept arguments, by call."""
        rows = await self.connection.fetch("SELECT call_id, key_id, sealed FROM audit_arguments")
        return {row["call_id"]: Sealed(row["key_id"], row["sealed"]) for row in rows}


@asynccontextmanager
async def opened(database_url: str, connection: Connection) -> AsyncIterator[Desk]:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    async with consistent(connection):
        entry = await read_token(connection, world.token)
        fleet = (await read_fleet(connection, None)).build()
    assert entry is not None
    async with writer_on(database_url) as writer, running_consuming_writer(database_url) as consuming:
        uses = CallUses(cast("Any", None), DatabaseClock())
        clients, refusals = Clients(b"c" * 32), Refusals(lambda row: None)
        port = CallRecords(writer, consuming, clients, refusals, uses, b"d" * 32, SEALER)
        yield Desk(port, connection, (entry.token, fleet.servers[world.server], decided))


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    connection = await asyncpg.connect(database_url)
    async with opened(database_url, connection) as desk:
        yield desk
    await connection.close()


async def test_arguments_are_kept_as_the_server_says_and_sealed(desk: Desk) -> None:
    denied = replace(desk.allowed, effect=Effect.DENY, reason_code="policy_denied", for_any_call=False)
    for keep in ("off", "approvals"):
        assert isinstance((await desk.admit(keep, desk.allowed))[1], Admitted)
        assert isinstance((await desk.admit(keep, denied))[1], Admitted)
    assert isinstance((await desk.admit("off", desk.asking, arguments={}))[1], Withheld)
    assert await desk.kept() == {}

    asked, verdict = await desk.admit("approvals", desk.asking)
    assert isinstance(verdict, Withheld)
    again, verdict = await desk.admit("approvals", desk.asking)
    assert isinstance(verdict, Withheld)
    await approve(desk.connection)
    ran, verdict = await desk.admit("approvals", desk.asking)
    assert isinstance(verdict, Admitted)
    every = [await desk.admit("all", decided) for decided in (desk.allowed, denied, desk.asking)]
    await desk.admit("all", desk.allowed, arguments=None)

    kept = await desk.kept()
    assert kept.keys() == {asked, again, ran, *(id for id, _ in every)}
    assert all(open_arguments(SEALER, id, sealed) == ARGUMENTS for id, sealed in kept.items())
    assert all(b"4711" not in sealed.data for sealed in kept.values())
    with pytest.raises(UnsealingFault):
        open_arguments(SEALER, asked, kept[ran])


async def test_what_is_not_written_keeps_no_arguments(desk: Desk) -> None:
    stale = replace(desk.allowed, depends_on=((desk.token.id, 0),), for_any_call=False)
    for decided in (stale, replace(stale, effect=Effect.REQUIRE_APPROVAL, asks=(ASK,))):
        assert isinstance((await desk.admit("all", decided))[1], Stale)
    assert await desk.kept() == {}


async def test_a_row_says_which_policies_decided_and_which_would_have(desk: Desk) -> None:
    here, there = new_id(), new_id()
    decided = replace(desk.allowed, policy_ids=(here,), observed=(there, here), for_any_call=False)
    id, _ = await desk.admit("off", decided)
    row = await desk.connection.fetchrow("SELECT * FROM audit_events WHERE id = $1", id)
    assert row is not None
    assert (row["policy_ids"], row["observed_policy_ids"], row["approval_id"]) == (
        [here],
        [there, here],
        None,
    )
