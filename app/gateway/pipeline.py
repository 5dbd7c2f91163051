"""The pipeline of every request to an upstream: decide, admit, forward, record.

Nothing is forwarded without an admission, or on one older than a second. Every admitted call gets an outcome.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from types import TracebackType
from typing import Self
from uuid import UUID

from app.admission.store import (
    Admitted,
    Client,
    CredentialUnavailable,
    DecidedCall,
    NeededApproval,
    Stale,
    Store,
    UpstreamTarget,
    View,
    Withheld,
)
from app.crypto.keys import UnsealingFault
from app.domain.access import AccessRequest, Decision, decide, liveness
from app.domain.objects import Address, Part, Server, Token
from app.domain.policy import Effect
from app.gateway.access_check import NO_NAMES, AccessCheck, DecisionCache
from app.gateway.authenticator import Authenticator
from app.gateway.wire.exchange import ClientWork, DatabaseBudgetExceeded, Exchange, with_db_budget
from app.gateway.wire.refusals import (
    INTERNAL_ERROR,
    RETRY_SOON,
    CredentialRefused,
    Refused,
    bad_upstream,
    no_such_session,
)
from app.lib.clock import boot_time
from app.lib.ids import REQUEST_ID_PREFIX, id_hex, new_id
from app.lib.strict_json import JsonValue
from app.outbound.http import ForbiddenUrl, NotForwarded, UpstreamError

MAX_ROUNDS = 4
"""The first decision and three retries on newer views."""
ADMISSION_SECONDS = 1.0
"""Maximum age of an admission when the first byte goes upstream, counted from when its statement was sent."""
CONFIRMED_SECONDS = 2.0
"""Maximum age of the last confirmation of a running call when it sends another request. This equals the time that a
stream may outlive its access."""


class InFlightCall(ClientWork):
    """An admitted request that is running.

    Forward it inside ``async with``, and set its ``outcome``. Leaving the block records the outcome, stops watching the
    call, and converts errors to answers.
    """

    admitted_at = -inf
    was_cut = False
    outcome = "error"
    """``success`` or ``error``."""
    undelivered = False
    """Nothing was sent, so the request can be decided again."""
    _started_at = 0.0

    def __init__(
        self,
        pipeline: "Pipeline",
        id: UUID,
        view: View,
        server: Server | None,
        target: UpstreamTarget | None,
        names: frozenset[str] = NO_NAMES,
        *,
        approved: bool = False,
    ) -> None:
        super().__init__()
        self._pipeline = pipeline
        self.id = id
        self.view = view
        self.server: Server = server  # type: ignore[assignment]
        """The server, where the request is about one."""
        self.target: UpstreamTarget = target  # type: ignore[assignment]
        """Where to forward, where the request is about a server."""
        self.names = names
        self.approved = approved
        """The call consumed an approval, which covers only this call."""

    def cut(self) -> None:
        """Stop the call because access was withdrawn: close both connections, or prevent the start."""
        self.was_cut = True
        self._stop()

    def may_start(self) -> bool:
        """Whether to send, checked when the upstream connection is ready and before anything is written."""
        return not self.was_cut and boot_time() - self.admitted_at <= ADMISSION_SECONDS

    def may_continue(self) -> bool:
        """Whether to send another request under the same admission, checked like ``may_start``.

        ``was_cut`` is not enough: a process that was frozen has missed notifications of withdrawn access.
        """
        known_at = max(self.admitted_at, self._pipeline.store.confirmed_at(self.id))
        return not self.was_cut and boot_time() - known_at <= CONFIRMED_SECONDS

    async def __aenter__(self) -> Self:
        self._started_at = monotonic()
        self.is_running = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Raises ``Refused``, ``Cut`` and ``ClientLeft``."""
        self.is_running, store = False, self._pipeline.store
        try:
            answer = None if error is None else self._fail(error)
        finally:
            if self.canceled_by_client and self.outcome == "error":
                self.outcome = "cancelled"
            took_ms = int((monotonic() - self._started_at) * 1000)
            try:
                # failpoint: before_outcome
                store.finish(self.id, self.outcome, took_ms)
            finally:
                store.unwatch(self.id)
        if answer is not None:
            raise answer from None
        return self.undelivered

    def _fail(self, error: BaseException) -> Exception | None:
        """Set the outcome for an error, and return the exception to raise instead of it, if any."""
        self.outcome = "error"
        if isinstance(error, NotForwarded):
            self.undelivered, self.outcome = True, "not_forwarded"
        elif isinstance(error, UpstreamError | ForbiddenUrl):
            if isinstance(error, ForbiddenUrl) or not error.may_have_been_sent:
                self.outcome = "not_forwarded"
            return refuse_upstream_error(error)
        elif isinstance(error, CredentialRefused):
            self._pipeline.store.credential_refused(self.target)
        elif isinstance(error, asyncio.CancelledError):
            self.outcome = self.leave_outcome if self.client_left and not self.was_cut else "cancelled"
            if self.task is not None and (self.was_cut or self.client_left):
                self.task.uncancel()
                return Cut() if self.was_cut else ClientLeft()
        return None


