"""A limit on the nesting of JSON, checked before parsing.

The standard library's parser recurses, and its own limit depends on the interpreter and the caller.
"""

import json
from collections.abc import Callable
from itertools import accumulate
from typing import Any

MAX_DEPTH = 256
"""Open objects and arrays. Far below the limits of the parser and the encoder in every supported interpreter."""
_BRACKETS = b"[]{}"
_NO_MARKS = bytes(set(range(256)).difference(_BRACKETS, b'"'))
# A step down is 1, a step up -1 as a signed byte.
_STEPS = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")


class TooDeep(ValueError):
    """The JSON is nested too deeply."""


def is_too_deep(data: bytes, max_depth: int = MAX_DEPTH) -> bool:
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


def loads(
    data: bytes | str, *, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """Parse JSON like the standard library, up to ``MAX_DEPTH``. Raises only ``ValueError``."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if is_too_deep(raw):
        raise TooDeep(f"The nesting is deeper than {MAX_DEPTH}.")
    text = data if isinstance(data, str) else data.decode()
    return json.loads(text, object_pairs_hook=object_pairs_hook)
