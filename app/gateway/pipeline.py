"""Decide, admit, forward, record: the only way from a request to an upstream.

Nothing is forwarded without an admission, nothing on an admission older than a second, and every admitted call
gets an outcome.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from time import monotonic
from typing import cast
from uuid import UUID

from app.admission.store import (
    Admissions,
    Admitted,
    Call,
    Client,
    CredentialUnavailable,
    EndedSessions,
    InFlight,
    NeededApproval,
    Snapshots,
    UpstreamTarget,
    View,
    Withheld,
)
from app.crypto.keys import UnsealingFault
from app.domain.access import Decision, Question, decide, liveness
from app.domain.objects import Address, Part, Server, Token
from app.domain.policy import CallerProgram, Effect
from app.gateway.asking import NO_NAMES, Ask, KnownDecisions
from app.gateway.authenticator import Authenticator
from app.gateway.wire.exchange import DatabaseBudgetExceeded, Exchange, with_db_budget
from app.gateway.wire.refusals import (
    INTERNAL_ERROR,
    RETRY_SOON,
    CredentialRefused,
    Refused,
    bad_upstream,
    no_such_session,
)
from app.lib.clock import boot_time
from app.outbound.http import ForbiddenUrl, NotForwarded, UpstreamError

MAX_ROUNDS = 4

"""The first decision and three more on fresh views."""

ADMISSION_SECONDS = 1.0

"""How old an admission may be when the first byte goes upstream, from the moment its statement was sent."""

CONFIRMED_SECONDS = 2.0

"""How long ago a call may have been confirmed to be allowed still when it sends a further request: as long as a stream
may outlive its right."""


class Flight:
    """One admitted call on its way: what may end it, and whether it may still start."""

    __slots__ = (
        "_confirmed_at",
        "admitted_at",
        "client_left",
        "forwarding",
        "left_as",
        "task",
        "was_cut",
        "withdrawn",
    )

    def __init__(self, confirmed_at: Callable[[], float] = lambda: -inf) -> None:
        """``confirmed_at``: as of when the call was last confirmed to be allowed still, of ``boot_time``."""
        self.task = asyncio.current_task()
        self._confirmed_at = confirmed_at
        self.admitted_at = -inf
        self.forwarding = False
        self.was_cut = False
        self.client_left = False
        self.left_as = "cancelled"
        self.withdrawn = False
        """The client took its request back; it may be answered yet, by a server that was done or did not listen."""

    def cut(self) -> None:
        """Access was withdrawn: end both legs, or keep the call from starting."""
        self.was_cut = True
        self._stop()

    def leave(self) -> None:
        """The client cancelled by going away."""
        self.client_left = True
        self._stop()

    def suspend(self) -> None:
        """The client went away from a stream that it can take up again: how the call ends is not known yet."""
        self.left_as = "unknown"
        self.leave()

    def _stop(self) -> None:
        if self.forwarding and self.task is not None:
            self.task.cancel()

    def may_start(self) -> bool:
        """Asked when the upstream connection is ready and nothing was written yet."""
        return not self.was_cut and is_fresh(self.admitted_at)

    def may_go_on(self) -> bool:
        """Asked, in the same way, before each request that follows a first one under the same admission.

        A process that stood still cannot have been told of a withdrawal, so not having been cut is not enough.
        """
        known_at = max(self.admitted_at, self._confirmed_at())
        return not self.was_cut and boot_time() - known_at <= CONFIRMED_SECONDS


def is_fresh(known_at: float) -> bool:
    """Whether something may be sent on what the database said then (``boot_time``)."""
    return boot_time() - known_at <= ADMISSION_SECONDS


@dataclass(slots=True)
class Passed:
    """An admitted call, ready to be forwarded."""

    call_id: UUID
    view: View
    server: Server | None
    target: UpstreamTarget | None
    names: frozenset[str]
    flight: Flight
    approved: bool = False
    """It took an approval with it, which is good for this call alone."""

    @property
    def on(self) -> Server:
        """The server, where the question was about one."""
        return cast("Server", self.server)

    @property
    def to(self) -> UpstreamTarget:
        """Where to forward, where the question was about a server."""
        return cast("UpstreamTarget", self.target)


class Denied(Exception):
    """The deny is on record as the event ``event_id``; each endpoint answers it in its own words."""

    def __init__(self, view: View, decision: Decision, event_id: UUID) -> None:
        super().__init__(decision.reason_code)
        self.view = view
        self.decision = decision
        self.event_id = event_id


class ApprovalNeeded(Denied):
    """It is on record that the call needs these approvals, some of which are not there."""

    def __init__(
        self, view: View, decision: Decision, event_id: UUID, approvals: tuple[NeededApproval, ...]
    ) -> None:
        super().__init__(view, decision, event_id)
        self.approvals = approvals


class Unarmed(Refused):
    """The call is allowed, and there is no credential to send it with."""


class Cut(Exception):
    """The call was ended because access was withdrawn while it ran, or could not be confirmed any more."""


class ClientLeft(Exception):
    """The client ended the call by leaving."""


Forward = Callable[[Passed], Awaitable[str]]

"""Carries a passed call and returns its outcome: success or error."""

Check = Callable[[View, Server, UpstreamTarget], None]

"""Refuses, before admission, what this upstream cannot take."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The decide-admit-forward loop."""

    snapshots: Snapshots
    admissions: Admissions
    in_flight: InFlight
    ended_sessions: EndedSessions
    authenticator: Authenticator
    known: KnownDecisions = field(default_factory=KnownDecisions)

    async def run(
        self,
        exchange: Exchange,
        view: View,
        ask: Ask,
        forward: Forward,
        *,
        check: Check | None = None,
        client: Client | None = None,
    ) -> None:
        """Carry one request. Raises ``Denied``, ``Refused``, ``Cut``, ``ClientLeft``, ``StoreUnavailable``."""
        if client is not None:
            ask.program = CallerProgram(client.name, client.version)
        for _ in range(MAX_ROUNDS):
            at = self.snapshots.now()
            if ask.shows:
                decision, names = await ask.seen(view, at)
            else:
                decision, names = ask.answer(view, at, self.known), NO_NAMES
            server = None if ask.slug is None else view.servers.get(ask.slug)
            call = _call(exchange, view.token, server, ask, decision, client)
            if not decision.attainable:
                stopped = liveness(view.token, at, ask.address)
                if stopped is not None:
                    self.authenticator.refuse_dead(exchange, view, stopped)
                if isinstance(await with_db_budget(exchange, self.admissions.admit(call)), Admitted):
                    exchange.recorded = True
                    raise Denied(view, decision, call.id)
            else:
                try:
                    target = await self._ready(view, server, check)
                except Unarmed:
                    if await self._admit(exchange, call, view, Flight()):
                        self.admissions.finish(call.id, "not_forwarded", 0)
                        raise
                    view = await self._renewed(exchange, view, ask)
                    continue
                flight = Flight(partial(self.in_flight.confirmed_at, call.id))
                passed = Passed(call.id, view, server, target, names, flight, bool(decision.asks))
                self.in_flight.enter(call, view, ask.redecide_with(decision), flight.cut)
                try:
                    if await self._admit(exchange, call, view, flight) and await self._carry(passed, forward):
                        return
                finally:
                    self.in_flight.leave(call.id)
            view = await self._renewed(exchange, view, ask)
        raise undecided()

    async def _renewed(self, exchange: Exchange, view: View, ask: Ask) -> View:
        """The view to decide on anew. Raises ``Refused`` when it is the session that has ended."""
        if ask.session_id is not None and await with_db_budget(
            exchange, self.ended_sessions.has_ended(ask.session_id)
        ):
            raise no_such_session()
        return await self.authenticator.refresh(exchange, view, ask.slug)

    async def _ready(self, view: View, server: Server | None, check: Check | None) -> UpstreamTarget | None:
        if server is None:
            return None
        target = await self.target(server, view.token)
        if check is not None:
            check(view, server, target)
        return target

    async def target(self, server: Server, token: Token) -> UpstreamTarget:
        """Where the server's calls with this token go, and as whom. Raises ``Unarmed``, ``StoreUnavailable``."""
        try:
            return await self.snapshots.target(server, token)
        except UnsealingFault:
            raise Unarmed(
                502, INTERNAL_ERROR, "The stored credential of this server cannot be opened."
            ) from None
        except CredentialUnavailable as fault:
            text = "The gateway cannot get the access token that this server wants."
            if fault.passing:
                raise Unarmed(503, INTERNAL_ERROR, f"{text} Try again shortly.", headers=RETRY_SOON) from None
            raise Unarmed(502, INTERNAL_ERROR, f"{text} Its administrator has to mend this.") from None

    async def without_record(self, sending: Awaitable[str]) -> None:
        """Carry what rides on its session's admission. Raises ``Refused`` and ``NotForwarded``."""
        try:
            await sending
        except UpstreamError as error:
            raise upstream_failed(error) from None
        except ForbiddenUrl:
            raise forbidden_address() from None

    async def _admit(self, exchange: Exchange, call: Call, view: View, flight: Flight) -> bool:
        """Whether the call is admitted now. Raises ``Denied`` when it is on record that it may not run."""
        try:
            verdict = await with_db_budget(exchange, self.admissions.admit(call))
        except (asyncio.CancelledError, DatabaseBudgetExceeded):
            # The row may be durable all the same, and nothing was sent on it.
            self.admissions.finish(call.id, "not_forwarded", 0)
            raise
        exchange.recorded = True
        if isinstance(verdict, Withheld):
            if verdict.approvals:
                raise ApprovalNeeded(view, verdict.decision, call.id, verdict.approvals)
            raise Denied(view, verdict.decision, call.id)
        if not isinstance(verdict, Admitted):
            return False
        flight.admitted_at = verdict.at
        return True

    async def _carry(self, passed: Passed, forward: Forward) -> bool:
        """Forward and record the outcome. False when nothing was sent and the call must be decided anew."""
        flight, outcome, started_at = passed.flight, "error", monotonic()
        try:
            flight.forwarding = True
            outcome = await forward(passed)
            return True
        except NotForwarded:
            outcome = "not_forwarded"
            return False
        except UpstreamError as error:
            if not error.may_have_been_sent:
                outcome = "not_forwarded"
            raise upstream_failed(error) from None
        except ForbiddenUrl:
            outcome = "not_forwarded"
            raise forbidden_address() from None
        except CredentialRefused:
            self.snapshots.credential_refused(passed.to)
            raise
        except asyncio.CancelledError:
            outcome = flight.left_as if flight.client_left and not flight.was_cut else "cancelled"
            if flight.task is not None and (flight.was_cut or flight.client_left):
                flight.task.uncancel()
                raise (Cut if flight.was_cut else ClientLeft) from None
            raise
        finally:
            flight.forwarding = False
            if flight.withdrawn and outcome == "error":
                outcome = "cancelled"
            # failpoint: before_outcome
            self.admissions.finish(passed.call_id, outcome, int((monotonic() - started_at) * 1000))


