"""Counting what is refused before a decision: one row per token, reason and minute, or per source and minute.

A flood of bad credentials must not fill the disk, so these are counted in memory and written once a minute.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from app.admission.rows import ClientRow, Row, Values, cells_of
from app.lib.ids import new_id

FLUSH_EVERY_S = 60.0
KINDS = 10_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is counted together. Token, identity and owner are None for an unknown credential."""

    reason_code: str
    client_id: UUID | None
    token_id: UUID | None = None
    identity_id: UUID | None = None
    owner_id: UUID | None = None


class Refusals:
    """Counts refusals and writes them as audit rows."""

    def __init__(self, write: Callable[[Row], None]) -> None:
        self._write = write
        self._counts: Counter[Refusal] = Counter()
        self._clients: dict[UUID, ClientRow] = {}
        self._first: dict[Refusal, str | None] = {}

    def count(self, refusal: Refusal, client: ClientRow | None, request_id: str | None = None) -> None:
        """Count one; of those counted together the first one's request id is kept.

        Past the limit of kinds, sources are counted together rather than lost.
        """
        if refusal not in self._counts and len(self._counts) >= KINDS:
            refusal = Refusal(
                refusal.reason_code, None, refusal.token_id, refusal.identity_id, refusal.owner_id
            )
        self._counts[refusal] += 1
        self._first.setdefault(refusal, request_id)
        if client is not None and refusal.client_id is not None:
            self._clients[client[0]] = client

    def flush(self) -> None:
        """Queue what was counted as rows."""
        counts, self._counts = self._counts, Counter()
        clients, self._clients = self._clients, {}
        first, self._first = self._first, {}
        for refusal, count in counts.items():
            values = Values(
                id=new_id(),
                action="token.refused" if refusal.token_id else "credential.refused",
                decision="deny",
                reason_code=refusal.reason_code,
                outcome="denied",
                actor_type="identity" if refusal.identity_id else "anonymous",
                actor_id=refusal.identity_id,
                on_behalf_of=refusal.owner_id,
                token_id=refusal.token_id,
                client_id=refusal.client_id,
                event_count=count,
                request_id=first[refusal],
            )
            self._write(
                Row(
                    values.id,
                    cells_of(values),
                    client=None if refusal.client_id is None else clients.get(refusal.client_id),
                )
            )

    async def run(self) -> None:
        """Flush once a minute until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            self.flush()
