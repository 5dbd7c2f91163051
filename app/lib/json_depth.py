"""How deep JSON may nest: our own bound, counted before it is parsed, so that it is the same on every Python.

The standard library's parser recurses, and where it gives up depends on the interpreter and on who calls it.
"""

import json
from collections.abc import Callable
from itertools import accumulate
from typing import Any

MAX_DEPTH = 256
"""Open objects and arrays. Far from where any supported interpreter gives up, in its parser and in its encoder."""
_BRACKETS = b"[]{}"
_NO_MARKS = bytes(set(range(256)).difference(_BRACKETS, b'"'))
# A step down is 1, a step up -1 as a signed byte.
_STEPS = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")


class TooDeep(ValueError):
    """JSON nests deeper than is read."""


def is_too_deep(data: bytes, max_depth: int = MAX_DEPTH) -> bool:
    """Whether UTF-8 text has more than ``max_depth`` objects and arrays open at once, if it is JSON.

    Of what is no JSON it is right up to where a parser stops.
    """
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return False
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    # Of most strings nothing is left, and two marks at one place change nothing about what is inside of a string.
    marks = plain.translate(None, _NO_MARKS).replace(b'""', b"")
    steps = b"".join(marks.split(b'"')[::2]).translate(_STEPS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > max_depth


def loads(
    data: bytes | str, *, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """Parse JSON as the standard library does, up to ``MAX_DEPTH``. Raises ``ValueError`` and nothing else."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if is_too_deep(raw):
        raise TooDeep(f"The nesting is deeper than {MAX_DEPTH}.")
    text = data if isinstance(data, str) else data.decode()
    return json.loads(text, object_pairs_hook=object_pairs_hook)