@dataclass(slots=True, eq=False, repr=False)
class FreshCall:
    """A request under its session's admission, decided on a view that was read after the request arrived.

    It has no row of its own, and expires like an admission.
    """

    view: View
    server: Server
    target: UpstreamTarget
    read_at: float
    outcome: str = "error"
    undelivered: bool = False

    def may_start(self) -> bool:
        """Whether to send, checked when the upstream connection is ready and before anything is written."""
        return boot_time() - self.read_at <= ADMISSION_SECONDS

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Raises ``Refused``."""
        if isinstance(error, UpstreamError | ForbiddenUrl):
            raise refuse_upstream_error(error) from None
        self.undelivered = isinstance(error, NotForwarded)
        return self.undelivered


class Denied(Exception):
    """The request was denied, and the audit event ``event_id`` is durable."""

    def __init__(self, view: View, decision: Decision, event_id: UUID) -> None:
        super().__init__(decision.reason_code)
        self.view = view
        self.decision = decision
        self.event_id = event_id


class ApprovalNeeded(Denied):
    """The call needs these approvals and lacks some of them; the audit event is durable."""

    def __init__(
        self, view: View, decision: Decision, event_id: UUID, approvals: tuple[NeededApproval, ...]
    ) -> None:
        super().__init__(view, decision, event_id)
        self.approvals = approvals


class NoCredential(Refused):
    """The call is allowed, but there is no upstream credential for it."""


class Cut(Exception):
    """The call was ended because its access was withdrawn, or could not be confirmed."""


class ClientLeft(Exception):
    """The client ended the call by disconnecting."""


Check = Callable[[Server, UpstreamTarget], None]
"""Refuses a request that the upstream cannot handle. It runs after the decision, so only callers with access see it."""


@dataclass(slots=True)
class GatewayRequest:
    """A client's request in the pipeline: the access it needs, and what the audit log records.

    Not frozen, because a frozen dataclass takes three times as long to create.
    """

    exchange: Exchange
    view: View
    """The newest view that the request was decided on."""
    access: AccessCheck
    method: str
    check: Check | None = None
    client: Client | None = None
    additional: JsonValue = None
    """The arguments of a prompt, which policies do not read. Approvals cover them, and the audit log records them."""
    reason: str | None = None
    """The caller's reason, shown to approvers."""
    continues: UUID | None = None
    """The previous round of this call, if proven. Its approvals apply to this round."""
    bound: object = None
    """JSON that an approval covers in addition to name and arguments."""

    def record(self, server: Server | None, decision: Decision) -> DecidedCall:
        """Make the row of the audit log, with a new id."""
        exchange, access, arguments = self.exchange, self.access, self.access.arguments
        trace = exchange.headers.get(b"traceparent")
        id, request_id = new_id(), exchange.known_request_id
        if request_id is None:
            # Derived from the row's id, which the row says by None: another indexed id would cost as much as the row.
            exchange.known_request_id = f"{REQUEST_ID_PREFIX}{id_hex(id)}"
        # By position, because keywords cost as much as the rest of the creation.
        return DecidedCall(
            id,
            access.action,
            self.method,
            self.view.token,
            server,
            access.tool,
            decision,
            self.client or exchange.client,
            arguments if self.additional is None else {**(arguments or {}), "arguments": self.additional},
            request_id,
            trace[3:35].decode("latin-1") if trace is not None and len(trace) >= 35 else None,
            self.reason,
            self.continues,
            self.bound,
        )


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The services that decide and admit requests. The endpoints forward them."""

    store: Store
    authenticator: Authenticator
    decisions: DecisionCache = field(default_factory=DecisionCache)

    def admitted(self, request: GatewayRequest) -> "AdmittedCalls":
        """Yield the admitted call, and again after a newer decision where nothing was sent::

            async for call in pipeline.admitted(request):
                async with call:
                    call.outcome = await self.forward(call)

        Raises ``Denied``, ``Refused``, ``Cut``, ``ClientLeft``, ``StoreUnavailable``.
        """
        return AdmittedCalls(self, request)

    def decide_fresh(self, request: GatewayRequest) -> "FreshCalls":
        """Yield the call of a request under its session's admission. Only a denial writes a row."""
        return FreshCalls(self, request)

    async def target(self, server: Server, token: Token) -> UpstreamTarget:
        """Return the URL and credential for calls to a server. Raises ``NoCredential``, ``StoreUnavailable``."""
        try:
            return await self.store.target(server, token)
        except UnsealingFault:
            raise NoCredential(
                502, INTERNAL_ERROR, "The stored credential of this server cannot be decrypted."
            ) from None
        except CredentialUnavailable as fault:
            text = "The gateway cannot get the access token that this server requires."
            if fault.passing:
                text = f"{text} Try again shortly."
                raise NoCredential(503, INTERNAL_ERROR, text, headers=RETRY_SOON) from None
            text = f"{text} An administrator must correct the credential."
            raise NoCredential(502, INTERNAL_ERROR, text) from None


