"""``scopegate audit`` on a database and on files, used by a person who trusts neither."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.cli.commands import main
from app.crypto.client_ids import KEY_PURPOSE
from app.crypto.keys import Peppers
from app.crypto.signed_notes import COSIGNATURE, Note, NoteSigner, VerifierKey, log_name
from app.lib.ids import EVENT, format_id
from tests.features.audit.sealing.sealed import insert, seal, size, unsalted_client, write
from tests.features.audit.sealing.test_verifying import tampering

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

KEY, URL = "a-signing-key-with-enough-characters", "https://gateway.example.com"
SIGNER = NoteSigner([KEY.encode()], log_name(URL))
(VKEY,) = map(str, SIGNER.verifier_keys())
Run = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator["Connection"]:
    connection = await asyncpg.connect(database_url)
    for events in (300, 40, 60):
        await write(connection, events)
        await seal(connection, await size(connection) + events, SIGNER)
    yield connection
    await connection.close()


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs ``scopegate audit`` in an empty directory; the exit code, and what it says."""
    monkeypatch.chdir(tmp_path)

    def here(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["scopegate", "audit", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    async def elsewhere(*words: str, has_database: bool = True) -> tuple[int, str]:
        settings = {"TOKEN_PEPPER": "p" * 40, "ENCRYPTION_KEY": "e" * 40, "SIGNING_KEY": KEY}
        settings |= {"DATABASE_URL": database_url, "PUBLIC_URL": URL}
        for name, value in settings.items():
            monkeypatch.setenv(f"SCOPEGATE_{name}", value)
        if not has_database:
            monkeypatch.setenv("SCOPEGATE_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
        # A command runs a loop of its own.
        code = await asyncio.to_thread(here, *words)
        said = capsys.readouterr()
        return code, said.out + said.err

    return elsewhere


async def offline(run: Run, *words: str) -> tuple[int, str]:
    return await run("verify", *words, "--key", VKEY, has_database=False)


async def keep(run: Run, file: str = "kept.txt") -> str:
    code, note = await run("checkpoint")
    assert code == 0
    put(file, note)
    return file


def put(file: str, text: str) -> None:
    Path(file).write_text(text, encoding="utf-8")


def get(file: str) -> str:
    return Path(file).read_text(encoding="utf-8")


def listdir() -> list[str]:
    return [path.name for path in Path().iterdir()]


def edit(file: str, change: Callable[[list[bytes]], object]) -> None:
    lines = Path(file).read_bytes().splitlines(keepends=True)
    change(lines)
    Path(file).write_bytes(b"".join(lines))


async def test_the_log_is_held_against_what_was_kept_and_a_fault_has_a_place(
    connection: "Connection", run: Run
) -> None:
    kept = await keep(run)
    code, said = await run("verify", "--checkpoint", kept)
    assert code == 0, said
    assert "note   the checkpoint of 400 events in kept.txt is of this log" in said
    assert said.endswith("The log is what was sealed: positions 0 to 399 (400 events, 3 checkpoints).\n")

    id = await connection.fetchval("SELECT id FROM audit_events ORDER BY epoch, xact, seq OFFSET 5 LIMIT 1")
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("UPDATE audit_events SET tool = 'toool' WHERE id = $1", id)
    code, said = await run("verify", "--checkpoint", kept)
    assert code == 1
    assert (
        f"FAULT  the event at position 5 was changed after it was sealed: it is {format_id(EVENT, id)}"
        in said
    )
    assert "first bad range: position 5, between the checkpoints of so many events: 0 and 300, signed" in said
    assert "The log is NOT what was sealed: 1 fault at positions 0 to 399" in said
    code, said = await run("verify", "--json")
    report = json.loads(said)
    assert (code, report["ok"], report["first_bad_range"]["from"], report["first_bad_range"]["to"]) == (
        1,
        False,
        5,
        6,
    )
    assert report["faults"][0]["event_id"] == format_id(EVENT, id)


async def test_a_caller_that_was_rewritten_is_reported_also_of_a_row_of_older_code(
    connection: "Connection", run: Run
) -> None:
    key = Peppers([b"p" * 40]).derive(KEY_PURPOSE)
    client = unsalted_client(key, ("192.0.2.7", None, None, None))
    await connection.execute("INSERT INTO audit_clients (id, ip) VALUES ($1, '192.0.2.7')", client)
    await insert(connection, client_id=client)
    await seal(connection, 401, SIGNER)
    assert (await run("verify"))[0] == 0
    async with tampering(connection):
        await connection.execute("UPDATE audit_clients SET ip = '192.0.2.8'")
    code, said = await run("verify")
    assert code == 1
    assert "FAULT  the caller's address or program was altered after evt_" in said


async def test_a_part_is_looked_at_by_itself(connection: "Connection", run: Run) -> None:
    id = await connection.fetchval("SELECT id FROM audit_events ORDER BY epoch, xact, seq OFFSET 100 LIMIT 1")
    at = await connection.fetchval("SELECT created_at FROM audit_checkpoints WHERE tree_size = 300")
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("DELETE FROM audit_events WHERE id = $1", id)
    for part, code, words in (
        (("--from", "350"), 0, "positions 340 to 399 (60 events"),
        (("--from", "305", "--to", "320"), 0, "positions 300 to 339 (40 events"),
        (("--from", "5", "--to", "10"), 1, "position 100: what was sealed there is missing"),
        (("--since", (at + timedelta(milliseconds=1)).isoformat()), 0, "positions 300 to 399 (100 events"),
        (("--until", at.isoformat()), 1, "1 fault at positions 0 to 299"),
        (("--since", "2000-01-01", "--until", "2100-01-01"), 1, "positions 0 to 399"),
    ):
        assert (await run("verify", *part))[0] == code, part
        assert words in (await run("verify", *part))[1], part
    # A tree to begin from has to be there: what is not in a full tile yet is made of the events.
    await connection.execute("DELETE FROM audit_events WHERE tool = 'tool 20'")
    code, said = await run("verify", "--from", "350")
    assert (code, "of what comes before do not give the root of the checkpoint of 340" in said) == (1, True)
    for unfit in (
        ("--from", "400"), ("--from", "5", "--to", "5"), ("--to", "401"),
        ("--since", "2000-01-01", "--until", "2001-01-01"),
        ("--since", "yesterday"), ("--from", "1", "--since", "2026-01-01"), ("--from", "1", "--checkpoint", "none"),
        ("--checkpoint", "none"), ("--key", "none"),
    ):  # fmt: skip
        code, said = await run("verify", *unfit)
        assert (code, said.count("\n")) == (2, 1), said


async def test_an_export_is_looked_at_without_a_database(connection: "Connection", run: Run) -> None:
    kept = await keep(run)
    assert (await run("export", "all.ndjson"))[
        1
    ] == "all.ndjson: positions 0 to 399. Their proof is in all.ndjson.proof.\n"
    for words in (
        ("--checkpoint", kept),
        ("--proof", "all.ndjson.proof"),
        ("--proof", "all.ndjson.proof", "--checkpoint", kept),
    ):
        code, said = await offline(run, "--export", "all.ndjson", *words)
        assert code == 0, said
        assert "The log is what was sealed: positions 0 to 399 (400 events, " in said
    # Hashes of leaves that do not lead to the root accuse no line.
    head, first, *rest = get("all.ndjson.proof").splitlines()
    put("worse.proof", "\n".join([head, '"AAAA' + first[5:], *rest]))
    code, said = await offline(run, "--export", "all.ndjson", "--proof", "worse.proof")
    assert (code, "the proof does not lead to the checkpoint of 400 events" in said) == (1, True)
    assert (await run("export", "part.ndjson", "--from", "100", "--to", "350"))[0] == 0
    code, said = await offline(run, "--export", "part.ndjson", "--proof", "part.ndjson.proof")
    assert (code, "positions 100 to 349 (250 events" in said) == (0, True)
    edit("part.ndjson.proof", lambda lines: lines.__delitem__(slice(1, None)))
    assert (await offline(run, "--export", "part.ndjson", "--proof", "part.ndjson.proof"))[0] == 0
    # What is there is not written over, and what fails leaves nothing behind.
    code, said = await run("export", "all.ndjson")
    assert (code, "is there already" in said) == (2, True)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("DELETE FROM audit_events WHERE tool = 'tool 8'")
    code, said = await run("export", "damaged.ndjson")
    assert (code, "is not what was sealed" in said) == (1, True)
    assert not any("damaged" in name for name in listdir())


TAMPERED: dict[str, tuple[Callable[[list[bytes]], object], str]] = {
    "a flipped byte": (
        lambda lines: lines.__setitem__(123, lines[123].replace(b'"tool ', b'"pool ')),
        "the event at position 123 was changed",
    ),
    "a line that is gone": (lambda lines: lines.pop(123), "position 123: what was sealed there is missing"),
    "lines that changed places": (
        lambda lines: lines.__setitem__(slice(None), [*lines[:7], lines[9], lines[8], lines[7], *lines[10:]]),
        "is at another place",
    ),
    "a line too many": (lambda lines: lines.insert(123, lines[5]), "an event was put in before position 123"),
    "a cut end": (lambda lines: lines.__delitem__(slice(390, None)), "positions 390 to 399"),
    "a longer end": (lambda lines: lines.append(lines[5]), "before position 400, where none"),
}


@pytest.mark.parametrize("name", TAMPERED)
async def test_what_was_done_to_an_export_is_named(connection: "Connection", run: Run, name: str) -> None:
    change, words = TAMPERED[name]
    kept = await keep(run)
    await run("export", "all.ndjson")
    edit("all.ndjson", change)
    code, said = await offline(run, "--export", "all.ndjson", "--proof", "all.ndjson.proof")
    assert (code, words in said) == (1, True), said
    # Without the hashes of the leaves it is known as well, if less exactly.
    code, said = await offline(run, "--export", "all.ndjson", "--checkpoint", kept)
    assert (code, "first bad range: " in said) == (1, True), said


async def test_checkpoints_between_narrow_down_where_an_export_is_wrong(
    connection: "Connection", run: Run
) -> None:
    notes = await connection.fetch("SELECT tree_size, note FROM audit_checkpoints ORDER BY 1")
    words = []
    for count, note in notes:
        put(f"{count}.txt", note)
        words += ["--checkpoint", f"{count}.txt"]
    await run("export", "all.ndjson")
    edit("all.ndjson", lambda lines: lines.__setitem__(310, lines[310].replace(b'"tool ', b'"pool ')))
    code, said = await offline(run, "--export", "all.ndjson", *words)
    assert (
        code,
        "first bad range: positions 300 to 339, between the checkpoints of so many events: 300" in said,
    ) == (
        1,
        True,
    )


async def test_an_event_is_proven_to_whoever_has_the_key(connection: "Connection", run: Run) -> None:
    id = await connection.fetchval("SELECT id FROM audit_events ORDER BY epoch, xact, seq OFFSET 399 LIMIT 1")
    code, said = await run("prove", format_id(EVENT, id))
    proof = json.loads(said)
    assert (code, proof["position"], json.loads(proof["leaf"])["id"]) == (0, 399, str(id))
    put("event.proof", said)
    assert (await offline(run, "--proof", "event.proof"))[0] == 0
    for field, value in (
        ("leaf", proof["leaf"].replace("tool", "pool")),
        ("position", 398),
        ("hashes", proof["hashes"][::-1]),
    ):
        put("event.proof", json.dumps(proof | {field: value}))
        assert (await offline(run, "--proof", "event.proof"))[0] == 1
    await write(connection)
    new = await connection.fetchval(
        "SELECT id FROM audit_events ORDER BY epoch DESC, xact DESC, seq DESC LIMIT 1"
    )
    for unfit in (format_id(EVENT, new), format_id(EVENT, UUID(int=7)), "evt_", str(id)):
        assert (await run("prove", unfit))[0] == 2


async def test_forged_files_are_refused_in_one_line(connection: "Connection", run: Run) -> None:
    kept = await keep(run)
    await run("export", "all.ndjson")
    head = json.loads(get("all.ndjson.proof").splitlines()[0])
    mallory = NoteSigner([b"m" * 40], SIGNER.name)
    put("forged.txt", mallory.sign(Note.parse(get(kept)).text))
    put("other.txt", SIGNER.sign(Note.parse(get(kept)).text.replace("400", "399")))
    bad_proofs: list[Any] = [
        [], {}, "x", head | {"hashes": [1]}, head | {"hashes": ["zz"]},
        head | {"hashes": ["00" * 32] * 129}, head | {"from": True},
        head | {"to": 401}, head | {"from": -1}, head | {"hashes": ["00" * 32]},
        head | {"checkpoint": get("forged.txt")},
        head | {"checkpoint": 5},
    ]  # fmt: skip
    for bad in bad_proofs:
        put("bad.proof", json.dumps(bad))
        code, said = await offline(run, "--export", "all.ndjson", "--proof", "bad.proof")
        assert (code, said.count("\n")) == (2, 1), (bad, said)
    for line in ("1\n", '"!"\n', '"AAAA"\n', "[" * 100_000):
        put("bad.proof", f"{json.dumps(head)}\n{line}")
        assert (await offline(run, "--export", "all.ndjson", "--proof", "bad.proof"))[0] == 2
    for words in (
        ("--export", "all.ndjson"), ("--export", "none", "--checkpoint", kept), ("--proof", "none"),
        ("--export", "all.ndjson", "--checkpoint", "forged.txt"),
        ("--export", "all.ndjson", "--checkpoint", "all.ndjson"),
        ("--export", "all.ndjson", "--proof", "all.ndjson.proof", "--checkpoint", "other.txt"),
        ("--export", "all.ndjson", "--checkpoint", kept, "--from", "5"), ("--proof", "all.ndjson.proof"),
    ):  # fmt: skip
        code, said = await offline(run, *words)
        assert (code, said.count("\n")) == (2, 1), (words, said)
    code, said = await run("verify", "--export", "all.ndjson", "--checkpoint", kept)
    assert (code, "--key" in said) == (2, True)


async def test_witnesses_of_a_kept_checkpoint_are_named(connection: "Connection", run: Run) -> None:
    kept = await keep(run)
    private = Ed25519PrivateKey.generate()
    key = VerifierKey("witness.example.com/w1", COSIGNATURE, private.public_key().public_bytes_raw())
    note = get(kept)
    at = 1_790_000_000
    signature = private.sign(f"cosignature/v1\ntime {at}\n{Note.parse(note).text}".encode())
    whole = base64.b64encode(key.id + at.to_bytes(8) + signature).decode()
    put(kept, f"{note}— {key.name} {whole}\n")
    code, said = await run("verify", "--checkpoint", kept, "--key", str(key))
    assert code == 0
    assert (
        "in kept.txt, witnessed by witness.example.com/w1 at 2026-09-21T14:13:20+00:00, is of this log"
        in said
    )
    assert (await run("keys"))[1] == f"{VKEY}\n"
