"""``admission.store.Admissions`` on PostgreSQL: calls become rows of the audit log."""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, cast
from uuid import UUID

from app.admission.clients import Clients, Refusal, Refusals, clean
from app.admission.consuming import ApprovalReport, Demand, Settlement, approval_needs
from app.admission.consuming_writer import ConsumingWriter
from app.admission.rows import Row, Values, cells_for, cells_of
from app.admission.store import (
    Admitted,
    ApprovalState,
    Call,
    Client,
    NeededApproval,
    Stale,
    StoreUnavailable,
    View,
    Withheld,
)
from app.admission.writer import AdmissionUnavailable, AdmissionWriter, make_outcome
from app.crypto.keys import Sealed, Sealer
from app.db.call_arguments import arguments_place
from app.db.rewinds import RewindGuard
from app.domain.access import POLICY_SET_ID, Decision
from app.domain.objects import Token
from app.lib.strict_json import JsonValue, canonical

MAX_KNOWN = 5_000
"""Decisions whose row cells are cached for later calls."""
MAX_REASON_LENGTH = 500


class UseRecorder(Protocol):
    """Records what recorded calls use."""

    def note(self, call: Call, *, runs: bool) -> None: ...


class PostgresAdmissions:
    """``admission.store.Admissions`` on the two writers."""

    def __init__(
        self,
        writer: AdmissionWriter,
        consuming: ConsumingWriter,
        clients: Clients,
        refusals: Refusals,
        uses: UseRecorder,
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
        self._known: dict[tuple[int, str], tuple[Decision, str, Sequence[str]]] = {}
        self._digests = hmac.new(digest_key, digestmod="sha256")

    async def admit(self, call: Call) -> Admitted | Stale | Withheld:
        if self._rewinds.reason is not None:
            raise StoreUnavailable(self._rewinds.reason)
        decision = call.decision
        if decision.attainable and (decision.asks or decision.quotas):
            return await self._settle(call)
        client_id, client_row = self._clients.name(*call.client)
        row = self._row(call, client_id)
        row.client = client_row
        try:
            # mutation: row_written
            sent = await self._writer.write(row)
        except AdmissionUnavailable as error:
            raise StoreUnavailable from error
        if sent is None:
            return Stale()
        if client_row is not None:
            self._clients.written(client_row)
        self._uses.note(call, runs=decision.allowed)
        # mutation: admitted
        return Admitted(sent)

    async def _settle(self, call: Call) -> Admitted | Stale | Withheld:
        demand = self._demand(call)
        try:
            settlement = await self._consuming.settle(demand)
        except AdmissionUnavailable as error:
            raise StoreUnavailable from error
        if settlement is None:
            return Stale()
        if demand.client is not None:
            self._clients.written(demand.client)
        self._uses.note(call, runs=settlement.admitted)
        if settlement.admitted:
            # mutation: consuming_admitted
            return Admitted(settlement.sent_at)
        return _withhold(call.decision, settlement)

    def _demand(self, call: Call) -> Demand:
        decision = call.decision
        client_id, client_row = self._clients.name(*call.client)
        values = self._values(call, client_id)._replace(
            arguments_digest=self._digest(call),
            request_id=call.request_id,
            trace_id=clean(call.trace_id),
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

    def _digest(self, call: Call) -> bytes | None:
        if call.arguments is None:
            return None
        # Copied, because creating a keyed hash costs as much as all the rest.
        mac = self._digests.copy()
        mac.update(canonical(cast("JsonValue", call.arguments)))
        return mac.digest()

    def _argument_sealer(self, call: Call) -> Callable[[], Sealed] | None:
        """A function that encrypts the arguments for this call; ``None`` if its server does not keep them."""
        if call.arguments is None or call.server is None or call.server.keep_arguments == "off":
            return None
        arguments = cast("JsonValue", call.arguments)
        return lambda: self._sealer.seal(canonical(arguments), arguments_place(call.id))

    def _row(self, call: Call, client_id: UUID) -> Row:
        decision = call.decision
        like = self._cells(call, client_id)
        digest = self._digest(call)
        cells = cells_for(like, call.id, client_id, digest, call.request_id, clean(call.trace_id))
        span = (decision.valid_from, decision.valid_until) if decision.allowed else None
        row = Row(call.id, cells, decision.depends_on, span)
        if call.server is not None and call.server.keep_arguments == "all":
            seals = self._argument_sealer(call)
            row.arguments = None if seals is None else seals()
        return row

    def _cells(self, call: Call, client_id: UUID) -> Sequence[str]:
        """The cells that all calls with this decision share, cached for recurring decisions."""
        decision = call.decision
        if not decision.recurs:
            return cells_of(self._values(call, client_id))
        known = self._known.get((id(decision), call.method))
        # The cached decision stays referenced, so that no other can get its address.
        if known is not None and known[0] is decision and known[1] == call.action:
            return known[2]
        cells = cells_of(self._values(call, client_id))
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[id(decision), call.method] = (decision, call.action, cells)
        return cells

    def _values(self, call: Call, client_id: UUID) -> Values:
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
            tool=clean(call.tool),
            grant_id=decision.grant_id,
            policy_ids=decision.policy_ids or None,
            policy_version=_policy_version(decision),
            observed_policy_ids=decision.observed or None,
            client_id=client_id,
            method=clean(call.method),
            definition_digest=None if decision.tool is None else decision.tool.approved_digest,
        )

    def finish(self, call_id: UUID, outcome: str, duration_ms: int) -> None:
        if not self._consuming.finish(call_id, outcome):
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
        client_id, row = self._clients.name(client.ip, None, None, None)
        self._refusals.count(Refusal("credential_unknown", client_id), row, request_id)


def _policy_version(decision: Decision) -> int | None:
    for id, version in decision.depends_on:
        if id is POLICY_SET_ID:
            return version
    return None


def _withhold(decision: Decision, settlement: Settlement) -> Withheld:
    """The recorded decision of a call that does not run, with its approvals."""
    recorded = replace(
        decision,
        effect=settlement.effect,
        reason_code=settlement.reason_code,
        policy_ids=settlement.policy_ids,
        reasons=settlement.reasons,
    )
    return Withheld(recorded, tuple(_needed_approval(report) for report in settlement.reports))


def _needed_approval(report: ApprovalReport) -> NeededApproval:
    return NeededApproval(
        report.id,
        report.need.group,
        ApprovalState(report.standing.value),
        report.expires_at,
        report.need.reasons,
        report.decision_reason,
    )
