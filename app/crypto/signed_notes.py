"""Signed notes, and checkpoints of logs as notes: texts that anybody can check, and that others can sign as well.

After C2SP's signed-note, tlog-checkpoint and tlog-cosignature (c2sp.org): a text, an empty line, and a line for each
signature. A line of a key that is not known is none of our business, and stays where it is.
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

from app.crypto.keys import derive_key, key_ring

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
    """A text is no note, no key or not signed as it should be. The message says what is wrong, for people."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key that signs notes. ``type`` is ``ED25519`` or ``COSIGNATURE``."""

    name: str
    type: int
    public: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that a signature names its key by, beside the key's name."""
        named = self.name.encode() + b"\n" + bytes([self.type]) + self.public
        return hashlib.sha256(named).digest()[:4]

    def __str__(self) -> str:
        """As people hand it on: a "vkey"."""
        return f"{self.name}+{self.id.hex()}+{_encode(bytes([self.type]) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Raises ``NoteFault``."""
        parts = text.split("+", 2)
        if len(parts) != 3 or not _is_name(parts[0]):
            raise NoteFault("a key is a name, its id and the key itself, with a plus sign between them")
        data = _decode(parts[2], "the key")
        if len(data) != 33 or data[0] not in {ED25519, COSIGNATURE}:
            raise NoteFault("the key is none of Ed25519, neither of a log (01) nor of a witness (04)")
        key = cls(parts[0], data[0], data[1:])
        if parts[1].lower() != key.id.hex():
            raise NoteFault("the id in the key is not that of the key: a part of it was changed or lost")
        return key


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """A line under a note: who is said to have signed with which key, and the bytes."""

    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends with a newline, and the lines under it."""

    text: str
    signatures: tuple[SignatureLine, ...]

    def __str__(self) -> str:
        lines = (f"{_DASH}{line.name} {_encode(line.key_id + line.value)}\n" for line in self.signatures)
        return f"{self.text}\n{''.join(lines)}"

    @classmethod
    def parse(cls, note: str | bytes) -> "Note":
        """Raises ``NoteFault``."""
        text = _read(note)
        # The last empty line parts them, so no line of signatures can be taken for text.
        end = text.rfind("\n\n")
        if end < 1 or not text.endswith("\n"):
            raise NoteFault("a note is a text, an empty line and signatures, each line with its end")
        lines = text[end + 2 :].split("\n")[:-1]
        if not 1 <= len(lines) <= MAX_SIGNATURES:
            raise NoteFault(f"a note has 1 to {MAX_SIGNATURES} signatures")
        return cls(text[: end + 1], tuple(map(_signature_line, lines)))


@dataclass(frozen=True, slots=True)
class Signed:
    """One key's true signature of a note. ``at``: a witness's time, in seconds since 1970."""

    key: VerifierKey
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: its name, how many leaves it has, and the root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{_encode(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Further lines of the text are the log's own affair. Raises ``NoteFault``."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise NoteFault("a checkpoint has a name, a size and a root, each on a line")
        size = lines[1]
        if not (size.isascii() and size.isdigit() and len(size) < 20 and str(int(size)) == size):
            raise NoteFault("the size of a checkpoint is a number, without a zero before it")
        root = _decode(lines[2], "the root of a checkpoint")
        if len(root) != _ROOT_BYTES or int(size) > _MAX_SIZE:
            raise NoteFault(f"the root of a checkpoint has {_ROOT_BYTES} bytes, and its size fits 63 bits")
        return cls(lines[0], int(size), root)


class NoteSigner:
    """Signs notes with the newest of some keys, as a log of that name. The names of its keys are the log's."""

    def __init__(self, keys: Sequence[bytes], name: str) -> None:
        """Raises ``NoteFault`` for a name that no key can have."""
        if not _is_name(name):
            raise NoteFault("the name of a log has neither spaces nor plus signs")
        self.name = name
        self._keys = [
            Ed25519PrivateKey.from_private_bytes(derive_key(key, "sign checkpoints with Ed25519"))
            for key in key_ring(keys).values()
        ]

    def sign(self, text: str) -> str:
        """The note of a text that ends with a newline. Raises ``NoteFault`` for what no note can say."""
        key = self.verifier_keys()[0]
        line = SignatureLine(key.name, key.id, self._keys[0].sign(text.encode()))
        note = str(Note(text, (line,)))
        if Note.parse(note).text != text:
            raise NoteFault("a text that is signed ends with one end of a line")
        return note

    def verifier_keys(self, name: str | None = None) -> list[VerifierKey]:
        """The public halves, newest first, by the log's name or by one that it had before."""
        return [
            VerifierKey(
                name or self.name, ED25519, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            )
            for key in self._keys
        ]


def log_name(public_url: str) -> str:
    """What the audit log of an installation is called in its checkpoints: its address without the scheme."""
    _, _, rest = public_url.partition("://")
    return rest.rstrip("/").replace("+", "%2B") + "/audit"


def signatures_of(note: Note, keys: Iterable[VerifierKey]) -> list[Signed]:
    """The signatures of these keys, all of which are true; none, if none of them signed it.

    Raises ``NoteFault`` for a signature that names one of the keys and is not its, and for keys that cannot be told
    apart.
    """
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.id), key) != key:
            raise NoteFault(f"two different keys are {key.name}+{key.id.hex()}, so neither can be told")
    return [
        _verify(note.text, line, known[line.name, line.key_id])
        for line in note.signatures
        if (line.name, line.key_id) in known
    ]


def open_checkpoint(note: str | bytes, keys: Iterable[VerifierKey]) -> tuple[Checkpoint, list[Signed]]:
    """A checkpoint that one of a log's keys signed, with the signatures of all the keys, of witnesses among them.

    Raises ``NoteFault``, also if what signed it is a witness alone, or another log.
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
    raise NoteFault(f"the signature is not that of {key.name}: one of them was changed")


def _read(note: str | bytes) -> str:
    try:
        data = note.encode() if isinstance(note, str) else note
        text = data.decode()
    except UnicodeError:
        raise NoteFault("a note is UTF-8") from None
    if len(data) > MAX_NOTE_BYTES:
        raise NoteFault(f"a note has at most {MAX_NOTE_BYTES} bytes")
    if any(character < " " and character != "\n" for character in text):
        raise NoteFault("a note has no control characters but the ends of its lines (which are no CR LF)")
    return text


def _signature_line(line: str) -> SignatureLine:
    parts = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(parts) != 2 or not _is_name(parts[0]):
        raise NoteFault("a line of a signature is a dash, the name of a key and the signature")
    data = _decode(parts[1], "a signature")
    if len(data) < 5:
        raise NoteFault("a signature is too short to be one")
    return SignatureLine(parts[0], data[:4], data[4:])


def _is_name(text: str) -> bool:
    return bool(text) and "+" not in text and not any(map(str.isspace, text))


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str, what: str) -> bytes:
    """The bytes of a text in the one form of base64 that they have (RFC 4648 section 4)."""
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        data = None
    if data is None or _encode(data) != text:
        raise NoteFault(f"{what} is not base64")
    return data
