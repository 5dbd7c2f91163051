"""``resources/subscribe`` and ``resources/unsubscribe`` of legacy sessions on ``/mcp``.

The server is asked, so that its client learns what is wrong with the wish. What the session wants to hear of is noted,
for the stream on which it is told, which may be another worker's.
"""

from typing import Any

from app.admission.store import UpstreamTarget, View
from app.domain.objects import Server
from app.gateway.aggregate.calls import AggregateCall, Caller
from app.gateway.aggregate.news import LONGEST_URI
from app.gateway.aggregate.notes import Notebook
from app.gateway.aggregate.routes import Route
from app.gateway.pipeline import Passed
from app.gateway.questions import QuestionRules
from app.gateway.relay import Watch
from app.gateway.sessions import SessionSealer
from app.gateway.upstream_sessions import Connection, UpstreamSessions
from app.gateway.wire.answers import Answer
from app.gateway.wire.refusals import invalid_params
from app.outbound.mcp import LegacySession, McpUpstreamError

SUBSCRIBING = frozenset({"resources/subscribe", "resources/unsubscribe"})


class AggregateSubscription(AggregateCall):
    """A request after whose success the session's notes hold what it asked for."""

    def __init__(
        self,
        upstreams: UpstreamSessions,
        sealer: SessionSealer,
        questions: QuestionRules,
        caller: Caller,
        route: Route,
        notebook: Notebook,
    ) -> None:
        super().__init__(upstreams, sealer, questions, caller, route)
        self._notebook = notebook

    def check(self, view: View, server: Server, target: UpstreamTarget) -> None:
        """Refuse also, before anybody is asked, what is too long to be kept."""
        super().check(view, server, target)
        if len(self._message.params["uri"]) > LONGEST_URI:
            raise invalid_params(f"uri may have {LONGEST_URI} characters at most.", self._message.modern)

    async def _ask(
        self, connection: Connection, passed: Passed, answer: Answer, watch: Watch
    ) -> dict[str, Any]:
        subscribes = self._message.method == "resources/subscribe"
        # A modern server knows no subscriptions but those of a stream.
        if isinstance(connection, LegacySession):
            try:
                await super()._ask(connection, passed, answer, watch)
            except McpUpstreamError as error:
                # It may have been another worker's session with the server that subscribed.
                if subscribes or error.kind != "rpc":
                    raise
        session_id, token_id = self._caller.session_id, passed.view.token.id
        if session_id is not None:
            uri = str(self._message.params["uri"])
            if subscribes:
                await self._notebook.subscribe(session_id, token_id, uri)
            else:
                await self._notebook.unsubscribe(session_id, token_id, uri)
        return {}
