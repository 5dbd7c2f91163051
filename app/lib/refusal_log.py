"""Why what a provider signed was refused, told to whoever sets it up; who sends it is told nothing."""

import logging
import time

_EVERY_S = 60.0
_log = logging.getLogger(__name__)


class Reasons:
    """Each reason once in a minute, since anybody can send tokens. Reasons are few, and never quote one."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said_at: dict[str, float] = {}

    def say(self, reason: str, request_id: str | None) -> None:
        """Write it to the log, unless it stands there already."""
        now = time.monotonic()
        if now - self._said_at.get(reason, -_EVERY_S) >= _EVERY_S:
            self._said_at[reason] = now
            _log.warning("request %s: %s was refused: %s", request_id, self._what, reason)
