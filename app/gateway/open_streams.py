"""How many streams that stay open a token and its identity have: each holds a connection to the upstream that others
may need."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from app.admission.store import Admissions, View
from app.gateway.limits import Allowance
from app.gateway.wire.http import Exchange
from app.gateway.wire.refusals import INVALID_REQUEST, RETRY_SOON, Refused


class OpenStreams:
    """Counts them in this worker."""

    def __init__(self, admissions: Admissions, per_token: Allowance, per_identity: Allowance) -> None:
        self._admissions = admissions
        self._per_token = per_token.streams
        self._per_identity = per_identity.streams
        self._open: Counter[UUID] = Counter()

    def open(self, exchange: Exchange, view: View) -> None:
        """Hold one until ``close``. Raises ``Refused`` (429) when there are too many; do so before it is decided."""
        token = view.token
        full = bool(self._per_token) and self._open[token.id] >= self._per_token
        if full or (self._per_identity and self._open[token.identity.id] >= self._per_identity):
            exchange.recorded = True
            self._admissions.count_refused(view, "too_many_streams", exchange.client, exchange.request_id)
            whose = "This token" if full else "The identity of this token"
            raise Refused(
                429, INVALID_REQUEST, f"{whose} has too many open streams. Close one.", headers=RETRY_SOON
            )
        self._open[token.id] += 1
        self._open[token.identity.id] += 1

    def close(self, view: View) -> None:
        """Let one go."""
        for id in (view.token.id, view.token.identity.id):
            self._open[id] -= 1
            if not self._open[id]:
                del self._open[id]

    @contextmanager
    def opened(self, exchange: Exchange, view: View) -> Iterator[None]:
        """Hold one around a block. Raises as ``open`` does."""
        self.open(exchange, view)
        try:
            yield
        finally:
            self.close(view)