class AdmittedCalls:
    """The rounds of a request. Each round yields an admitted call, or reads newer access data for the next.

    Not a generator, because a generator that is left early is closed later, in another task.
    """

    _rounds = 0
    _call: InFlightCall | None = None

    def __init__(self, pipeline: Pipeline, request: GatewayRequest) -> None:
        self._pipeline = pipeline
        self._request = request

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> InFlightCall:
        if self._call is not None:
            if not self._call.undelivered:
                raise StopAsyncIteration
            await self._refresh()
        while self._rounds < MAX_ROUNDS:
            self._rounds += 1
            self._call = await self._round()
            if self._call is not None:
                return self._call
            await self._refresh()
        raise undecided()

    async def _round(self) -> InFlightCall | None:
        """Decide and admit once; ``None`` when the access data has changed."""
        pipeline, request, store = self._pipeline, self._request, self._pipeline.store
        access, view, at = request.access, request.view, store.now()
        decision, names = (
            await access.decide_visible(view, at)
            if (access.lists or access.parts) and access.slug is not None
            else (access.decide(view, at, pipeline.decisions), NO_NAMES)
        )
        server = None if access.slug is None else view.servers.get(access.slug)
        record = request.record(server, decision)
        if decision.effect is not Effect.ALLOW and not decision.attainable:
            await self._deny(record, at)
            return None
        target, missing = None, None
        if server is not None:
            try:
                target = store.known_target(server, view.token) or await pipeline.target(server, view.token)
            except NoCredential as error:
                missing = error
            else:
                if request.check is not None:
                    request.check(server, target)
        call = InFlightCall(pipeline, record.id, view, server, target, names, approved=bool(decision.asks))
        verdict: Admitted | Stale | Withheld | None = None
        store.watch(record, view, access, call.cut)
        try:
            verdict = await with_db_budget(request.exchange, store.admit(record))
        except (asyncio.CancelledError, DatabaseBudgetExceeded):
            # The row may be durable, but nothing was sent.
            store.finish(call.id, "not_forwarded", 0)
            raise
        finally:
            if missing is not None or not isinstance(verdict, Admitted):
                store.unwatch(call.id)
        request.exchange.recorded = True
        if not isinstance(verdict, Admitted):
            _raise_withheld(view, verdict, call.id)
            return None
        if missing is not None:
            store.finish(call.id, "not_forwarded", 0)
            raise missing
        call.admitted_at = verdict.at
        return call

    async def _deny(self, record: DecidedCall, at: float) -> None:
        """Raise ``Denied`` once the denial is durable."""
        request, pipeline = self._request, self._pipeline
        stopped = liveness(record.token, at, request.access.address)
        if stopped is not None:
            pipeline.authenticator.refuse_dead(request.exchange, request.view, stopped)
        if isinstance(await with_db_budget(request.exchange, pipeline.store.admit(record)), Admitted):
            request.exchange.recorded = True
            raise Denied(request.view, record.decision, record.id)

    async def _refresh(self) -> None:
        """Read the view again. Raises ``Refused`` when the session has ended."""
        request, pipeline = self._request, self._pipeline
        session_id = request.access.session_id
        if session_id is not None and await with_db_budget(
            request.exchange, pipeline.store.has_session_ended(session_id)
        ):
            raise no_such_session()
        request.view = await pipeline.authenticator.refresh(
            request.exchange, request.view, request.access.slug
        )


