"""``admission.store.Store`` on PostgreSQL: a snapshot is read, and calls become rows of the audit log."""

import hmac
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from app.access.snapshot import AccessSnapshot, with_read_timeout
from app.admission import rows, store
from app.admission.consuming import Demand, Settlement, approval_needs
from app.admission.consuming_writer import ConsumingWriter
from app.admission.in_flight import InFlightTable
from app.admission.rows import ClientRow, Clients, Dependency, Refusal, Refusals, Row, Values
from app.admission.shared_state import SharedState
from app.admission.store import Client, DecidedCall, StoreUnavailable, UpstreamTarget, View
from app.admission.usage import CallUses
from app.admission.writer import AdmissionWriter, make_outcome
from app.crypto.keys import Sealed, Sealer
from app.db.call_arguments import arguments_place
from app.db.rewinds import RewindGuard
from app.domain.access import POLICY_SET_ID, Decision
from app.domain.objects import Server, Token
from app.domain.token_format import Credential
from app.domain.visibility import within
from app.lib.event_loop import Turns
from app.lib.strict_json import canonical
from app.outbound.client_tokens import TokenFault
from app.outbound.stdio import Launch

MAX_KNOWN = 5_000
"""Decisions whose row cells are cached for later calls."""
MAX_REASON_LENGTH = 500
_DECIDED_IN_A_TURN = 8


class CommandTargets(Protocol):
    """The targets of servers that run as commands."""

    async def target(
        self, launch: Launch, read: UpstreamTarget, server: Server, token: Token
    ) -> UpstreamTarget:
        """Start the command if needed. Raises ``Refused`` of the gateway, and ``StoreUnavailable``."""


_SharedParts = tuple[Decision, str, Sequence[str], Sequence[Dependency], tuple[str, str] | None]
"""A decision, its action, and the cells, dependencies and span of all rows with both."""


class SnapshotReads:
    """The views of tokens and the targets of servers, from the access snapshot."""

    def __init__(self, snapshot: AccessSnapshot, commands: CommandTargets) -> None:
        self._snapshot = snapshot
        self._commands = commands
        self.now = snapshot.clock.now

    def known_view(self, credential: Credential) -> View | None:
        warm = self._snapshot.warm(credential)
        if warm is None:
            return None
        token, fleet, context = warm
        return View(token, context, fleet.by_slug, credential, fleet.directory)

    async def resolve(self, credential: Credential) -> View | None:
        return await self._view(credential, fresh=False)

    async def refresh(self, view: View, about: Collection[UUID] = ()) -> View | None:
        return await self._view(view.credential, fresh=True, about=about)

    async def _view(
        self, credential: Credential, *, fresh: bool, about: Collection[UUID] = ()
    ) -> View | None:
        # Each read has a deadline; this one also limits the wait for a concurrent read.
        async with with_read_timeout():
            token = await self._snapshot.token(credential, fresh=fresh)
            if token is None:
                return None
            only = self._stale_servers(token, about) if fresh else None
            fleet, context = await self._snapshot.fleet(fresh=fresh, only=only)
        return View(token, context, fleet.by_slug, credential, fleet.directory)

    def _stale_servers(self, token: Token, about: Collection[UUID]) -> Collection[UUID] | None:
        """The servers to read again, by the token's current rights and the current fleet; ``None``: all. The view of a
        stream may be hours old, without servers that were added since."""
        known = self._snapshot.last_fleet
        if known is None:
            return None
        reached = within(token, known.directory)
        if len(reached) == len(known.servers):
            return None
        return {server.id for server in reached}.union(id for id in about if id in known.servers)

    def known_target(self, server: Server, token: Token) -> UpstreamTarget | None:
        return self._snapshot.known_target(server, token.identity.id)

    async def target(self, server: Server, token: Token) -> UpstreamTarget:
        try:
            target = await self._snapshot.target(server, token.identity.id)
        except TokenFault as fault:
            raise store.CredentialUnavailable(fault.reason, passing=fault.passing) from None
        if target.launch is not None:
            return await self._commands.target(target.launch, target, server, token)
        return target

    def credential_refused(self, target: UpstreamTarget) -> None:
        if target.client is not None:
            self._snapshot.refused(target.client.id, target.headers)


