"""``/mcp``: one server of both eras before all servers in reach, with names that say which server each is of."""

import os
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mcp_types import SERVER_INFO_META_KEY

from app.domain.access import Part
from app.domain.policy import Effect
from app.domain.visibility import reached_parts
from app.gateway.aggregate_calls import AggregateCall, Caller
from app.gateway.aggregate_lists import KINDS, AggregateList
from app.gateway.aggregate_pages import Cursors
from app.gateway.aggregate_routes import Route, route_of
from app.gateway.catalogue import make_private
from app.gateway.envelope import NEWEST_FIRST, SESSION, Message, read_message, read_version
from app.gateway.http import Exchange, HeaderList, result_body
from app.gateway.pipeline import (
    HIDDEN_REASONS,
    Ask,
    Check,
    Denied,
    Flight,
    Forward,
    Passed,
    Pipeline,
    denial_text,
)
from app.gateway.ports import SyncRequests, View
from app.gateway.questions import client_of
from app.gateway.refusals import Refused, invalid_params, no_such_session, unknown_method
from app.gateway.sessions import FLEET, SessionSealer
from app.gateway.upstream_sessions import UpstreamSessions
from app.kit.mcp_upstream.connections import client_info

LEGACY_VERSIONS = tuple(version for version in NEWEST_FIRST if version < "2026")

