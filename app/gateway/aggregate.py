"""``/mcp``: one server of both eras before all servers in reach, with tools named ``<slug>__<tool>``."""

import os
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mcp_types import SERVER_INFO_META_KEY

from app.domain.access import Server
from app.domain.policy import Effect
from app.gateway.aggregate_calls import AggregateCall
from app.gateway.aggregate_lists import AggregateList
from app.gateway.catalogue import make_private
from app.gateway.envelope import NEWEST_FIRST, SESSION, Message, read_message, read_version
from app.gateway.http import Exchange, HeaderList, result_body
from app.gateway.parameter_headers import check_parameters
from app.gateway.pipeline import HIDDEN_REASONS, Ask, Denied, Flight, Passed, Pipeline, denial_text
from app.gateway.ports import SyncRequests, UpstreamTarget, View
from app.gateway.questions import call_parameters, client_of
from app.gateway.refusals import (
    Refused,
    invalid_params,
    no_such_session,
    unknown_method,
    unknown_tool,
)
from app.gateway.sessions import FLEET, SessionSealer
from app.gateway.upstream_sessions import UpstreamSessions
from app.kit.mcp_upstream.connections import client_info

LEGACY_VERSIONS = tuple(version for version in NEWEST_FIRST if version < "2026")
SEAM = "__"

_CAPABILITIES: dict[str, Any] = {"tools": {}}
_INSTRUCTIONS = "Tools are named <server>__<tool>. Only those that your token may use are listed."


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
        try:
            await self._answer(exchange, view, message, session_id)
        except Denied as denied:
            await self._answer_denied(exchange, message, denied)

    async def _answer(
        self, exchange: Exchange, view: View, message: Message, session_id: UUID | None
    ) -> None:
        method, modern = message.method, message.modern
        if method == "tools/call":
            await self._call(exchange, view, message, session_id)
        elif method == "tools/list":
            if "cursor" in message.params:
                raise invalid_params("There is one page; no cursor is taken.", modern)
            work = AggregateList(
                self.pipeline, self.upstreams, self.sync_requests, exchange, message, session_id
            )
            await self._run(exchange, view, message, "tools.list", work.forward, session_id)
        elif method == "server/discover" and modern:
            await self._reply(exchange, view, message, "mcp.discover", _discovered())
        elif method == "initialize" and not modern:
            requested = message.params.get("protocolVersion")
            if not isinstance(requested, str):
                raise invalid_params("protocolVersion must be a string.", modern=False)
            sealed = self.sealer.seal(view.token.id, FLEET, os.urandom(16))
            result = _initialized(requested if requested in LEGACY_VERSIONS else LEGACY_VERSIONS[0])
            await self._reply(exchange, view, message, "mcp.initialize", result, ((SESSION, sealed),))
        elif method == "ping" and session_id is not None:
            if await self.pipeline.ended_sessions.has_ended(session_id):
                raise no_such_session()
            await exchange.answer(200, result_body(message.id, {}))
        else:
            raise unknown_method(modern)

    async def _reply(
        self,
        exchange: Exchange,
        view: View,
        message: Message,
        action: str,
        result: dict[str, Any],
        headers: HeaderList = (),
    ) -> None:
        """Answer of our own, on record like any other."""

        async def forward(_passed: Passed) -> str:
            await exchange.answer(200, result_body(message.id, result), headers)
            return "success"

        await self._run(exchange, view, message, action, forward, None)

    async def _run(
        self,
        exchange: Exchange,
        view: View,
        message: Message,
        action: str,
        forward: Any,
        session_id: UUID | None,
    ) -> None:
        ask = Ask(action, message.method, None, exchange.address, session_id=session_id)
        await self.pipeline.run(exchange, view, ask, forward, client=client_of(exchange, message))

    async def _call(self, exchange: Exchange, view: View, message: Message, session_id: UUID | None) -> None:
        name, arguments = call_parameters(message)
        slug, _, tool = name.partition(SEAM)
        ask = Ask("tool.call", message.method, slug, exchange.address, tool, arguments, session_id=session_id)
        call = AggregateCall(self.upstreams, exchange, message, tool, session_id)
        key = None if session_id is None or message.id is None else (session_id, message.id)

        async def forward(passed: Passed) -> str:
            if key is not None:
                self.running[key] = passed.flight
            try:
                return await call.forward(passed)
            finally:
                if key is not None and self.running.get(key) is passed.flight:
                    del self.running[key]

        def check(_view: View, server: Server, _target: UpstreamTarget) -> None:
            if message.modern:
                check_parameters(exchange, server.tools.get(tool), arguments)

        await self.pipeline.run(
            exchange, view, ask, forward, check=check, client=client_of(exchange, message)
        )

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

    async def _answer_denied(self, exchange: Exchange, message: Message, denied: Denied) -> None:
        decision, modern = denied.decision, message.modern
        hidden = {*HIDDEN_REASONS, "server_unknown", "server_disabled"}
        if decision.effect is Effect.DENY and decision.reason_code in hidden:
            raise unknown_tool(str(message.params.get("name")), modern)
        result: dict[str, Any] = {
            "content": [{"type": "text", "text": denial_text(decision)}],
            "isError": True,
        }
        if modern:
            result["resultType"] = "complete"
        await exchange.answer(200, result_body(message.id, result))


def _discovered() -> dict[str, Any]:
    result: dict[str, Any] = {
        "resultType": "complete",
        "supportedVersions": list(NEWEST_FIRST),
        "capabilities": _CAPABILITIES,
        "instructions": _INSTRUCTIONS,
        "_meta": {SERVER_INFO_META_KEY: client_info()},
    }
    make_private(result)
    return result


def _initialized(version: str) -> dict[str, Any]:
    return {
        "protocolVersion": version,
        "capabilities": _CAPABILITIES,
        "serverInfo": client_info(),
        "instructions": _INSTRUCTIONS,
    }
