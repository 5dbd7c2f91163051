"""Proofs from the API suffice to verify the log elsewhere with only its public key."""

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import httpx2

from app.crypto.signed_notes import Checkpoint, NoteSigner, VerifierKey, log_name, open_checkpoint
from app.domain.merkle import leaf_hash, verify_inclusion
from app.features.audit.sealing.sealer import ConcurrentCheckpoint, SealedLog
from app.lib.ids import EVENT, format_id, new_id
from tests.api import BASE_URL, KEY, Account, ApiAs
from tests.features.audit.sealing.sealed import size, write
from tests.merkle_proofs import root_of, root_of_range, verify_consistency
from tests.streams import listening

if TYPE_CHECKING:
    from app.main import Scopegate

    Connection = asyncpg.Connection[asyncpg.Record]
PATH = "/api/v1/audit-events"
SIGNER = NoteSigner([KEY.encode()], log_name(BASE_URL))
_NEWEST = "SELECT id FROM audit_events ORDER BY epoch DESC, xact DESC, seq DESC LIMIT 1"


async def seal_all(connection: "Connection") -> int:
    """Seal all events, concurrently with the service; return the number of sealed events."""
    count = await connection.fetchval("SELECT count(*) FROM audit_events")
    async with asyncio.timeout(50):
        while await size(connection) < count:
            with suppress(ConcurrentCheckpoint):
                await (await SealedLog.open(connection, SIGNER)).seal()
    return await size(connection)