_INSTRUCTIONS = (
    "This is a gateway before several servers. Tools and prompts are named <server>__<name>, resources "
    "mcp+<server>+<uri>. Only what your token may use is listed."
)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Serves the path ``/mcp``."""

    pipeline: Pipeline
    sealer: SessionSealer
    sync_requests: SyncRequests
    upstreams: UpstreamSessions
    running: dict[tuple[UUID, str | int], Flight]
    """Calls of legacy sessions in this worker, for ``notifications/cancelled``."""
    body_limit: int

    async def serve(self, exchange: Exchange, view: View) -> None:
        """Answer one request of a live token."""
        if exchange.method == "DELETE":
            await self._end_session(exchange, view)
            return
        message = await read_message(exchange, self.body_limit)
        session_id = None
        if not message.modern and message.method != "initialize":
            session_id = self._session(exchange, view)
        if message.id is None:
            self._notify(message, session_id)
            await exchange.answer(202)
            return
        await self._answer(view, Caller(exchange, message, session_id))

    async def _answer(self, view: View, caller: Caller) -> None:
        message = caller.message
        if message.method in KINDS:
            await self._list(view, caller)
            return
        route = route_of(message)
        if route is not None:
            await self._forward(view, caller, route)
        elif message.method == "server/discover" and message.modern:
            await self._discover(view, caller)
        elif message.method == "initialize" and not message.modern:
            await self._initialize(view, caller)
        elif message.method == "ping" and caller.session_id is not None:
            if await self.pipeline.ended_sessions.has_ended(caller.session_id):
                raise no_such_session()
            await caller.exchange.answer(200, result_body(message.id, {}))
        else:
            raise unknown_method(message.modern)

    async def _initialize(self, view: View, caller: Caller) -> None:
        message = caller.message
        requested = message.params.get("protocolVersion")
        if not isinstance(requested, str):
            raise invalid_params("protocolVersion must be a string.", modern=False)
        sealed = self.sealer.seal(view.token.id, FLEET, os.urandom(16))
        result = {
            "protocolVersion": requested if requested in LEGACY_VERSIONS else LEGACY_VERSIONS[0],
            "serverInfo": client_info(),
            "instructions": _INSTRUCTIONS,
        }
        await self._introduce(view, caller, "mcp.initialize", result, ((SESSION, sealed),))

    async def _discover(self, view: View, caller: Caller) -> None:
        result: dict[str, Any] = {
            "resultType": "complete",
            "supportedVersions": list(NEWEST_FIRST),
            "instructions": _INSTRUCTIONS,
            "_meta": {SERVER_INFO_META_KEY: client_info()},
        }
        make_private(result)
        await self._introduce(view, caller, "mcp.discover", result)

    async def _introduce(
        self, view: View, caller: Caller, action: str, result: dict[str, Any], headers: HeaderList = ()
    ) -> None:
        """Say what there is for this token: an answer of our own, on record like any other."""
        exchange, message = caller.exchange, caller.message

        async def forward(passed: Passed) -> str:
            at = self.pipeline.snapshots.now()
            parts = reached_parts(
                passed.view.token, passed.view.servers.values(), passed.view.around, at, exchange.address
            )
            answer = {**result, "capabilities": _capabilities(parts)}
            await exchange.answer(200, result_body(message.id, answer), headers)
            return "success"

        ask = Ask(action, message.method, None, exchange.address)
        await self._run(view, caller, ask, forward)

    async def _list(self, view: View, caller: Caller) -> None:
        message, kind = caller.message, KINDS[caller.message.method]
        cursors = Cursors(self.sealer, view.token.id, message)
        work = AggregateList(
            self.pipeline, self.upstreams, self.sync_requests, caller, kind, cursors, cursors.begin()
        )
        ask = Ask(kind.action, message.method, None, caller.exchange.address, session_id=caller.session_id)
        await self._run(view, caller, ask, work.forward)

    async def _forward(self, view: View, caller: Caller, route: Route) -> None:
        message, session_id = caller.message, caller.session_id
        ask = Ask(
            route.action,
            message.method,
            route.slug,
            caller.exchange.address,
            route.tool,
            route.arguments,
            part=route.part,
            session_id=session_id,
        )
        call = AggregateCall(self.upstreams, self.sealer, caller, route)
        key = None if session_id is None or message.id is None else (session_id, message.id)

        async def forward(passed: Passed) -> str:
            if key is not None:
                self.running[key] = passed.flight
            try:
                return await call.forward(passed)
            finally:
                if key is not None and self.running.get(key) is passed.flight:
                    del self.running[key]

        try:
            await self._run(view, caller, ask, forward, call.check)
        except Denied as denied:
            await self._answer_denied(caller, route, denied)

    async def _run(
        self, view: View, caller: Caller, ask: Ask, forward: Forward, check: Check | None = None
    ) -> None:
        client = client_of(caller.exchange, caller.message)
        await self.pipeline.run(caller.exchange, view, ask, forward, check=check, client=client)

    def _session(self, exchange: Exchange, view: View) -> UUID:
        sealed = exchange.headers.get(SESSION)
        if sealed is None:
            raise Refused(400, -32600, "The Mcp-Session-Id header is missing. Initialize first.")
        opened = self.sealer.open(view.token.id, FLEET, sealed)
        if opened is None or len(opened) != 16:
            raise no_such_session()
        return UUID(bytes=opened)

    def _notify(self, message: Message, session_id: UUID | None) -> None:
        """Of a client's notifications only the cancelling of one of its own calls has an effect."""
        request_id = message.params.get("requestId")
        if (
            session_id is not None
            and message.method == "notifications/cancelled"
            and isinstance(request_id, (str, int))
        ):
            flight = self.running.get((session_id, request_id))
            if flight is not None:
                flight.leave()

    async def _end_session(self, exchange: Exchange, view: View) -> None:
        if read_version(exchange)[1]:
            raise Refused(405, -32600, "There are no sessions to delete.", headers=((b"allow", b"POST"),))
        session_id = self._session(exchange, view)
        if await self.pipeline.ended_sessions.has_ended(session_id):
            raise no_such_session()
        await self.pipeline.ended_sessions.end(session_id, view.token.id)
        self.upstreams.end(session_id)
        await exchange.answer(204)

    async def _answer_denied(self, caller: Caller, route: Route, denied: Denied) -> None:
        """What is out of reach looks as if it were not there."""
        decision, message = denied.decision, caller.message
        hidden = {*HIDDEN_REASONS, "server_unknown", "server_disabled"}
        if route.tool is None or (decision.effect is Effect.DENY and decision.reason_code in hidden):
            raise route.unknown
        result: dict[str, Any] = {
            "content": [{"type": "text", "text": denial_text(decision)}],
            "isError": True,
        }
        if message.modern:
            result["resultType"] = "complete"
        await caller.exchange.answer(200, result_body(message.id, result))


def _capabilities(parts: frozenset[Part]) -> dict[str, Any]:
    """What is carried here and the token can use."""
    kept: dict[str, Any] = {"tools": {}}
    kept.update({part.value: {} for part in sorted(parts)})
    if parts:
        kept["completions"] = {}
    return kept
