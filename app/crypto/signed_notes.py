"""Signed notes and log checkpoints (C2SP signed-note, tlog-checkpoint and tlog-cosignature; see c2sp.org).

A note is a text, an empty line, and one line per signature. Witnesses can add signatures. Lines of unknown keys are
kept and ignored.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.crypto.keys import KeyRing

MAX_NOTE_BYTES = 128 * 1024
"""Bytes of a note with all of its signatures."""
MAX_SIGNATURES = 64
ED25519 = 0x01
"""The type of a log's own signature."""
COSIGNATURE = 0x04
"""The type of a witness's signature, which has a time (cosignature/v1)."""
_MAX_SIZE = _MAX_TIME = 2**63 - 1
_ROOT_BYTES = 32
_DASH = "\u2014 "


class NoteFault(ValueError):
    """A note, a key or a signature is invalid. The message says what is wrong."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key that signs notes. ``type`` is ``ED25519`` or ``COSIGNATURE``."""

    name: str
    type: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that identify the key in a signature, together with its name."""
        named = self.name.encode() + b"\n" + bytes([self.type]) + self.public
        return hashlib.sha256(named).digest()[:4]

    def __str__(self) -> str:
        """The text form of the key, a "vkey"."""
        return f"{self.name}+{self.id.hex()}+{_encode(bytes([self.type]) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Raises ``NoteFault``."""
        parts = text.split("+", 2)
        if len(parts) != 3 or not _is_name(parts[0]):
            raise NoteFault("a key is a name, an id and the key itself, separated by plus signs")
        data = _decode(parts[2], "the key")
        if len(data) != 33 or data[0] not in {ED25519, COSIGNATURE}:
            raise NoteFault("the key is not an Ed25519 key of a log (01) or a witness (04)")
        key = cls(parts[0], data[0], data[1:])
        if parts[1].lower() != key.id.hex():
            raise NoteFault("the id does not match the key: a part of it was changed or lost")
        return key


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """A signature line of a note: the claimed name and key id, and the signature bytes."""

    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends with a newline, and its signature lines."""

    text: str
    signatures: tuple[SignatureLine, ...]

    def __str__(self) -> str:
        lines = (f"{_DASH}{line.name} {_encode(line.key_id + line.value)}\n" for line in self.signatures)
        return f"{self.text}\n{''.join(lines)}"

    @classmethod
    def parse(cls, note: str | bytes) -> "Note":
        """Raises ``NoteFault``."""
        text = _read(note)
        # The last empty line separates them, so a signature line cannot be mistaken for text.
        end = text.rfind("\n\n")
        if end < 1 or not text.endswith("\n"):
            raise NoteFault(
                "a note is a text, an empty line and signatures, and each line ends with a newline"
            )
        lines = text[end + 2 :].split("\n")[:-1]
        if not 1 <= len(lines) <= MAX_SIGNATURES:
            raise NoteFault(f"a note has 1 to {MAX_SIGNATURES} signatures")
        return cls(text[: end + 1], tuple(map(_signature_line, lines)))


@dataclass(frozen=True, slots=True)
class Signed:
    """One key's valid signature of a note. ``at`` is a witness's time in Unix seconds."""

    key: VerifierKey
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint of a log: its name, its number of leaves, and their root hash (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{_encode(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Parse a checkpoint; further lines are ignored. Raises ``NoteFault``."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise NoteFault("a checkpoint has a name, a size and a root, each on its own line")
        size = lines[1]
        if not (size.isascii() and size.isdigit() and len(size) < 20 and str(int(size)) == size):
            raise NoteFault("the size of a checkpoint is a number without leading zeros")
        root = _decode(lines[2], "the root of a checkpoint")
        if len(root) != _ROOT_BYTES or int(size) > _MAX_SIZE:
            raise NoteFault(f"the root of a checkpoint has {_ROOT_BYTES} bytes, and its size fits 63 bits")
        return cls(lines[0], int(size), root)


class NoteSigner:
    """Signs notes with the newest of its keys, as a log of this name, which is also the keys' name."""

    def __init__(self, keys: Sequence[bytes], name: str) -> None:
        """Raises ``NoteFault`` for a name that is invalid for a key."""
        if not _is_name(name):
            raise NoteFault("the name of a log cannot contain spaces or plus signs")
        self.name = name
        seeds = KeyRing(keys).derive_all("sign checkpoints with Ed25519")
        self._keys = [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]

    def sign(self, text: str) -> str:
        """Sign a text that ends with a newline. Raises ``NoteFault`` for a text that is invalid in a note."""
        key = self.verifier_keys()[0]
        line = SignatureLine(key.name, key.id, self._keys[0].sign(text.encode()))
        note = str(Note(text, (line,)))
        if Note.parse(note).text != text:
            raise NoteFault("a text to sign ends with exactly one newline")
        return note

    def verifier_keys(self, name: str | None = None) -> list[VerifierKey]:
        """The public keys, newest first, under the log's name or an earlier one."""
        return [
            VerifierKey(
                name or self.name, ED25519, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            )
            for key in self._keys
        ]


