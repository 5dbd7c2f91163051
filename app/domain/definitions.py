"""The digest of an approved tool definition, and the differences between two definitions.

The digest is SHA-256 over the canonical JSON (sorted keys, no spaces, exact integers, UTF-8) of the members that a
model or a policy can see: name, title, description, schemas and annotations. Absent members are left out. Both protocol
generations, which order keys differently, give the same digest.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

PINNED_MEMBERS = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


def definition_digest(tool: Mapping[str, object]) -> bytes:
    """The 32-byte digest of one ``tools/list`` item."""
    pinned = {key: tool[key] for key in PINNED_MEMBERS if tool.get(key) is not None}
    text = json.dumps(pinned, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).digest()


def text_digest(text: str) -> bytes:
    """The 32-byte digest of a server's instructions."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two definitions. ``pointer`` is a JSON Pointer (RFC 6901)."""

    kind: Literal["added", "removed", "changed"]
    pointer: str
    before: object
    after: object


def definition_changes(before: object, after: object, pointer: str = "") -> Iterator[Change]:
    """Yield the innermost differences. ``1``, ``1.0`` and ``true`` are three different values."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            inside = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            yield from _member(before, after, key, inside)
    elif isinstance(before, list) and isinstance(after, list):
        old, new = dict(enumerate(before)), dict(enumerate(after))
        for index in range(max(len(before), len(after))):
            yield from _member(old, new, index, f"{pointer}/{index}")
    elif type(before) is not type(after) or before != after:
        yield Change("changed", pointer, before, after)


def _member(
    before: Mapping[Any, object], after: Mapping[Any, object], key: object, pointer: str
) -> Iterator[Change]:
    if key not in before:
        yield Change("added", pointer, None, after[key])
    elif key not in after:
        yield Change("removed", pointer, before[key], None)
    else:
        yield from definition_changes(before[key], after[key], pointer)
