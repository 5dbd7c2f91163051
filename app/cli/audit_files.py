"""The files that ``scopegate audit verify`` reads: checkpoints, exported leaves, and proofs. All are taken for what
somebody may have made up."""

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.cli.errors import CannotStart
from app.crypto.signed_notes import LARGEST_NOTE, NoteFault, open_checkpoint
from app.domain.merkle import HASH_BYTES
from app.features.audit.sealing.exported import RangeProof
from app.features.audit.sealing.kept import Kept
from app.features.audit.sealing.verifying import Keys
from app.lib import json_depth

LARGEST_LINE = 16 * 1024 * 1024
_MOST_HASHES = 128


@dataclass(frozen=True, slots=True)
class EventProofFile:
    """That a log has a leaf at a position, as a file says."""

    position: int
    leaf: bytes
    checkpoint: Kept
    hashes: tuple[bytes, ...]


def kept_checkpoint(file: str, keys: Keys) -> Kept:
    """A checkpoint that was kept, with a true signature. Raises ``CannotStart``."""
    try:
        with Path(file).open("rb") as opened:
            note = opened.read(LARGEST_NOTE + 1)
    except OSError:
        raise CannotStart(f"{file} cannot be read") from None
    return _signed(note, file, keys)


def export_lines(file: str) -> Iterator[bytes]:
    """The lines of exported leaves, of no more than so many bytes each. Raises ``CannotStart``."""
    try:
        with Path(file).open("rb") as opened:
            yield from iter(partial(opened.readline, LARGEST_LINE), b"")
    except OSError:
        raise CannotStart(f"{file} cannot be read") from None


def proof_in(file: str, keys: Keys) -> RangeProof | EventProofFile:
    """A proof of a range or of one event. Raises ``CannotStart``."""
    head = _object(next(export_lines(file), b""), file)
    checkpoint = _signed(_text(head, "checkpoint", file).encode(), file, keys)
    hashes = tuple(_hash(each, file) for each in _list(head, "hashes", file))
    if "leaf" in head:
        leaf = _text(head, "leaf", file).encode()
        return EventProofFile(_number(head, "position", file), leaf, checkpoint, hashes)
    first, end = _number(head, "from", file), _number(head, "to", file)
    has_leaves = next(_leaf_hashes(file), None) is not None
    reader = partial(_leaf_hashes, file) if has_leaves else None
    if not 0 <= first < end <= checkpoint.checkpoint.size:
        raise CannotStart(f"{file}: the range is none of the log of its checkpoint")
    return RangeProof(first, end, checkpoint, hashes, reader)


def _leaf_hashes(file: str) -> Iterator[bytes]:
    lines = export_lines(file)
    next(lines, None)
    for line in lines:
        try:
            text = json_depth.loads(line)
            data = b64decode(text, validate=True)
        except (ValueError, TypeError):
            raise CannotStart(f"{file}: a line after the first has no hashes in base64") from None
        if len(data) % HASH_BYTES:
            raise CannotStart(f"{file}: a line has parts of hashes")
        yield from (data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def _signed(note: bytes, file: str, keys: Keys) -> Kept:
    try:
        name = note.partition(b"\n")[0].decode(errors="replace")
        checkpoint, signed = open_checkpoint(note, keys(name))
    except NoteFault as fault:
        raise CannotStart(f"{file}: no checkpoint to rely on: {fault}") from None
    return Kept(file, checkpoint, tuple(signed))


def _object(line: bytes, file: str) -> dict[str, Any]:
    try:
        said = json_depth.loads(line, object_pairs_hook=_once)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise CannotStart(f"{file} is no proof: its first line is no JSON object")
    return said


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Raises ``ValueError`` for one that says something twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _text(said: dict[str, Any], key: str, file: str) -> str:
    value = said.get(key)
    if not isinstance(value, str):
        raise CannotStart(f"{file} is no proof: it has no text `{key}`")
    return value


def _number(said: dict[str, Any], key: str, file: str) -> int:
    value = said.get(key)
    if type(value) is not int:
        raise CannotStart(f"{file} is no proof: it has no number `{key}`")
    return value


def _list(said: dict[str, Any], key: str, file: str) -> list[Any]:
    value = said.get(key)
    if not isinstance(value, list) or len(value) > _MOST_HASHES:
        raise CannotStart(f"{file} is no proof: it has no list `{key}` of hashes")
    return value


def _hash(value: Any, file: str) -> bytes:
    try:
        data = bytes.fromhex(value)
    except (ValueError, TypeError):
        data = b""
    if len(data) != HASH_BYTES:
        raise CannotStart(f"{file} is no proof: a hash of it is no {HASH_BYTES} bytes in hexadecimal")
    return data