class CallRecords:
    """The rows of calls, by the two writers."""

    def __init__(
        self,
        writer: AdmissionWriter,
        consuming: ConsumingWriter,
        clients: Clients,
        refusals: Refusals,
        uses: CallUses,
        digest_key: bytes,
        sealer: Sealer,
        rewinds: RewindGuard | None = None,
    ) -> None:
        self._writer = writer
        self._rewinds = RewindGuard() if rewinds is None else rewinds
        self._rewinds.listeners.append(clients.forget)
        self._sealer = sealer
        self._consuming = consuming
        self._clients = clients
        self._refusals = refusals
        self._uses = uses
        self._known: dict[tuple[int, str], _SharedParts] = {}
        self._digests = hmac.new(digest_key, digestmod="sha256")

    async def admit(self, call: DecidedCall) -> store.Admitted | store.Stale | store.Withheld:
        if self._rewinds.reason is not None:
            raise StoreUnavailable(self._rewinds.reason)
        decision = call.decision
        if (decision.asks or decision.quotas) and decision.attainable:
            return await self._settle(call)
        client_id, client_row = self._clients.name(*call.client)
        row = self._row(call, client_id, client_row)
        # mutation: row_written
        sent = await self._writer.write(row)
        if sent is None:
            return store.Stale()
        if client_row is not None:
            self._clients.written(client_row)
        self._uses.note(call, runs=row.span is not None)
        # mutation: admitted
        return store.Admitted(sent)

    async def _settle(self, call: DecidedCall) -> store.Admitted | store.Stale | store.Withheld:
        demand = self._demand(call)
        settlement = await self._consuming.settle(demand)
        if settlement is None:
            return store.Stale()
        if demand.client is not None:
            self._clients.written(demand.client)
        self._uses.note(call, runs=settlement.admitted)
        if settlement.admitted:
            # mutation: consuming_admitted
            return store.Admitted(settlement.sent_at)
        return _withhold(call.decision, settlement)

    def _demand(self, call: DecidedCall) -> Demand:
        decision = call.decision
        client_id, client_row = self._clients.name(*call.client)
        values = self._values(call, client_id)._replace(
            arguments_digest=self._digest(call),
            request_id=call.request_id,
            trace_id=rows.clean(call.trace_id),
        )
        risk = None if decision.tool is None else str(decision.tool.risk)
        return Demand(
            values,
            decision.depends_on,
            (decision.valid_from, decision.valid_until),
            approval_needs(values, decision.asks, risk, call.bound),
            decision.quotas,
            None if call.reason is None else call.reason[:MAX_REASON_LENGTH],
            call.continues,
            risk,
            client_row,
            self._argument_sealer(call),
            call.server is not None and call.server.keep_arguments == "all",
        )

    def _digest(self, call: DecidedCall) -> bytes | None:
        if call.arguments is None:
            return None
        # Copied, because creating a keyed hash costs as much as all the rest.
        mac = self._digests.copy()
        mac.update(canonical(call.arguments))
        return mac.digest()

    def _argument_sealer(self, call: DecidedCall) -> Callable[[], Sealed] | None:
        """A function that encrypts the arguments for this call; ``None`` if its server does not keep them."""
        if call.arguments is None or call.server is None or call.server.keep_arguments == "off":
            return None
        return lambda: self._sealer.seal(canonical(call.arguments), arguments_place(call.id))

    def _row(self, call: DecidedCall, client_id: UUID, client: ClientRow | None) -> Row:
        decision = call.decision
        known = self._known.get((id(decision), call.method))
        # The cached decision stays referenced, so that no other can get its address.
        if known is None or known[0] is not decision or known[1] != call.action:
            shared, depends_on = (
                rows.cells_of(self._values(call, client_id)),
                rows.dependencies_of(decision.depends_on),
            )
            span = (str(decision.valid_from), str(decision.valid_until)) if decision.allowed else None
            known = decision, call.action, shared, depends_on, span
            if decision.recurs:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known[id(decision), call.method] = known
        trace_id = None if call.trace_id is None else rows.clean(call.trace_id)
        cells = rows.cells_for(known[2], call.id, client_id, self._digest(call), call.request_id, trace_id)
        row = Row(call.id, cells, known[3], known[4], client)
        if call.server is not None and call.server.keep_arguments == "all":
            seal = self._argument_sealer(call)
            row.arguments = None if seal is None else seal()
        return row

    def _values(self, call: DecidedCall, client_id: UUID) -> Values:
        """The columns of a call's row that its decision determines."""
        decision, identity = call.decision, call.token.identity
        return Values(
            id=call.id,
            action=call.action,
            actor_type="identity",
            decision=decision.effect,
            reason_code=decision.reason_code,
            outcome=None if decision.allowed else "denied",
            actor_id=identity.id,
            on_behalf_of=None if identity.owner is None else identity.owner.id,
            token_id=call.token.id,
            server_id=None if call.server is None else call.server.id,
            tool=rows.clean(call.tool),
            grant_id=decision.grant_id,
            policy_ids=decision.policy_ids or None,
            policy_version=next(
                (version for id, version in decision.depends_on if id is POLICY_SET_ID), None
            ),
            observed_policy_ids=decision.observed or None,
            client_id=client_id,
            method=rows.clean(call.method),
            definition_digest=None if decision.tool is None else decision.tool.approved_digest,
        )

    def finish(self, call_id: UUID, outcome: str, duration_ms: int) -> None:
        if not self._consuming.admitted or not self._consuming.finish(call_id, outcome):
            self._writer.write_later(make_outcome(call_id, outcome, duration_ms))

    def count_refused(self, view: View, reason_code: str, client: Client, request_id: str) -> None:
        client_id, row = self._clients.name(client.ip, client.user_agent, client.name, client.version)
        token: Token = view.token
        owner = token.identity.owner
        self._refusals.count(
            Refusal(reason_code, client_id, token.id, token.identity.id, None if owner is None else owner.id),
            row,
            request_id,
        )

    def count_unknown(self, client: Client, request_id: str) -> None:
        self._count_address("credential_unknown", client.ip, request_id)

    def count_sign_in(self, address: str | None) -> None:
        """Count an invalid credential at the API, by source address."""
        self._count_address("api_credential_refused", address)

    def _count_address(self, reason_code: str, address: str | None, request_id: str | None = None) -> None:
        """The name that a client gives itself is not kept, since each new name would add two rows."""
        client_id, row = self._clients.name(address, None, None, None)
        self._refusals.count(Refusal(reason_code, client_id), row, request_id)