def undecided() -> Refused:
    """The answer when no decision stayed true long enough to be used."""
    text = "Access rules are changing too fast to decide. Try again."
    return Refused(503, INTERNAL_ERROR, text, headers=RETRY_SOON)


def forbidden_address() -> Refused:
    """The server was registered with an address that may not be reached (any more)."""
    return bad_upstream("The address of this server may not be reached.")


def upstream_failed(error: UpstreamError) -> Refused:
    """The answer to a request whose upstream leg failed; nothing of the failure's text is shown."""
    if error.kind == "timeout":
        return Refused(504, INTERNAL_ERROR, "The server behind the gateway took too long.")
    if error.kind == "busy":
        return Refused(503, INTERNAL_ERROR, "The server behind the gateway is busy.", headers=RETRY_SOON)
    if error.kind == "unavailable":
        text = "The server behind the gateway does not answer at present; the call was not sent. Try again later."
        after = str(error.retry_after_s).encode()
        return Refused(503, INTERNAL_ERROR, text, headers=((b"retry-after", after),))
    if error.kind == "too_large":
        return bad_upstream("The answer of the server behind the gateway is too large.")
    return bad_upstream("The server behind the gateway cannot be reached or broke off.")


def _call(
    exchange: Exchange,
    token: Token,
    server: Server | None,
    ask: Ask,
    decision: Decision,
    client: Client | None,
) -> Call:
    trace = exchange.headers.get(b"traceparent")
    id, request_id = exchange.name_call()
    return Call(
        id=id,
        action=ask.action,
        method=ask.method,
        token=token,
        server=server,
        tool=ask.tool,
        decision=decision,
        client=client or exchange.client,
        arguments=ask.arguments if ask.beside is None else {**(ask.arguments or {}), "arguments": ask.beside},
        reason=ask.reason,
        continues=ask.continues,
        bound=ask.bound,
        request_id=request_id,
        trace_id=trace[3:35].decode("latin-1") if trace is not None and len(trace) >= 35 else None,
    )


HIDDEN_REASONS = frozenset({"tool_unknown", "tool_quarantined", "outside_scope", "no_grant"})


def reaches(view: View, slug: str, at: float, address: Address | None, part: Part | None = None) -> bool:
    """Whether the server as a whole, or a part of it, is in the token's reach, so that its existence may show."""
    question = Question(view.token, view.servers.get(slug), None, None, address, part)
    return decide(question, view.context, at).effect is not Effect.DENY


async def record_unknown_version(
    pipeline: Pipeline, exchange: Exchange, view: View, slug: str | None
) -> View:
    """Put it on record; gives the view that it was decided on. Raises ``Refused``, ``StoreUnavailable``."""
    ask = Ask("mcp.negotiate", exchange.method, slug, exchange.address, refused="version_unsupported")
    try:
        await pipeline.run(exchange, view, ask, _nowhere)
    except Denied as denied:
        view = denied.view
    return view


async def _nowhere(_passed: Passed) -> str:
    """Where a request goes that is refused whatever the token may use."""
    return "not_forwarded"
