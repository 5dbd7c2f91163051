"""``scopegate audit``: verification of the sealed log, in the database or in files, and the export of proofs.

The files that ``scopegate audit verify`` reads are checkpoints, exported leaves and proofs. None is trusted.
"""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar

import typer
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.cli.errors import CannotStart
from app.crypto import signed_notes
from app.crypto.client_ids import KEY_PURPOSE
from app.crypto.keys import Peppers
from app.db.connection import DRIVER_FAULTS, Connection
from app.db.engine import plain_connection
from app.db.migrations import database_fault
from app.domain.errors import DomainError
from app.domain.merkle import HASH_BYTES, ProofFault, leaf_hash, verify_inclusion
from app.features.audit import epochs
from app.features.audit.sealing.leaves import Keys, LogFault, latest_checkpoint
from app.features.audit.sealing.proofs import leaves_between, prove_event, prove_range
from app.features.audit.sealing.sealer import read_log_names, rename_log
from app.features.audit.sealing.verdict import (
    PROOF,
    ExternalCheckpoint,
    Fault,
    RangeProof,
    Verdict,
    positions,
    verify_lines,
    verify_range,
)
from app.features.audit.sealing.verifying import FindSpan, NoSuchPart, by_positions, by_time, verify_log
from app.lib import strict_json
from app.lib.ids import EVENT, parse_id
from app.settings import Settings

MAX_LINE_BYTES = 16 * 1024 * 1024
_MAX_HASHES = 128


@dataclass(frozen=True, slots=True)
class EventProofFile:
    """A proof from a file that a log has a leaf at a position."""

    position: int
    leaf: bytes
    checkpoint: ExternalCheckpoint
    hashes: tuple[bytes, ...]


Hash = Annotated[
    bytes,
    BeforeValidator(lambda text: bytes.fromhex(text) if isinstance(text, str) else text),
    Field(min_length=HASH_BYTES, max_length=HASH_BYTES),
]


class _ProofHead(BaseModel):
    """The first line of a proof: a signed checkpoint, and hashes in hexadecimal."""

    model_config = ConfigDict(strict=True)
    checkpoint: str
    hashes: list[Hash] = Field(max_length=_MAX_HASHES)


class _RangeProofHead(_ProofHead):
    first: int = Field(alias="from")
    end: int = Field(alias="to")


class _EventProofHead(_ProofHead):
    position: int
    leaf: str


def read_checkpoint(file: str, keys: Keys) -> ExternalCheckpoint:
    """Read a checkpoint that was kept, and check its signature. Raises ``CannotStart``."""
    try:
        with Path(file).open("rb") as opened:
            note = opened.read(signed_notes.MAX_NOTE_BYTES + 1)
    except OSError:
        raise CannotStart(f"{file} cannot be read") from None
    return _check_signature(note, file, keys)


def export_lines(file: str) -> Iterator[bytes]:
    """Read the lines of exported leaves, of a limited length. Raises ``CannotStart``."""
    try:
        with Path(file).open("rb") as opened:
            yield from iter(partial(opened.readline, MAX_LINE_BYTES), b"")
    except OSError:
        raise CannotStart(f"{file} cannot be read") from None


def proof_in(file: str, keys: Keys) -> RangeProof | EventProofFile:
    """Read a proof of a range or of one event. Raises ``CannotStart``."""
    try:
        content = strict_json.loads_plain(next(export_lines(file), b""), unique=True)
        kind = _EventProofHead if isinstance(content, dict) and "leaf" in content else _RangeProofHead
        head = kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its first line"
        raise CannotStart(f"{file} is not a proof: {where}: {first['msg']}") from None
    except ValueError:
        raise CannotStart(f"{file} is not a proof: its first line is not JSON") from None
    checkpoint = _check_signature(head.checkpoint.encode(), file, keys)
    if isinstance(head, _EventProofHead):
        return EventProofFile(head.position, head.leaf.encode(), checkpoint, tuple(head.hashes))
    if not 0 <= head.first < head.end <= checkpoint.checkpoint.size:
        raise CannotStart(f"{file}: the range is none of the log of its checkpoint")
    has_leaves = next(_leaf_hashes(file), None) is not None
    reader = partial(_leaf_hashes, file) if has_leaves else None
    return RangeProof(head.first, head.end, checkpoint, tuple(head.hashes), reader)