def _withhold(decision: Decision, settlement: Settlement) -> store.Withheld:
    """The recorded decision of a call that does not run, with its approvals."""
    recorded = replace(
        decision,
        effect=settlement.effect,
        reason_code=settlement.reason_code,
        policy_ids=settlement.policy_ids,
        reasons=settlement.reasons,
    )
    approvals = [
        store.NeededApproval(
            report.id,
            report.need.group,
            report.standing,
            report.expires_at,
            report.need.reasons,
            report.decision_reason,
        )
        for report in settlement.reports
    ]
    return store.Withheld(recorded, tuple(approvals))


class PostgresStore:
    """The store of one worker, which implements ``admission.store.Store`` by its parts."""

    def __init__(
        self,
        reads: SnapshotReads,
        records: CallRecords,
        shared: SharedState,
        table: InFlightTable,
        request_sync: Callable[[UUID], None],
    ) -> None:
        self._table = table
        self._turns = Turns(_DECIDED_IN_A_TURN)
        self.known_view, self.resolve, self.refresh = reads.known_view, reads.resolve, reads.refresh
        self.known_target, self.target = reads.known_target, reads.target
        self.credential_refused, self.now = reads.credential_refused, reads.now
        self.admit, self.finish = records.admit, records.finish
        self.count_refused, self.count_unknown = records.count_refused, records.count_unknown
        self.confirmed_at, self.unwatch = table.confirmed_at, table.leave
        self.wait_for_approvals = shared.wait_for_approvals
        self.end_session, self.has_session_ended = shared.end_session, shared.has_session_ended
        self.read_session_settings, self.change_session_settings = (
            shared.read_session_settings,
            shared.change_session_settings,
        )
        self.broadcast_cancel = shared.broadcast_cancel
        self.request_sync = request_sync

    def watch(
        self, call: DecidedCall, view: View, request: store.Reevaluated, cut: Callable[[], None]
    ) -> None:
        decision = call.decision

        async def reevaluate() -> Decision | None:
            # One change may cause thousands of decisions.
            await self._turns.take()
            fresh = await self.refresh(view, [id for id, _ in decision.depends_on])
            await self._turns.take()
            if fresh is None:
                return None
            return request.reevaluate(fresh, self.now(), frozenset(decision.asks))

        self._table.enter(call.id, decision, reevaluate, cut)
