"""``/mcp/{slug}``: one upstream, its own eras, nothing translated."""

from dataclasses import dataclass

from app.admission.store import View
from app.domain.objects import Server
from app.gateway.asking import Ask
from app.gateway.mirror.call import MirrorCall
from app.gateway.mirror.listen import MirrorListen
from app.gateway.mirror.mirrored import Mirrored
from app.gateway.mirror.notification import MirrorNotification
from app.gateway.mirror.response import MirrorResponse
from app.gateway.mirror.task import MirrorTask
from app.gateway.pipeline import reaches
from app.gateway.unknown_versions import record_unknown_version
from app.gateway.wire.envelope import NEWEST_FIRST, SESSION, Message, read_message, read_version
from app.gateway.wire.http import Exchange, result_body
from app.gateway.wire.methods import CLIENT_NOTIFICATIONS, LEGACY, LEGACY_TASKS, MODERN, MODERN_TASKS
from app.gateway.wire.refusals import (
    Refused,
    UnknownVersion,
    no_such_session,
    unknown_method,
    unsupported_version,
    wrong_http_method,
)


@dataclass(frozen=True, slots=True)
class Mirror:
    """Serves every path ``/mcp/{slug}``."""

    mirrored: Mirrored
    body_limit: int

    async def serve(self, exchange: Exchange, view: View, slug: str) -> None:
        """Answer one request of a live token."""
        try:
            await self._serve(exchange, view, slug)
        except UnknownVersion as refused:
            raise await self._unsupported(exchange, view, slug, refused) from None

    async def _serve(self, exchange: Exchange, view: View, slug: str) -> None:
        if exchange.method == "DELETE":
            await self._end_session(exchange, view, slug)
            return
        if exchange.method == "GET":
            version, modern = read_version(exchange)
            if modern:
                raise wrong_http_method(modern)
            await MirrorListen(self.mirrored, exchange, slug, version).listen(view)
            return
        message = await read_message(exchange, self.body_limit, responses=True)
        if message.is_response:
            await MirrorResponse(self.mirrored, exchange, slug, message).pass_on(view)
            return
        if message.id is None:
            await self._notify(exchange, view, slug, message)
            return
        if message.method == "ping" and not message.modern:
            await self._pong(exchange, view, slug)
            return
        method = (MODERN if message.modern else LEGACY).get(message.method)
        of_task = (MODERN_TASKS if message.modern else LEGACY_TASKS).get(message.method)
        if method is not None:
            await MirrorCall(self.mirrored, exchange, slug, message).run(view, method)
        elif of_task is not None:
            await MirrorTask(self.mirrored, exchange, slug, message).run(view, of_task)
        else:
            raise unknown_method(message.modern)

    async def _pong(self, exchange: Exchange, view: View, slug: str) -> None:
        """A ping asks whether the session's other end is there, and that is us."""
        server = view.servers.get(slug)
        if SESSION in exchange.headers and (server is None or not self._has_session(exchange, view, server)):
            raise no_such_session()
        await exchange.answer(200, result_body(exchange.id, {}))

    def _has_session(self, exchange: Exchange, view: View, server: Server) -> bool:
        sealed = exchange.headers.get(SESSION, b"")
        return self.mirrored.sealer.open_session(view.token.id, server.id, sealed) is not None

    async def _notify(self, exchange: Exchange, view: View, slug: str, message: Message) -> None:
        """Pass on the notifications that are carried, inside the caller's own session alone."""
        if message.modern or message.method not in CLIENT_NOTIFICATIONS or SESSION not in exchange.headers:
            await exchange.answer(202)
            return
        call = MirrorNotification(self.mirrored, exchange, slug, message)
        await call.ride(view, Ask("mcp.notification", message.method, slug, exchange.address), "POST")

    async def _end_session(self, exchange: Exchange, view: View, slug: str) -> None:
        version, modern = read_version(exchange)
        if modern:
            raise Refused(405, -32600, "There are no sessions to delete.", headers=((b"allow", b"POST"),))
        if SESSION not in exchange.headers:
            raise Refused(400, -32600, "The Mcp-Session-Id header is missing.")
        message = Message({}, "DELETE", {}, None, modern, version)
        call = MirrorCall(self.mirrored, exchange, slug, message)
        await call.ride(view, Ask("mcp.end_session", "DELETE", slug, exchange.address), "DELETE")

    async def _unsupported(
        self, exchange: Exchange, view: View, slug: str, refused: UnknownVersion
    ) -> Refused:
        """A version that nobody speaks is a denied call. Who reaches the server is told what is spoken here."""
        pipeline = self.mirrored.pipeline
        view = await record_unknown_version(pipeline, exchange, view, slug)
        if not reaches(view, slug, pipeline.snapshots.now(), exchange.address):
            return refused
        target = await pipeline.target(view.servers[slug], view.token)
        offered = target.protocol_versions or NEWEST_FIRST
        return unsupported_version(refused.requested, offered)