def _leaf_hashes(file: str) -> Iterator[bytes]:
    lines = export_lines(file)
    next(lines, None)
    for line in lines:
        try:
            text = strict_json.loads_plain(line)
            data = b64decode(text, validate=True)
        except (ValueError, TypeError):
            raise CannotStart(f"{file}: a line after the first has no hashes in base64") from None
        if len(data) % HASH_BYTES:
            raise CannotStart(f"{file}: a line has parts of hashes")
        yield from (data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def _check_signature(note: bytes, file: str, keys: Keys) -> ExternalCheckpoint:
    try:
        name = note.partition(b"\n")[0].decode(errors="replace")
        checkpoint, signed = signed_notes.open_checkpoint(note, keys(name))
    except signed_notes.NoteFault as fault:
        raise CannotStart(f"{file}: no checkpoint to rely on: {fault}") from None
    return ExternalCheckpoint(file, checkpoint, tuple(signed))


LOG_FAULT = 1
"""The exit code for a log that does not match its seals."""
_HASHES_A_LINE = 256
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Part:
    """The part of the log to verify; all of it by default."""

    first: int | None = None
    end: int | None = None
    since: str | None = None
    until: str | None = None

    def find(self) -> FindSpan | None:
        """The function that finds the part. Raises ``CannotStart``."""
        by_place = self.first is not None or self.end is not None
        by_clock = self.since is not None or self.until is not None
        if by_place and by_clock:
            raise CannotStart("give positions (--from, --to) or times (--since, --until), not both")
        if by_clock:
            return partial(by_time, _time(self.since), _time(self.until))
        return partial(by_positions, self.first or 0, self.end) if by_place else None


def verify_database(
    settings: Settings, part: Part, checkpoints: Sequence[str], keys: Sequence[str], as_json: bool
) -> Iterator[str]:
    """Verify the log against its own checkpoints and against checkpoints that were kept elsewhere; yield the verdict.

    Raises ``CannotStart``, ``DatabaseFault``.
    """
    find = part.find()
    if find is not None and checkpoints:
        raise CannotStart(
            "a checkpoint that was kept elsewhere is held against the whole log: leave the part out"
        )
    ours, theirs = _signer(settings), _keys(keys)

    def known(name: str) -> list[signed_notes.VerifierKey]:
        return [*ours.verifier_keys(name), *theirs]

    # Before the log is read, so that no checkpoint is newer than what is read of the log.
    kept = [read_checkpoint(file, known) for file in checkpoints]
    clients = Peppers(settings.keys("token_pepper")).derive_all(KEY_PURPOSE)
    verdict = _run(settings, lambda connection: verify_log(connection, known, kept, find, clients))
    yield from _lines(verdict, as_json)


def verify_files(
    export: str | None, proof: str | None, checkpoints: Sequence[str], keys: Sequence[str], as_json: bool
) -> Iterator[str]:
    """Verify exported leaves against checkpoints, or an event against its proof, without a database; yield the verdict.

    Raises ``CannotStart``.
    """
    theirs = _keys(keys)
    if not theirs:
        raise CannotStart(
            "give the key of the log with --key, as `scopegate audit keys` prints it where it runs"
        )
    kept = [read_checkpoint(file, lambda _: theirs) for file in checkpoints]
    proven = None if proof is None else proof_in(proof, lambda _: theirs)
    if proven is not None:
        _agree(proven.checkpoint, kept)
    verdict = _verify(export, proven, kept)
    verdict.notes += [
        f"the checkpoint of {each.checkpoint.size} events in {each.source}{each.witnessed} is signed by the log"
        for each in ([proven.checkpoint] if proven else kept)
    ]
    yield from _lines(verdict, as_json)


def _lines(verdict: Verdict, as_json: bool) -> Iterator[str]:
    """The lines of a verdict. Raises ``Exit`` after them if the log does not match its seals."""
    yield from [json.dumps(verdict.as_json(), indent=2)] if as_json else verdict.lines()
    if not verdict.is_intact:
        raise typer.Exit(LOG_FAULT)


def newest_checkpoint(settings: Settings) -> list[str]:
    """Read the note of the newest checkpoint. Raises ``CannotStart``, ``DatabaseFault``."""
    latest = _run(settings, latest_checkpoint)
    if latest is None:
        raise CannotStart("nothing is sealed yet: the service seals while it runs", LOG_FAULT)
    return latest.note.splitlines()


def verifier_keys(settings: Settings) -> list[str]:
    """List the keys that verify checkpoints, newest first, under each name that the log has had. Raises
    ``CannotStart``, ``DatabaseFault``."""
    signer = _signer(settings)
    names = _run(settings, read_log_names) or [signer.name]
    return list(dict.fromkeys(str(key) for name in names for key in signer.verifier_keys(name)))


def rename(settings: Settings) -> list[str]:
    """Name the log after the public URL. Raises ``CannotStart``, ``DatabaseFault``."""
    name = signed_notes.log_name(settings.base_url)
    before = _run(settings, lambda connection: rename_log(connection, name))
    advice = f" It was called {before}: keep its keys under that name too (scopegate audit keys)."
    return [f"The audit log is called {name}.{advice if before else ''}"]


def accept_restore(settings: Settings) -> Iterator[str]:
    """Confirm a restore of the database. Raises ``CannotStart``, ``DatabaseFault``."""
    epoch, size = _run(settings, epochs.accept_restore)
    yield f"The restore is confirmed: epoch {epoch} of the audit log begins after {size} sealed events."
    typer.echo("Workers take calls again within seconds. Repeat what was revoked after the backup.", err=True)


def prove(settings: Settings, event: str) -> list[str]:
    """Prove one event; return the proof as JSON. Raises ``CannotStart``, ``DatabaseFault``."""
    try:
        id = parse_id(EVENT, event)
    except ValueError:
        raise CannotStart("give the id of an audit event: evt_...") from None
    proof = _run(settings, lambda connection: prove_event(connection, id))
    content = {
        "event_id": event,
        "position": proof.position,
        "leaf": proof.leaf.decode(),
        "checkpoint": proof.checkpoint.note,
        "hashes": proof.hashes,
    }
    return [json.dumps(content, ensure_ascii=False)]


def export(settings: Settings, file: str, first: int | None, end: int | None) -> list[str]:
    """Write the leaves of a part of the log to a file, and their proof next to it. Raises ``CannotStart``,
    ``DatabaseFault``."""
    proof = f"{file}.proof"

    async def write(connection: Connection) -> str:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            leaves = await leaves_between(connection, first, end)
            upper, hashes = await prove_range(connection, leaves.first, leaves.end, leaves.checkpoint.size)
            head = {"from": leaves.first, "to": leaves.end, "checkpoint": upper.note, "hashes": hashes}
            with _new(file) as out, _new(proof) as proof_out:
                proof_out.write(json.dumps(head).encode() + b"\n")
                while part := await leaves.next(connection):
                    out.writelines(leaf + b"\n" for leaf in part)
                    for at in range(0, len(part), _HASHES_A_LINE):
                        line = b64encode(b"".join(map(leaf_hash, part[at : at + _HASHES_A_LINE])))
                        proof_out.write(b'"' + line + b'"\n')
        return positions(leaves.first, leaves.end)

    return [f"{file}: {_run(settings, write)}. Their proof is in {proof}."]


def _verify(
    export: str | None, proven: RangeProof | EventProofFile | None, kept: Sequence[ExternalCheckpoint]
) -> Verdict:
    if isinstance(proven, EventProofFile):
        at, checkpoint = proven.position, proven.checkpoint.checkpoint
        verdict = Verdict(at, at + 1, events=1, checkpoints=1)
        leaf = leaf_hash(proven.leaf)
        if not verify_inclusion(leaf, at, checkpoint.size, proven.hashes, checkpoint.root):
            words = f"the leaf is not the one at position {at} of the log of {checkpoint.size} events"
            verdict.add(Fault(PROOF, at, at + 1, words))
        return verdict
    if export is None:
        raise CannotStart("give the exported leaves with --export")
    if proven is not None:
        try:
            return verify_range(export_lines(export), proven)
        except ProofFault as fault:
            raise CannotStart(f"the proof is none: {fault}") from None
    if not kept:
        raise CannotStart(
            "give a checkpoint of the exported leaves with --checkpoint, or a proof with --proof"
        )
    return verify_lines(export_lines(export), kept)


def _agree(checkpoint: ExternalCheckpoint, kept: Sequence[ExternalCheckpoint]) -> None:
    """Raise ``CannotStart`` unless the kept checkpoints are the checkpoint of the proof."""
    for other in kept:
        if other.checkpoint.size != checkpoint.checkpoint.size:
            raise CannotStart(
                f"the proof leads to a checkpoint of {checkpoint.checkpoint.size} events, and {other.source} is one of "
                f"{other.checkpoint.size}: it says nothing about it"
            )
        if other.checkpoint.root != checkpoint.checkpoint.root:
            raise CannotStart(
                f"the proof leads to another log of {other.checkpoint.size} events than {other.source} is of",
                LOG_FAULT,
            )


def _run(settings: Settings, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Run ``work`` with a database connection. Raises ``CannotStart``, ``DatabaseFault``."""
    if settings.database_url is None:
        raise ValueError("the settings must come from usable_database")
    url = settings.database_direct_url or settings.database_url

    async def run() -> Result:
        async with plain_connection(url.get_secret_value()) as connection:
            return await work(connection)

    try:
        return asyncio.run(run())
    except (NoSuchPart, DomainError, signed_notes.NoteFault) as fault:
        raise CannotStart(str(fault)) from None
    except LogFault as fault:
        raise CannotStart(f"the log is not what was sealed: {fault}", LOG_FAULT) from None
    except DRIVER_FAULTS as error:
        raise database_fault(error, "read") from None


def _signer(settings: Settings) -> signed_notes.NoteSigner:
    return signed_notes.NoteSigner(settings.keys("signing_key"), signed_notes.log_name(settings.base_url))


def _keys(texts: Sequence[str]) -> list[signed_notes.VerifierKey]:
    try:
        return [signed_notes.VerifierKey.parse(text.strip()) for text in texts]
    except signed_notes.NoteFault as fault:
        raise CannotStart(f"--key: {fault}") from None


@contextmanager
def _new(path: str) -> Iterator[BinaryIO]:
    """Open a new file, which is removed unless it is complete. Raises ``CannotStart``."""
    try:
        with Path(path).open("xb") as opened:
            yield opened
    except FileExistsError:
        raise CannotStart(f"{path} is there already") from None
    except OSError as error:
        raise CannotStart(f"{path} cannot be written: {error.strerror}") from None
    except BaseException:
        Path(path).unlink()
        raise


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CannotStart(f"{text} is no time: give one as 2026-05-03T12:00:00Z") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
