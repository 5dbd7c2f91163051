"""The digest that pins a tool's definition.

SHA-256 over the canonical JSON (sorted keys, no spaces, exact integers, UTF-8) of the members a model or a
policy can see: name, title, description, schemas and annotations. Absent members are left out, so the two
protocol eras, which order keys differently, give one digest.
"""

import hashlib
import json
from collections.abc import Mapping

PINNED_MEMBERS = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


def definition_digest(tool: Mapping[str, object]) -> bytes:
    """The 32-byte digest of one ``tools/list`` item."""
    pinned = {key: tool[key] for key in PINNED_MEMBERS if tool.get(key) is not None}
    text = json.dumps(pinned, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).digest()