class FreshCalls:
    """The rounds of a request without a row. A denied request goes through ``AdmittedCalls``, which records it.

    No admission detects a stale view here, so the view must have been read after the request arrived.
    """

    _rounds = 0
    _call: FreshCall | None = None
    _admitted: AdmittedCalls | None = None

    def __init__(self, pipeline: Pipeline, request: GatewayRequest) -> None:
        self._pipeline = pipeline
        self._request = request

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FreshCall | InFlightCall:
        if self._admitted is not None:
            return await anext(self._admitted)
        if self._call is not None and not self._call.undelivered:
            raise StopAsyncIteration
        if self._rounds == MAX_ROUNDS:
            raise undecided()
        self._rounds += 1
        pipeline, request, read_at = self._pipeline, self._request, boot_time()
        slug = request.access.slug or ""
        view = request.view = await pipeline.authenticator.refresh(request.exchange, request.view, slug)
        if not request.access.reevaluate(view, pipeline.store.now()).allowed:
            self._admitted = pipeline.admitted(request)
            return await anext(self._admitted)
        server = view.servers[slug]
        target = await pipeline.target(server, view.token)
        if request.check is not None:
            request.check(server, target)
        # From here on, only the server can refuse the request.
        request.exchange.recorded = True
        self._call = FreshCall(view, server, target, read_at)
        return self._call


def _raise_withheld(view: View, verdict: Stale | Withheld, event_id: UUID) -> None:
    if isinstance(verdict, Withheld):
        if verdict.approvals:
            raise ApprovalNeeded(view, verdict.decision, event_id, verdict.approvals)
        raise Denied(view, verdict.decision, event_id)


def undecided() -> Refused:
    """Return the answer when access data changed in every round."""
    text = "Access rules are changing too fast to decide. Try again."
    return Refused(503, INTERNAL_ERROR, text, headers=RETRY_SOON)


def refuse_upstream_error(error: UpstreamError | ForbiddenUrl) -> Refused:
    """Return the answer to a failed upstream request, without the text of the failure."""
    if isinstance(error, ForbiddenUrl):
        # The rules for addresses may have changed since the server was registered.
        return bad_upstream("The gateway is not allowed to connect to the address of this server.")
    if error.kind == "timeout":
        return Refused(504, INTERNAL_ERROR, "The server behind the gateway took too long.")
    if error.kind == "busy":
        return Refused(503, INTERNAL_ERROR, "The server behind the gateway is busy.", headers=RETRY_SOON)
    if error.kind == "unavailable":
        text = "The server behind the gateway does not answer. The call was not sent. Try again later."
        after = str(error.retry_after_s).encode()
        return Refused(503, INTERNAL_ERROR, text, headers=((b"retry-after", after),))
    if error.kind == "too_large":
        return bad_upstream("The answer of the server behind the gateway is too large.")
    return bad_upstream("The server behind the gateway cannot be reached, or closed the connection.")


HIDDEN_REASONS = frozenset({"tool_unknown", "tool_quarantined", "outside_scope", "no_grant"})


def reaches(view: View, slug: str, at: float, address: Address | None, part: Part | None = None) -> bool:
    """Whether a server, or a part of it, is in the token's reach, so that the caller may know that it exists."""
    request = AccessRequest(view.token, view.servers.get(slug), None, None, address, part)
    return decide(request, view.context, at).effect is not Effect.DENY


async def record_unknown_version(
    pipeline: Pipeline, exchange: Exchange, view: View, slug: str | None
) -> View:
    """Record an unknown protocol version as a denied call.

    Returns the view of the decision. Raises ``Refused``, ``StoreUnavailable``.
    """
    access = AccessCheck("mcp.negotiate", slug, exchange.address, refused="version_unsupported")
    request = GatewayRequest(exchange, view, access, exchange.method)
    with suppress(Denied):
        await anext(pipeline.admitted(request))
    return request.view
