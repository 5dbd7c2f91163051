"""The address and program of a caller are bound to its events: a change is detected."""

from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from app.admission.rows import Clients, Row, Values, cells_of
from app.crypto.client_ids import Parts
from app.features.audit.sealing.verdict import Verdict
from app.features.audit.sealing.verifying import verify_log
from app.lib.ids import EVENT, format_id, new_id
from tests.admission.world import writer_on
from tests.features.audit.sealing.sealed import SIGNER, insert, seal, unsalted_client
from tests.features.audit.sealing.test_verifying import tampering

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

PEPPERS = (b"k" * 32, b"o" * 32)
INSERT = "INSERT INTO audit_clients (id, ip, user_agent, name, version) VALUES ($1, $2, $3, $4, $5)"
CALLERS: tuple[Parts, ...] = (
    ("192.0.2.7", "agent/1", "inspector", "2.1"),
    ("192.0.2.8", None, None, None),
    ("2001:db8::1", 'a "quoted" näme', "\\", ""),
)


async def called(url: str, *callers: Parts) -> list[tuple[UUID, UUID]]:
    """Write an event for each caller as the gateway does; return the ids of events and clients."""
    clients, ids = Clients(PEPPERS[0]), []
    async with writer_on(url) as writer:
        for caller in callers:
            client, parts = clients.name(*caller)
            values = Values(id=new_id(), action="tool.call", actor_type="identity", client_id=client)
            assert await writer.write(Row(values.id, cells_of(values), client=parts))
            ids.append((values.id, client))
    return ids


async def verify(connection: "Connection") -> Verdict:
    await seal(connection, await connection.fetchval("SELECT count(*) FROM audit_events"))
    return await verify_log(connection, SIGNER.verifier_keys, (), None, PEPPERS)


async def rewrite(connection: "Connection", client: UUID, **columns: object) -> None:
    changes = ", ".join(f"{name} = ${place}" for place, name in enumerate(columns, start=2))
    async with tampering(connection):
        await connection.execute(
            f"UPDATE audit_clients SET {changes} WHERE id = $1", client, *columns.values()
        )


def altered(verdict: Verdict) -> list[tuple[str, int, str | None]]:
    return [(fault.kind, fault.first, fault.event_id) for fault in verdict.faults]


async def test_an_address_or_program_that_was_rewritten_is_found_and_its_event_named(
    connection: "Connection", database_url: str
) -> None:
    ids = await called(database_url, *CALLERS, CALLERS[0])
    verdict = await verify(connection)
    assert (verdict.faults, verdict.notes) == ([], [])
    for (event, client), column in zip(ids, ("ip", "user_agent", "name"), strict=False):
        [parts] = await connection.fetch("SELECT * FROM audit_clients WHERE id = $1", client)
        await rewrite(connection, client, **{column: "198.51.100.9"})
        verdict = await verify(connection)
        position = [id for id, _ in ids].index(event)
        assert altered(verdict) == [("client", position, format_id(EVENT, event))]
        # The fault names the event, but neither the old nor the new value.
        assert "198.51.100.9" not in str(verdict.as_json())
        await rewrite(connection, client, **{column: parts[column]})
    assert (await verify(connection)).is_intact


async def test_a_row_that_is_made_to_look_like_one_of_older_code_is_found(
    connection: "Connection", database_url: str
) -> None:
    [(event, client)] = await called(database_url, CALLERS[0])
    await rewrite(connection, client, ip="198.51.100.9", salt=None)
    assert altered(await verify(connection)) == [("client", 0, format_id(EVENT, event))]


async def test_rows_of_older_code_are_held_against_every_pepper(connection: "Connection") -> None:
    """Their ids are keyed digests, which stay in the events that were sealed with them."""
    for key in PEPPERS:
        id = unsalted_client(key, CALLERS[0])
        await connection.execute(INSERT, id, *CALLERS[0])
        await insert(connection, client_id=id)
    assert (await verify(connection)).is_intact
    await rewrite(connection, id, ip="198.51.100.9")
    verdict = await verify(connection)
    assert [kind for kind, *_ in altered(verdict)] == ["client"]
    assert "the pepper" in verdict.faults[0].words


async def test_an_erased_address_is_noted_and_no_fault(connection: "Connection", database_url: str) -> None:
    [(_, client), _] = await called(database_url, *CALLERS[:2])
    await connection.execute("DELETE FROM audit_clients WHERE id = $1", client)
    verdict = await verify(connection)
    assert verdict.is_intact
    assert verdict.notes == ["addresses and programs of 1 clients that events name were erased"]


async def test_a_row_that_no_event_names_is_no_fault(connection: "Connection", database_url: str) -> None:
    await called(database_url, CALLERS[0])
    await connection.execute(INSERT, new_id(), *CALLERS[1])
    verdict = await verify(connection)
    assert verdict.is_intact
    assert verdict.notes == ["1 altered rows of audit_clients are named by no event"]