def log_name(public_url: str) -> str:
    """The name of an installation's audit log in its checkpoints: its URL without the scheme."""
    _, _, rest = public_url.partition("://")
    return rest.rstrip("/").replace("+", "%2B") + "/audit"


def signatures_of(note: Note, keys: Iterable[VerifierKey]) -> list[Signed]:
    """The valid signatures of these keys, if any.

    Raises ``NoteFault`` for an invalid signature by one of the keys, and for different keys with the same name and id.
    """
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.id), key) != key:
            raise NoteFault(f"two different keys have the name and id {key.name}+{key.id.hex()}")
    return [
        _verify(note.text, line, known[line.name, line.key_id])
        for line in note.signatures
        if (line.name, line.key_id) in known
    ]


def open_checkpoint(note: str | bytes, keys: Iterable[VerifierKey]) -> tuple[Checkpoint, list[Signed]]:
    """A checkpoint signed by one of its log's keys, with the signatures of all keys, including witnesses.

    Raises ``NoteFault``, also when only a witness or another log signed it.
    """
    parsed = Note.parse(note)
    checkpoint = Checkpoint.parse(parsed.text)
    signed = signatures_of(parsed, keys)
    if not any(each.key.type == ED25519 and each.key.name == checkpoint.origin for each in signed):
        raise NoteFault(f"none of the keys of {checkpoint.origin} has signed the checkpoint")
    return checkpoint, signed


def _verify(text: str, line: SignatureLine, key: VerifierKey) -> Signed:
    signed, value, at = text.encode(), line.value, None
    if key.type == COSIGNATURE:
        at = int.from_bytes(value[:8])
        signed, value = f"cosignature/v1\ntime {at}\n".encode() + signed, value[8:]
    if at is None or at <= _MAX_TIME:
        with suppress(InvalidSignature, ValueError):
            Ed25519PublicKey.from_public_bytes(key.public).verify(value, signed)
            return Signed(key, at)
    raise NoteFault(f"the signature is not valid for {key.name}: the text or the signature was changed")


def _read(note: str | bytes) -> str:
    try:
        data = note.encode() if isinstance(note, str) else note
        text = data.decode()
    except UnicodeError:
        raise NoteFault("a note is UTF-8") from None
    if len(data) > MAX_NOTE_BYTES:
        raise NoteFault(f"a note has at most {MAX_NOTE_BYTES} bytes")
    if any(character < " " and character != "\n" for character in text):
        raise NoteFault("a note contains no control characters except newlines (LF, not CR LF)")
    return text


def _signature_line(line: str) -> SignatureLine:
    parts = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(parts) != 2 or not _is_name(parts[0]):
        raise NoteFault("a signature line is a dash, the name of a key and the signature")
    data = _decode(parts[1], "a signature")
    if len(data) < 5:
        raise NoteFault("a signature is too short")
    return SignatureLine(parts[0], data[:4], data[4:])


def _is_name(text: str) -> bool:
    return bool(text) and "+" not in text and not any(map(str.isspace, text))


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str, what: str) -> bytes:
    """Decode canonical base64 (RFC 4648 section 4). Raises ``NoteFault``."""
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        data = None
    if data is None or _encode(data) != text:
        raise NoteFault(f"{what} is not base64")
    return data