async def get(api: httpx2.AsyncClient, path: str, **params: Any) -> Any:
    answer = await api.get(f"{PATH}{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(api: httpx2.AsyncClient, path: str, **params: Any) -> tuple[int, str]:
    answer = await api.get(f"{PATH}{path}", params=params)
    return answer.status_code, answer.json()["code"]


def opened(note: str, keys: list[VerifierKey]) -> Checkpoint:
    return open_checkpoint(note, keys)[0]


def bytes_of(hashes: list[str]) -> list[bytes]:
    return [bytes.fromhex(each) for each in hashes]


async def test_an_event_a_range_and_the_past_are_proven_by_the_key_of_the_log(
    api: httpx2.AsyncClient, connection: "Connection"
) -> None:
    said = await get(api, "/keys")
    keys = [VerifierKey.parse(key["vkey"]) for key in said["items"]]
    assert (said["origin"], [key["signs"] for key in said["items"]]) == (SIGNER.name, [True])
    await write(connection, 300)
    old_size = await seal_all(connection)
    await write(connection, 50)
    id = await connection.fetchval(_NEWEST)
    await seal_all(connection)

    proof = await get(api, f"/{format_id(EVENT, id)}/proof")
    new = opened(proof["checkpoint"], keys)
    leaf = proof["leaf"].encode()
    assert (json.loads(leaf)["id"], leaf_hash(leaf).hex()) == (str(id), proof["leaf_hash"])
    assert proof["tree_size"] == new.size
    assert verify_inclusion(leaf_hash(leaf), proof["position"], new.size, bytes_of(proof["hashes"]), new.root)

    shown = await get(api, f"/checkpoints/{old_size}")
    old = opened(shown["note"], keys)
    assert (old.size, old.root.hex()) == (old_size, shown["root_hash"])
    proof = await get(api, f"/checkpoints/{new.size}/consistency", **{"from": old_size})
    assert opened(proof["checkpoint"], keys) == new
    assert verify_consistency(old.size, old.root, new.size, new.root, bytes_of(proof["hashes"]))

    lines = (
        await api.get(f"{PATH}/export", params={"format": "leaves", "from": 100, "to": 310})
    ).content.splitlines()
    proof = await get(api, f"/checkpoints/{new.size}/range", **{"from": 100, "to": 310})
    hashes = [leaf_hash(line) for line in lines]
    assert root_of_range(100, 310, hashes, new.size, bytes_of(proof["hashes"])) == new.root
    assert (proof["from"], proof["to"]) == (100, 310)


async def test_checkpoints_are_listed_from_the_newest_on(
    api: httpx2.AsyncClient, connection: "Connection"
) -> None:
    sizes = []
    for _ in range(3):
        await write(connection, 2)
        sizes.append(await seal_all(connection))
    first = await get(api, "/checkpoints", limit=2)
    rest = await get(api, "/checkpoints", limit=200, cursor=first["next_cursor"])
    listed = [item["tree_size"] for item in first["items"] + rest["items"]]
    assert listed == sorted(listed, reverse=True)
    assert set(sizes) <= set(listed)
    assert rest["next_cursor"] is None
    assert await refused(api, "/checkpoints", cursor="foreign") == (400, "cursor_mismatch")


async def test_what_is_not_sealed_or_not_there_is_not_proven(
    api: httpx2.AsyncClient, connection: "Connection", database_url: str
) -> None:
    await write(connection, 10)
    total = await seal_all(connection)
    # An open transaction keeps all later events from being sealed.
    holder = await asyncpg.connect(database_url)
    holding = holder.transaction()
    await holding.start()
    await write(holder)
    await write(connection)
    waiting = format_id(EVENT, await connection.fetchval(_NEWEST))
    assert await refused(api, f"/{waiting}/proof") == (404, "not_sealed_yet")
    await holding.rollback()
    await holder.close()
    assert await refused(api, f"/{format_id(EVENT, new_id())}/proof") == (404, "not_found")
    assert await refused(api, f"/checkpoints/{total + 10_000}") == (404, "not_found")
    assert await refused(api, f"/checkpoints/{total}/consistency", **{"from": total + 1}) == (
        422,
        "validation_failed",
    )
    assert await refused(api, f"/checkpoints/{total}/range", **{"from": 3, "to": 3}) == (
        422,
        "validation_failed",
    )
    for bad in ("0", "-1", "x", str(2**63)):
        assert (await refused(api, f"/checkpoints/{bad}"))[0] == 422


async def test_a_damaged_log_proves_nothing(api: httpx2.AsyncClient, connection: "Connection") -> None:
    await write(connection, 10)
    total = await seal_all(connection)
    id: UUID = await connection.fetchval("SELECT id FROM audit_events ORDER BY epoch, xact, seq LIMIT 1")
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("UPDATE audit_events SET tool = 'another' WHERE id = $1", id)
    assert await refused(api, f"/{format_id(EVENT, id)}/proof") == (503, "audit_log_corrupted")
    await connection.execute("DELETE FROM audit_events WHERE id <> $1", id)
    assert await refused(api, f"/checkpoints/{total}/consistency", **{"from": 3}) == (
        503,
        "audit_log_corrupted",
    )
    assert await refused(api, f"/checkpoints/{total}/range", **{"from": 3, "to": 5}) == (
        503,
        "audit_log_corrupted",
    )


async def test_proofs_are_for_whoever_may_read_the_trail(
    api_as: ApiAs, connection: "Connection", anonymous: httpx2.AsyncClient
) -> None:
    await write(connection)
    total = await seal_all(connection)
    id = format_id(EVENT, await connection.fetchval(_NEWEST))
    paths = ("/keys", "/checkpoints", f"/checkpoints/{total}", f"/checkpoints/{total}/consistency?from=0",
             f"/checkpoints/{total}/range?from=0&to=1", f"/{id}/proof", "/export?format=leaves")  # fmt: skip
    auditor, provisioner = await api_as("auditor"), await api_as("provisioner")
    await seal_all(connection)
    for path in paths:
        assert (await anonymous.get(f"{PATH}{path}")).status_code == 401, path
        assert (await provisioner.get(f"{PATH}{path}")).status_code == 403, path
        assert (await auditor.get(f"{PATH}{path}")).status_code == 200, path


async def test_leaves_are_exported_as_they_were_sealed_or_not_at_all(
    app: "Scopegate", owner: Account, api: httpx2.AsyncClient, connection: "Connection"
) -> None:
    await write(connection, 30)
    total = await seal_all(connection)
    path = f"{PATH}/export"
    answer = await api.get(path, params={"format": "leaves", "to": total})
    lines = answer.content.splitlines()
    newest = await get(api, f"/checkpoints/{total}")
    assert (len(lines), answer.headers["content-type"]) == (total, "application/x-ndjson")
    assert ".leaves.ndjson" in answer.headers["content-disposition"]
    assert root_of(map(leaf_hash, lines)).hex() == newest["root_hash"]
    part = await api.get(path, params={"format": "leaves", "from": 5, "to": 9})
    assert part.content.splitlines() == lines[5:9]

    for unfit in ({"from": total}, {"to": total + 10_000}, {"from": 5, "to": 5}, {"from": -1}, {"to": 0},
                  {"action": "token.issue"}, {"since": "2026-01-01T00:00:00Z"}, {"q": "x"},
                  {"duration_ms_min": 0}):  # fmt: skip
        answer = await api.get(path, params={"format": "leaves", **unfit})
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), unfit
    assert (await api.get(path, params={"from": 5})).status_code == 422

    # A missing event with its hash in a full tile is noticed when it is read, the newest ones immediately.
    await write(connection, 300)
    total = await seal_all(connection)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        "UPDATE audit_events SET tool = 'another' WHERE seq = (SELECT min(seq) + 50 FROM audit_events)"
    )
    headers = {"Authorization": f"Bearer {owner.bearer}"}
    async with listening(app, path, headers, {"format": "leaves", "to": total}) as broken:
        assert (broken.status, await broken.body(), broken.is_whole) == (200, b"", False)
    await connection.execute(
        "UPDATE audit_events SET tool = 'another' WHERE seq = (SELECT max(seq) FROM audit_events)"
    )
    assert await refused(api, "/export", format="leaves") == (503, "audit_log_corrupted")
