"""How many streams that stay open one token has: each holds a connection to the upstream that others may need."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from app.gateway.refusals import INVALID_REQUEST, RETRY_SOON, Refused

MAX_OPEN = 16
"""For each token and worker."""


class OpenStreams:
    """Counts them in this worker."""

    def __init__(self) -> None:
        self._open: Counter[UUID] = Counter()

    @contextmanager
    def opened(self, token_id: UUID) -> Iterator[None]:
        """Hold one. Raises ``Refused`` (429) when the token has too many."""
        if self._open[token_id] >= MAX_OPEN:
            raise Refused(
                429, INVALID_REQUEST, "This token has too many open streams. Close one.", headers=RETRY_SOON
            )
        self._open[token_id] += 1
        try:
            yield
        finally:
            self._open[token_id] -= 1
            if not self._open[token_id]:
                del self._open[token_id]
