"""Strict JSON, which has one meaning for every parser, as policies need it.

The standard library's parser with hooks. In addition to the grammar (RFC 8259), it rejects duplicate keys, a byte-order
mark, other encodings than UTF-8, NaN and Infinity, numbers outside the range of a float, lone surrogates and NUL in
strings, integers of more than 400 digits, deep nesting, and more values than can be parsed without blocking the event
loop for long. I-JSON (RFC 7493) requires most of this.

``loads_plain`` is the standard library's parser with a limit on nesting only. That parser recurses, and its own limit
depends on the interpreter and the caller.
"""

import json
from collections.abc import Callable
from itertools import accumulate
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]
from math import isfinite
from typing import Any, Literal, NoReturn, TypeAlias

MAX_PLAIN_DEPTH = 256
"""Open objects and arrays. Far below the limits of the parser and the encoder in every supported interpreter."""
_BRACKETS = b"[]{}"
_NO_MARKS = bytes(set(range(256)).difference(_BRACKETS, b'"'))
# A step down is 1, a step up -1 as a signed byte.
_STEPS = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")


class TooDeep(ValueError):
    """The JSON is nested too deeply."""


def is_too_deep(data: bytes, max_depth: int = MAX_PLAIN_DEPTH) -> bool:
    """Whether JSON in UTF-8 has more than ``max_depth`` objects and arrays open at once.

    For invalid JSON, the result is right up to where a parser stops.
    """
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return False
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    # Most strings become empty, and two adjacent quotation marks do not change what is inside a string.
    marks = plain.translate(None, _NO_MARKS).replace(b'""', b"")
    steps = b"".join(marks.split(b'"')[::2]).translate(_STEPS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > max_depth


def loads_plain(data: bytes | str, *, unique: bool = False) -> Any:
    """Parse JSON like the standard library, up to ``MAX_PLAIN_DEPTH``. ``unique`` refuses repeated members, about which
    parsers disagree. Raises only ``ValueError``."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if is_too_deep(raw):
        raise TooDeep(f"The nesting is deeper than {MAX_PLAIN_DEPTH}.")
    text = data if isinstance(data, str) else data.decode()
    return json.loads(text, object_pairs_hook=_object if unique else None)


JsonValue: TypeAlias = dict[str, "JsonValue"] | list["JsonValue"] | str | int | float | bool | None
JsonObject: TypeAlias = dict[str, JsonValue]
StrictJsonCode = Literal["encoding", "syntax", "duplicate_key", "number", "string", "depth", "size"]
MAX_DEPTH = 64
"""The default limit of open objects and arrays."""
MAX_INTEGER_DIGITS = 400
MAX_VALUES = 250_000
"""Values in one text. Each becomes an object, and parsing blocks everything else."""
TOO_MANY_VALUES = f"There are more than {MAX_VALUES:,} values."
_VALUES_PER_PIECE, _MAX_PLAIN_VALUES = 256, 16
"""``dumps_in_pieces`` writes this many values at once, each with at most this many values inside."""
_ENVELOPE_KEYS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMS_KEYS = frozenset(
    "_meta argument arguments capabilities clientInfo cursor inputResponses level name notifications "
    "protocolVersion ref requestId requestState task taskId uri".split()
)
_REFERENCE_KEYS = frozenset({"type", "name", "uri"})


def fold_name(name: str) -> str:
    """Fold a name so that names which any case-insensitive parser treats as equal become equal.

    Such parsers use Unicode case folding (Go: long s and the Kelvin sign), upper case (.NET), or either (Java: the
    dotless and the dotted i).
    """
    return name.upper().casefold().replace("\u0307", "")


_FOLDED_ENVELOPE_KEYS = frozenset(map(fold_name, _ENVELOPE_KEYS))
_FOLDED_PARAMS_KEYS = frozenset(map(fold_name, _PARAMS_KEYS))
_FOLDED_REFERENCE_KEYS = frozenset(map(fold_name, _REFERENCE_KEYS))


class StrictJsonError(ValueError):
    """The bytes are not strict JSON. ``code`` is stable; ``message`` never quotes the input."""

    def __init__(self, code: StrictJsonCode, message: str) -> None:
        super().__init__(message)
        self.code: StrictJsonCode = code
        self.message = message


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise StrictJsonError("duplicate_key", "An object has the same key twice.")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise StrictJsonError("number", "A number is too large.")
    return value


def _int(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise StrictJsonError("number", f"An integer has more than {MAX_INTEGER_DIGITS} digits.")
    return int(text)


def _constant(_text: str) -> NoReturn:
    raise StrictJsonError("number", "NaN and Infinity are not JSON.")


def _encoder(*, sort_keys: bool) -> Callable[[JsonValue], str]:
    encoder = json.JSONEncoder(
        ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), sort_keys=sort_keys
    )
    if c_make_encoder is None:
        return encoder.encode
    # ``encode`` would create this encoder on every call.
    chunks = c_make_encoder(None, encoder.default, encode_basestring, None, ":", ",", sort_keys, False, False)
    return lambda value: "".join(chunks(value, 0))


# ``decode`` spends more time on skipping white space than the C scanner on a small message.
_scan = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant
).scan_once  # type: ignore[attr-defined]
_compact = _encoder(sort_keys=False)
_sorted = _encoder(sort_keys=True)


def loads(data: bytes, *, max_depth: int = MAX_DEPTH, any_text: bool = False) -> JsonValue:
    """Parse UTF-8 bytes. ``max_depth`` limits open objects and arrays. Raises only ``StrictJsonError``.

    ``any_text`` allows NUL and lone surrogates in strings, for JSON that is forwarded and not evaluated.
    """
    if len(data) >= 2 * MAX_VALUES and has_too_many_values(data):
        raise StrictJsonError("size", TOO_MANY_VALUES)
    # A small text has too few brackets to be too deep.
    if data.count(b"[") + data.count(b"{") > max_depth and is_too_deep(data, max_depth):
        raise StrictJsonError("depth", f"The nesting is deeper than {max_depth}.")
    try:
        text = data.decode("utf-8").strip(" \t\r\n")
    except UnicodeDecodeError:
        raise StrictJsonError("encoding", "The text is not UTF-8.") from None
    if text.startswith("\ufeff"):
        raise StrictJsonError("encoding", "The text begins with a byte-order mark.")
    value: JsonValue
    try:
        value, end = _scan(text, 0)
    except StrictJsonError:
        raise
    except (ValueError, StopIteration):
        raise StrictJsonError("syntax", "The text is not JSON.") from None
    if end != len(text):
        raise StrictJsonError("syntax", "There is something after the JSON value.")
    # Raw control characters and surrogates were rejected, so only an escape can produce an invalid string.
    if not any_text and b"\\u" in data:
        _check_strings(value)
    return value


def has_too_many_values(data: bytes) -> bool:
    """Whether JSON has more than ``MAX_VALUES`` values, without parsing it."""
    if len(data) < 2 * MAX_VALUES or count_values(data) <= MAX_VALUES:
        return False
    # A string counts once, even if it contains commas or brackets.
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # A value has at most one name.
    if plain.count(b'"') > 4 * MAX_VALUES:
        return True
    return count_values(b"".join(plain.split(b'"')[::2])) > MAX_VALUES


def count_values(bare: bytes) -> int:
    """An upper bound on the number of values: each follows a comma or an opening bracket."""
    return bare.count(b",") + bare.count(b"[") + bare.count(b"{") + 1


def _check_strings(root: JsonValue) -> None:
    """Check every string and key. Raises ``StrictJsonError``."""
    stack = [root]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack.extend(value.values())
            for key in value:
                _check_string(key)
        elif isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, str):
            _check_string(value)


def _check_string(text: str) -> None:
    if "\0" in text:
        raise StrictJsonError("string", "A string holds a NUL character.")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise StrictJsonError("string", "A string holds half of a surrogate pair.") from None


def dumps(value: JsonValue) -> bytes:
    """Encode to compact UTF-8. Raises ``ValueError`` on NaN, Infinity and lone surrogates, which ``loads`` rejects."""
    return _compact(value).encode("utf-8")


def dumps_in_pieces(value: JsonValue) -> bytes:
    """Encode to the same bytes in many short steps, between which other threads can run."""
    pieces: list[str] = []
    _write(value, pieces)
    return "".join(pieces).encode("utf-8")


def _write(value: JsonValue, pieces: list[str]) -> None:
    if not isinstance(value, dict | list) or not value:
        pieces.append(_compact(value))
        return
    pieces.append("{" if isinstance(value, dict) else "[")
    names = value if isinstance(value, dict) else range(len(value))
    plain: dict[Any, JsonValue] = {}
    for name in names:
        child = value[name]  # type: ignore[index]
        if _is_plain(child):
            plain[name] = child
            if len(plain) == _VALUES_PER_PIECE:
                _write_plain(plain, value, pieces)
                plain = {}
            continue
        if plain:
            _write_plain(plain, value, pieces)
            plain = {}
        if isinstance(value, dict):
            pieces.append(f"{_compact(name)}:")
        _write(child, pieces)
        pieces.append(",")
    if plain:
        _write_plain(plain, value, pieces)
    # Drop the comma after the last member.
    pieces[-1] = pieces[-1][:-1]
    pieces.append("}" if isinstance(value, dict) else "]")


def _is_plain(value: JsonValue) -> bool:
    """Whether the value is small enough to be written in one step."""
    if not isinstance(value, dict | list):
        return True
    children = value.values() if isinstance(value, dict) else value
    return len(value) <= _MAX_PLAIN_VALUES and not any(isinstance(child, dict | list) for child in children)


def _write_plain(plain: dict[Any, JsonValue], holder: JsonValue, pieces: list[str]) -> None:
    text = _compact(plain if isinstance(holder, dict) else list(plain.values()))
    pieces.append(f"{text[1:-1]},")


def canonical(value: JsonValue) -> bytes:
    """Encode to the canonical form for digests, which is the same for equal values.

    Compact UTF-8; keys sorted by code point; strings with only the escapes that JSON requires; exact integers of any
    size; floats as the shortest decimal that reads back the same (``repr``), so ``1`` and ``1.0`` differ. Not RFC 8785,
    which fails on integers beyond 2^53.
    """
    return _sorted(value).encode("utf-8")


def envelope_case_variant(message: JsonValue) -> str | None:
    """The first key of a JSON-RPC envelope (or of its ``params``, or the ``ref`` there) that differs from a known
    key only by case.

    A case-insensitive parser (Go's, .NET's) would read ``"Method"`` as ``"method"``. Folding follows Unicode, like
    Go's, so ``param\\u017f`` is detected too. ``None`` when there is no such key.
    """
    if not isinstance(message, dict):
        return None
    for key in message:
        if key not in _ENVELOPE_KEYS and fold_name(key) in _FOLDED_ENVELOPE_KEYS:
            return key
    params = message.get("params")
    if isinstance(params, dict):
        for key in params:
            if key not in _PARAMS_KEYS and fold_name(key) in _FOLDED_PARAMS_KEYS:
                return f"params.{key}"
        reference = params.get("ref")
        if isinstance(reference, dict):
            for key in reference:
                if key not in _REFERENCE_KEYS and fold_name(key) in _FOLDED_REFERENCE_KEYS:
                    return f"params.ref.{key}"
    return None
