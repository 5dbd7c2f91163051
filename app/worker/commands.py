"""Servers that are commands, in a worker: their targets, and the supervision of the rights to use them.

A pair of token and server that a worker sends requests for is re-evaluated like a call in flight. When the right, the
command or its credential ends, the worker asks the supervisor to end the pair's programs. Once per second the worker
sends a heartbeat, and the supervisor returns the pairs that it runs for the worker, so that each is supervised.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.access.snapshot import AccessSnapshot
from app.admission.in_flight import InFlightTable
from app.admission.store import UpstreamTarget
from app.db.jobs import Periodic, repeat
from app.domain.access import AccessRequest, Decision, decide
from app.domain.objects import Server, Token
from app.features.servers.queries import ended_among
from app.gateway.wire.refusals import bad_upstream
from app.lib import strict_json
from app.lib.ids import new_id
from app.outbound.http import OutboundClient, OutboundError, Timeouts
from app.outbound.stdio import Holder, Launch, SupervisorAddress, secret_values

_log = logging.getLogger(__name__)
BEAT_EVERY_S = 1.0
# How long a pair without a program is watched: its first request may still be on its way.
_KEPT_S = 60.0
_TIMES = Timeouts(connect=2.0, first_byte=3.0, idle=3.0, total=3.0)

Pair = tuple[UUID, UUID]


@dataclass(slots=True)
class _Held:
    id: UUID
    launch: Launch
    target: UpstreamTarget
    used_at: float


class SupervisorClient:
    """The requests of a worker to the supervisor of its host."""

    def __init__(self, address: SupervisorAddress, worker_id: UUID, outbound: OutboundClient) -> None:
        self.address = address
        self.worker_id = worker_id
        self._outbound = outbound

    async def request(self, path: bytes, body: strict_json.JsonValue) -> Any:
        """Send a request; return the answer. Raises ``OutboundError`` and ``StrictJsonError``."""
        target, headers = self.address.target(self.worker_id, path), self.address.own_headers()
        sent = strict_json.dumps(body)
        response = await self._outbound.request("POST", target, headers, sent, timeouts=_TIMES)
        try:
            return strict_json.loads(await response.read())
        finally:
            response.close()


class Commands:
    """Builds targets of commands, and watches the pairs that use them."""

    def __init__(
        self, supervisor: SupervisorClient | None, table: InFlightTable, snapshot: AccessSnapshot
    ) -> None:
        self._supervisor = supervisor
        self._table = table
        self._snapshot = snapshot
        self._held: dict[Pair, _Held] = {}
        self._known: set[Pair] = set()
        self._gone: set[Pair] = set()
        self._wake = asyncio.Event()
        self._is_away = False

    def warnings(self) -> Sequence[str]:
        """The warnings for the operator."""
        words = (
            "the supervisor of commands cannot be reached: servers with the transport stdio are unavailable"
        )
        return (words,) if self._is_away else ()

    async def target(
        self, launch: Launch, read: UpstreamTarget, server: Server, token: Token
    ) -> UpstreamTarget:
        """Build the target of a call, and watch its pair from now on. Raises ``Refused``."""
        if self._supervisor is None:
            raise bad_upstream("This server is a command, and this host runs no commands.")
        pair = (token.id, server.id)
        held = self._held.get(pair)
        if held is None or held.launch != launch or held.target.protocol_versions != read.protocol_versions:
            _, context = await self._snapshot.fleet()
            decision = decide(AccessRequest(_anywhere(token), server), context, self._snapshot.clock.now())
            address, worker_id = self._supervisor.address, self._supervisor.worker_id
            target = UpstreamTarget(
                address.target(server.id),
                address.headers(launch, Holder(token.id, token.identity.id, worker_id)),
                read.protocol_versions,
                secrets=secret_values(launch.variables),
            )
            before = self._held.get(pair)
            if before is not None:
                self._table.leave(before.id)
            held = self._held[pair] = _Held(new_id(), launch, target, monotonic())
            self._table.enter(held.id, decision, lambda: self._again(pair, launch), lambda: self._cut(pair))
        held.used_at = monotonic()
        return held.target

    async def _again(self, pair: Pair, launch: Launch) -> Decision | None:
        """Whether the pair may still use this command and credential."""
        token = await self._snapshot.live_token(pair[0])
        fleet, context = await self._snapshot.fleet(fresh=True)
        server = fleet.servers.get(pair[1])
        if token is None or server is None:
            return None
        decision = decide(AccessRequest(_anywhere(token), server), context, self._snapshot.clock.now())
        if not decision.allowed:
            return decision
        read = await self._snapshot.target(server, token.identity.id)
        return decision if read.launch == launch else None

    def _cut(self, pair: Pair) -> None:
        if self._held.pop(pair, None) is not None:
            self._gone.add(pair)
            self._wake.set()

    async def run(self) -> None:
        """Send heartbeats and ended pairs to the supervisor until cancelled."""
        await repeat("supervising commands", self._beat, BEAT_EVERY_S, first_s=0, wake=self._wake)

    async def _beat(self) -> None:
        supervisor = self._supervisor
        if supervisor is None or not (self._held or self._known or self._gone):
            return
        try:
            await self._end(supervisor, set(self._gone))
            now = monotonic()
            listed = await supervisor.request(b"/beat", supervisor.worker_id.hex)
            self._known = {(UUID(hex=token), UUID(hex=server)) for token, server in listed}
            await self._end(supervisor, self._known - self._held.keys())
            for pair, held in list(self._held.items()):
                if pair not in self._known and now - held.used_at > _KEPT_S:
                    del self._held[pair]
                    self._table.leave(held.id)
            self._is_away = False
        except (OutboundError, ValueError, TypeError) as error:
            if not self._is_away:
                _log.warning("the supervisor of commands cannot be reached: %s", type(error).__name__)
            self._is_away = True

    async def _end(self, supervisor: SupervisorClient, pairs: set[Pair]) -> None:
        if pairs:
            await supervisor.request(b"/end", [[token.hex, server.hex] for token, server in pairs])
            self._gone -= pairs


class DeletedServers(Periodic):
    """Makes the supervisor of this host remove the data of deleted servers.

    A server must be recorded as deleted: one that this database does not know may belong to another service, or be
    newer than a restored backup.
    """

    name = "removing data of deleted servers"
    every_s = 60.0
    first_s = 0

    def __init__(
        self, supervisor: SupervisorClient | None, sessions: async_sessionmaker[AsyncSession]
    ) -> None:
        super().__init__(sessions)
        self._supervisor = supervisor

    async def round(self) -> None:
        if self._supervisor is None:
            return
        try:
            listed = await self._supervisor.request(b"/data", None)
            if not listed:
                return
            async with self._sessions() as session:
                deleted = await ended_among(session, [UUID(hex=server) for server in listed])
            if deleted:
                body: list[strict_json.JsonValue] = [server.hex for server in deleted]
                await self._supervisor.request(b"/forget", body)
        except (OutboundError, ValueError, TypeError) as error:
            _log.info("data of deleted servers is removed later: %s", type(error).__name__)


def _anywhere(token: Token) -> Token:
    """The token without its address rule, which applies to each request and not to running programs."""
    parent = None if token.parent is None else _anywhere(token.parent)
    return replace(token, ip_allow=(), parent=parent)
