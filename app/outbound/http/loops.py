"""A header that says through which gateways an MCP request came, so that one which comes back is noticed.

A server of the fleet may be the gateway itself, under another name or behind a port that is forwarded, or a further
gateway that leads back. Each gateway adds a marker of its own, the same on all of its replicas.
"""

import hmac
import os
import re
from collections.abc import Sequence

VIA = b"scopegate-via"
MAX_MARKERS = 8
"""A request that came through more gateways goes in a circle too."""

_LIST = re.compile(rb"[0-9a-f]{16}(?:, [0-9a-f]{16})*")


class LoopGuard:
    """The marker of one deployment."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        """``keys``: secrets of the deployment, newest first; without one the marker is of this process only."""
        made = [hmac.digest(key, b"scopegate: via", "sha256")[:8].hex().encode() for key in keys]
        self._markers = made or [os.urandom(8).hex().encode()]

    def leads_back(self, via: bytes | None) -> bool:
        """Whether a request was sent by this very deployment."""
        if via is None:
            return False
        found = [marker.strip() for marker in via.split(b",")]
        return len(found) >= MAX_MARKERS or any(marker in found for marker in self._markers)

    def header(self, via: bytes | None = None) -> tuple[bytes, bytes]:
        """The header of a request that goes on. ``via``: what came with the request that it is for."""
        own = self._markers[0]
        return VIA, own if via is None or _LIST.fullmatch(via) is None else via + b", " + own
