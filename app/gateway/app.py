"""The gateway as an ASGI application: dispatch, and the conversion of exceptions to answers."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import NoReturn
from uuid import UUID

from app.admission.store import Client, Store, StoreUnavailable
from app.domain.objects import Network
from app.gateway.aggregate.calls import AggregateServices
from app.gateway.aggregate.endpoint import Aggregate
from app.gateway.aggregate.sessions import AggregateSessions, SessionSettingsCache, UpstreamSessions
from app.gateway.approvals import Approvals
from app.gateway.authenticator import Authenticator
from app.gateway.limits import Allowance, CallLimits, CallTimes, OpenStreams
from app.gateway.mirror.call import MirrorServices, RunningCalls
from app.gateway.mirror.endpoint import Mirror
from app.gateway.pipeline import ClientLeft, Cut, Pipeline
from app.gateway.results import Tasks
from app.gateway.sealed_ids import ServerRequests, SessionSealer
from app.gateway.wire import refusals
from app.gateway.wire.answers import InputRequestRules
from app.gateway.wire.exchange import Alarms, ClientGone, Exchange, Receive, Scope, Send
from app.gateway.wire.messages import read_version
from app.gateway.wire.refusals import Refused
from app.http.service_address import ENCODED_SLASH, OwnAddresses, ServiceAddress, has_encoded_slash
from app.lib.logs import log_fault
from app.outbound.http import VIA, OutboundClient

log = logging.getLogger(__name__)
DEFAULT_BODY_LIMIT = 1024 * 1024
UNLIMITED = Allowance()
USUAL_TIMES = CallTimes()


class Gateway:
    """The ASGI application for ``/mcp`` and ``/mcp/{slug}``."""

    def __init__(
        self,
        store: Store,
        outbound: OutboundClient,
        *,
        session_keys: Sequence[bytes],
        public_url: str,
        allowed_origins: Collection[str] = (),
        body_limit: int = DEFAULT_BODY_LIMIT,
        trusted_proxies: Collection[Network] = (),
        per_token: Allowance = UNLIMITED,
        per_identity: Allowance = UNLIMITED,
        times: CallTimes = USUAL_TIMES,
    ) -> None:
        self._public_url = public_url.rstrip("/")
        self._alarms = Alarms()
        self._loops = outbound.loops
        self._store = store
        self._proxies = tuple(trusted_proxies)
        address = ServiceAddress(public_url, allowed_origins)
        self._authenticator = Authenticator(store, address)
        pipeline = Pipeline(store, self._authenticator)
        sealer = SessionSealer(session_keys)
        self._upstreams = UpstreamSessions(outbound, times.call)
        self._limits = CallLimits(store, per_token, per_identity)
        streams = OpenStreams(store, per_token, per_identity)
        self._session_settings = SessionSettingsCache(store)
        self._sessions = AggregateSessions(sealer, store, self._session_settings, self._upstreams)
        self._running = RunningCalls(self._alarms, self._sessions.broadcast_cancel)
        self._approvals = Approvals(sealer, store, self._public_url)
        input_rules = InputRequestRules(OwnAddresses((public_url, *allowed_origins)))
        services = MirrorServices(
            pipeline,
            outbound,
            sealer,
            ServerRequests(sealer),
            Tasks(sealer),
            streams,
            times,
            self._running,
            self._approvals,
            input_rules,
        )
        self._mirror = Mirror(services, body_limit)
        self._aggregate = Aggregate(
            pipeline,
            AggregateServices(self._upstreams, sealer, self._session_settings, input_rules),
            self._sessions,
            streams,
            self._approvals,
            self._limits,
            times,
            body_limit,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        if scope["type"] != "http":
            raise ValueError(f"the gateway serves no {scope['type']}")
        exchange = Exchange(scope, receive, send, self._alarms, self._proxies)
        try:
            await self._dispatch(exchange, has_encoded_slash(scope))
        except Refused as refused:
            await exchange.answer_error(refused)
        except StoreUnavailable as fault:
            await exchange.answer_error(refusals.unavailable(str(fault)))
        except Cut:
            await exchange.answer_error(Refused(200, refusals.INTERNAL_ERROR, _CUT))
        except ClientLeft:
            # A legacy client that cancelled is still connected. It expects no answer, but its request must end.
            if not exchange.complete:
                await exchange.stream(b"", last=True)
        except ClientGone:
            return
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001
            # Fail closed on an unexpected error, and show no detail of it to the client.
            log_fault(log, "serving MCP", error)
            await exchange.answer_error(
                Refused(503, refusals.INTERNAL_ERROR, "The gateway failed.", headers=refusals.RETRY_SOON)
            )

    async def _dispatch(self, exchange: Exchange, encoded_slash: bool) -> None:
        if encoded_slash:
            raise Refused(400, refusals.INVALID_REQUEST, ENCODED_SLASH)
        via = exchange.headers.get(VIA)
        if via is not None and (VIA in exchange.duplicated or self._loops.is_loop(via)):
            text = "Loop detected: this request came back to the gateway that sent it."
            raise Refused(508, refusals.INVALID_REQUEST, text)
        self._authenticator.check_origin(exchange)
        view = await self._authenticator.authenticate(exchange)
        usage = self._limits.enter(exchange, view)
        try:
            if exchange.method not in {"POST", "DELETE", "GET"}:
                _refuse_method(exchange)
            if exchange.path in {"/mcp", "/mcp/"}:
                await self._aggregate.serve(exchange, view)
            else:
                await self._mirror.serve(exchange, view, exchange.path.removeprefix("/mcp/"))
        except Refused as refused:
            if not exchange.recorded and refused.status < 500:
                # The request was refused before a decision, so only this count shows it in the audit log. Count by
                # address only, so that a client that varies its name gets one row.
                client = Client(exchange.client.ip)
                self._store.count_refused(view, refusals.refusal_reason(refused), client, exchange.request_id)
            raise
        finally:
            self._limits.leave(usage)

    def cancel_call(self, session_id: UUID, request_id: str | int) -> None:
        """Cancel a call of this worker, on behalf of another worker that received the cancellation."""
        self._sessions.cancel_local(session_id, request_id)
        self._running.cancel_by_handle(session_id, request_id)

    def forget_session_settings(self, session_id: UUID | None) -> None:
        """Drop a session's cached settings, which another worker changed; ``None`` drops those of all sessions."""
        self._session_settings.forget(session_id)

    @property
    def has_approval_listeners(self) -> bool:
        """Whether a client listens for decided approvals."""
        return bool(self._approvals.completions)

    def announce_approval(self, approval_id: UUID, token_id: UUID) -> None:
        """Notify clients that an approval for a call with this token was decided."""
        self._approvals.completions.announce(approval_id, token_id)

    async def aclose(self) -> None:
        """Close the sessions with upstreams. Call this before the outbound client closes."""
        await self._upstreams.aclose()


def _refuse_method(exchange: Exchange) -> NoReturn:
    raise refusals.wrong_http_method(read_version(exchange)[1])


_CUT = "The call was ended because access was withdrawn while it ran, or could not be confirmed any more."
