"""The endpoint ``/mcp``: one MCP server for all servers in reach, whose slugs are part of the names."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

from mcp_types import SERVER_INFO_META_KEY

from app.admission.store import View
from app.domain.objects import Part
from app.domain.visibility import reached_parts
from app.gateway.access_check import AccessCheck
from app.gateway.aggregate.calls import (
    SUBSCRIBING,
    AggregateCall,
    AggregateServices,
    AggregateSubscription,
    Caller,
    requested_log_level,
)
from app.gateway.aggregate.lists import KINDS, AggregateList, Cursors
from app.gateway.aggregate.routes import Route, find_route, not_found
from app.gateway.aggregate.sessions import AggregateSessions
from app.gateway.aggregate.streams import FleetStream, requested_notifications
from app.gateway.approvals import LOG_LEVELS, Approvals, ResumedRequest, exceeds_approval
from app.gateway.limits import CallLimits, CallTimes, OpenStreams
from app.gateway.pipeline import (
    HIDDEN_REASONS,
    ApprovalNeeded,
    Denied,
    GatewayRequest,
    Pipeline,
    reaches,
    record_unknown_version,
)
from app.gateway.results import make_private, open_state
from app.gateway.wire import messages
from app.gateway.wire.exchange import Exchange, HeaderList, result_body
from app.gateway.wire.messages import ClientFeatures, Message
from app.gateway.wire.refusals import (
    UnknownVersion,
    invalid_params,
    not_allowed,
    unknown_method,
    wrong_http_method,
)
from app.lib.event_loop import in_slices
from app.outbound.mcp.connection import client_info

LEGACY_VERSIONS = tuple(version for version in messages.NEWEST_FIRST if version < "2026")
_INSTRUCTIONS = (
    "This is a gateway to several servers. Tools and prompts are named <server>__<name>, resources "
    "mcp+<server>+<uri>. Lists contain only what your token may use."
)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The endpoint for the path ``/mcp``."""

    pipeline: Pipeline
    services: AggregateServices
    sessions: AggregateSessions
    streams: OpenStreams
    approvals: Approvals
    limits: CallLimits
    times: CallTimes
    body_limit: int

    async def serve(self, exchange: Exchange, view: View) -> None:
        """Answer one request of a live token."""
        try:
            message = await messages.read_request(exchange, self.body_limit)
        except UnknownVersion:
            await record_unknown_version(self.pipeline, exchange, view, None)
            raise
        if exchange.method != "POST":
            serve = self._end_session if exchange.method == "DELETE" else self._open_legacy_stream
            await serve(exchange, view, message)
            return
        session_id, features = None, ClientFeatures.NOTHING
        if not message.modern and message.method != "initialize":
            session_id, features = self.sessions.open(exchange, view)
        if message.id is None:
            if session_id is not None and message.method == "notifications/cancelled":
                # All other client notifications are ignored.
                self.sessions.cancel(view.token.id, session_id, message.params.get("requestId"))
            await exchange.answer(202)
            return
        if message.modern:
            features = messages.client_features(message.params["_meta"][messages.CAPABILITIES_KEY])
        caller = Caller(exchange, message, session_id, requested_log_level(message), features)
        resumed = None
        if "requestState" in message.params:
            resumed = await self.approvals.resume(exchange, message, view)
        route = find_route(message)
        if route is not None:
            await self._forward(view, caller, route, resumed)
        else:
            await self._answer(view, caller)

    async def _answer(self, view: View, caller: Caller) -> None:
        """Answer a request that no single server answers."""
        message, session_id = caller.message, caller.session_id
        if message.method in KINDS:
            await self._list(view, caller)
        elif message.modern:
            own = {"server/discover": self._discover, "subscriptions/listen": self._listen}
            if message.method not in own:
                raise unknown_method(modern=True)
            await own[message.method](view, caller)
        elif message.method == "initialize":
            await self._initialize(view, caller)
        elif message.method == "logging/setLevel" and session_id is not None:
            await self._set_log_level(view, caller, session_id)
        elif message.method == "ping" and session_id is not None:
            await self.sessions.check(session_id)
            await caller.exchange.answer(200, result_body(message.id, {}))
        else:
            raise unknown_method(modern=False)

    async def _initialize(self, view: View, caller: Caller) -> None:
        message = caller.message
        requested = message.params.get("protocolVersion")
        if not isinstance(requested, str):
            raise invalid_params("protocolVersion must be a string.", modern=False)
        sealed = self.sessions.begin(
            view.token.id, messages.client_features(message.params.get("capabilities"))
        )
        result = {
            "protocolVersion": requested if requested in LEGACY_VERSIONS else LEGACY_VERSIONS[0],
            "serverInfo": client_info(),
            "instructions": _INSTRUCTIONS,
        }
        await self._introduce(view, caller, "mcp.initialize", result, ((messages.SESSION, sealed),))

    async def _discover(self, view: View, caller: Caller) -> None:
        result: dict[str, Any] = {
            "resultType": "complete",
            "supportedVersions": list(messages.NEWEST_FIRST),
            "instructions": _INSTRUCTIONS,
            "_meta": {SERVER_INFO_META_KEY: client_info()},
        }
        make_private(result)
        await self._introduce(view, caller, "mcp.discover", result)

    async def _introduce(
        self, view: View, caller: Caller, action: str, result: dict[str, Any], headers: HeaderList = ()
    ) -> None:
        """Answer with the capabilities for this token. The audit log records it like a forwarded request."""
        exchange, message = caller.exchange, caller.message
        access = AccessCheck(action, None, exchange.address)
        async for call in self.pipeline.admitted(_request(view, caller, access)):
            async with call:
                at, here = self.pipeline.store.now(), call.view
                parts = await in_slices(
                    reached_parts(here.token, here.within(), here.context, at, exchange.address)
                )
                answer = {**result, "capabilities": _capabilities(parts)}
                await exchange.answer(200, result_body(message.id, answer), headers)
                call.outcome = "success"

    async def _list(self, view: View, caller: Caller) -> None:
        message, kind = caller.message, KINDS[caller.message.method]
        cursors = Cursors(self.services.sealer, view.token.id, message)
        work = AggregateList(
            self.pipeline, self.services.upstreams, self.limits, caller, kind, cursors, cursors.begin()
        )
        access = AccessCheck(kind.action, None, caller.exchange.address, session_id=caller.session_id)
        async for call in self.pipeline.admitted(_request(view, caller, access)):
            async with call:
                call.outcome = await work.forward(call)

    async def _forward(
        self, view: View, caller: Caller, route: Route, resumed: ResumedRequest | None
    ) -> None:
        message, session_id = caller.message, caller.session_id
        before = open_state(message, view, route.slug, self.services.sealer)
        if session_id is not None:
            caller = replace(
                caller, log_level=(await self.services.session_settings.get(session_id)).log_level
            )
        make_call = AggregateSubscription if message.method in SUBSCRIBING else AggregateCall
        work = make_call(self.services, caller, route, before)
        client = messages.read_client(caller.exchange, message)
        access = AccessCheck(
            route.action,
            route.slug,
            caller.exchange.address,
            route.tool,
            route.arguments,
            part=route.part,
            refused=None if resumed is None else resumed.refusal,
            program=messages.caller_program(client),
            exceeds_approval=partial(exceeds_approval, message, before),
            session_id=session_id,
        )
        request = GatewayRequest(
            caller.exchange,
            view,
            access,
            message.method,
            work.check,
            client,
            additional=messages.prompt_arguments(message),
            reason=message.reason,
            continues=before.continues,
            bound=messages.bound_content(message),
        )
        try:
            async for call in self.pipeline.admitted(request):
                async with call:
                    if session_id is None or message.id is None:
                        call.outcome = await work.forward(call)
                    else:
                        with self.sessions.running((session_id, message.id), call):
                            call.outcome = await work.forward(call)
        except Denied as denied:
            await self._answer_denied(caller, route, denied, resumed)

    async def _set_log_level(self, view: View, caller: Caller, session_id: UUID) -> None:
        """Store the level. Each server's session gets it on its next use."""
        message = caller.message
        level = message.params.get("level")
        if level not in LOG_LEVELS:
            raise invalid_params(f"level must be one of {', '.join(LOG_LEVELS)}.", modern=False)

        access = AccessCheck("mcp.set_level", None, caller.exchange.address, session_id=session_id)
        async for call in self.pipeline.admitted(_request(view, caller, access)):
            async with call:
                await self.services.session_settings.set_log_level(session_id, call.view.token.id, level)
                await caller.exchange.answer(200, result_body(message.id, {}))
                call.outcome = "success"

    async def _listen(self, view: View, caller: Caller) -> None:
        wanted = requested_notifications(caller)
        stream = self._stream(caller)
        with self.streams.hold(caller.exchange, view):
            async for call in self.pipeline.admitted(_request(view, caller, stream.access())):
                async with call:
                    call.outcome = await stream.listen(call, wanted)

    async def _open_legacy_stream(self, exchange: Exchange, view: View, message: Message) -> None:
        if message.modern:
            raise wrong_http_method(modern=True)
        session_id, features = self.sessions.open(exchange, view)
        supports_url = ClientFeatures.URL in features
        stream = self._stream(Caller(exchange, message, session_id))

        async def uris() -> frozenset[str]:
            return (await self.services.session_settings.get(session_id)).subscriptions

        request = GatewayRequest(exchange, view, stream.access(), message.method)
        with self.streams.hold(exchange, view):
            async for call in self.pipeline.admitted(request):
                async with call:
                    with (
                        self.services.session_settings.listen(session_id, stream.uris_changed),
                        self.approvals.completions.subscribe(
                            exchange, view.token.id, supports_url=supports_url
                        ),
                    ):
                        call.outcome = await stream.listen_legacy(call, uris)

    def _stream(self, caller: Caller) -> FleetStream:
        return FleetStream(self.pipeline, self.services.upstreams, self.times.listen, caller)

    async def _end_session(self, exchange: Exchange, view: View, message: Message) -> None:
        if message.modern:
            raise not_allowed("There are no sessions to delete.")
        session_id, _ = self.sessions.open(exchange, view)
        await self.sessions.end(session_id, view.token.id)
        await exchange.answer(204)

    async def _answer_denied(
        self, caller: Caller, route: Route, denied: Denied, resumed: ResumedRequest | None
    ) -> None:
        """Answer a denied request. What is out of reach looks as if it did not exist."""
        exchange, view = caller.exchange, denied.view
        if not isinstance(denied, ApprovalNeeded):
            at, hidden = self.pipeline.store.now(), {*HIDDEN_REASONS, "server_unknown", "server_disabled"}
            if denied.decision.reason_code in hidden or not (
                route.tool is not None or reaches(view, route.slug, at, exchange.address, route.part)
            ):
                raise not_found(caller.message)
        supports_url = ClientFeatures.URL in caller.features
        await self.approvals.answer(exchange, caller.message, denied, resumed, supports_url=supports_url)


def _request(view: View, caller: Caller, access: AccessCheck) -> GatewayRequest:
    """Make a pipeline request that includes the calling program."""
    client = messages.read_client(caller.exchange, caller.message)
    access.program = messages.caller_program(client)
    return GatewayRequest(caller.exchange, view, access, caller.message.method, client=client)


def _capabilities(parts: frozenset[Part]) -> dict[str, Any]:
    """Return the capabilities of ``/mcp`` that the token can use."""
    kept: dict[str, Any] = {"tools": {"listChanged": True}, "logging": {}}
    if Part.PROMPTS in parts:
        kept["prompts"] = {"listChanged": True}
    if Part.RESOURCES in parts:
        kept["resources"] = {"listChanged": True, "subscribe": True}
    if parts:
        kept["completions"] = {}
    return kept
