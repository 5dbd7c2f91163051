"""The process of the supervisor: streamable HTTP on its socket, only for the workers of this host."""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

import uvicorn

from app.lib import strict_json
from app.lib.sse import encode_event
from app.outbound import stdio
from app.outbound.stdio import Holder, Launch, SupervisorAddress
from app.supervisor import isolation
from app.supervisor.bridge import Outlet
from app.supervisor.isolation import INVALID_REQUEST, DataDirectories, Isolation, Limits, Refused
from app.supervisor.processes import adopt_orphans, hide_from_equals
from app.supervisor.sessions import Session, Sessions

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Message = dict[str, Any]
_SESSION = b"mcp-session-id"
_VERSION = b"mcp-protocol-version"
_MODERN = b"2026"
"""The minimum protocol version of the modern era."""
STATUS_OF = {-32700: 400, -32600: 400, -32602: 400, -32020: 400, -32021: 400, -32022: 400, -32601: 404}
"""The HTTP status of an error code in the modern era. The ``mcp`` package has it too, but takes a second to import."""
_BODY = 8 * 1024 * 1024
COMMANDS = "SCOPEGATE_STDIO_ALLOWED_COMMANDS"
PROCESSES = "SCOPEGATE_LIMIT_STDIO_PROCESSES"
DATA = "SCOPEGATE_STDIO_DATA_DIR"
_KEEP_ALIVE = b": keep-alive\r\n\r\n"


class Exchange:
    """One request of a worker and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._receive = receive
        self._send = send
        self.streaming = False
        self.id: Any = None

    async def read(self) -> Any:
        """Read the body as JSON. Raises ``Refused``."""
        parts: list[bytes] = []
        while True:
            event = await self._receive()
            parts.append(event.get("body", b""))
            if event["type"] != "http.request" or sum(map(len, parts)) > _BODY:
                raise Refused(400, "The request is not complete.", code=INVALID_REQUEST)
            if not event.get("more_body", False):
                break
        try:
            return strict_json.loads(b"".join(parts))
        except strict_json.StrictJsonError:
            raise Refused(400, "The request is not JSON.", code=INVALID_REQUEST) from None

    async def gone(self) -> None:
        """Wait until the worker disconnects."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(
        self, status: int, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        """Send a complete response."""
        sent = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
        await self._send({"type": "http.response.start", "status": status, "headers": sent})
        await self._send({"type": "http.response.body", "body": body})

    async def stream(self, data: bytes, *, last: bool = False) -> None:
        """Send a part of an event stream."""
        if not self.streaming:
            self.streaming = True
            headers = [(b"content-type", b"text/event-stream")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    async def refuse(self, refused: Refused) -> None:
        """Send an error response."""
        if self.streaming:
            await self.stream(b"", last=True)
            return
        error: Message = {"code": refused.code, "message": refused.message}
        body = strict_json.dumps({"jsonrpc": "2.0", "id": self.id, "error": error})
        headers = [(stdio.REFUSAL, b"1")]
        if refused.retry_after is not None:
            headers.append((b"retry-after", b"%d" % refused.retry_after))
        await self.answer(refused.status, body, tuple(headers))


class SupervisorApp:
    """The ASGI application."""

    def __init__(self, sessions: Sessions, address: SupervisorAddress, *, stream_after: float = 5.0) -> None:
        """``stream_after``: seconds without a response after which it becomes a stream with keep-alives."""
        self._sessions = sessions
        self._address = address
        self._stream_after = stream_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(scope, receive, send)
        try:
            await self._serve(exchange)
        except Refused as refused:
            await exchange.refuse(refused)

    async def _serve(self, exchange: Exchange) -> None:
        if not self._address.is_secret(exchange.headers.get(stdio.SECRET, b"")):
            raise Refused(403, "Only the gateway is served here.", code=INVALID_REQUEST)
        if exchange.path == "/beat":
            held = self._sessions.beat(UUID(hex=await exchange.read()))
            listed: list[strict_json.JsonValue] = [[token.hex, server.hex] for token, server in held]
            await exchange.answer(200, strict_json.dumps(listed))
        elif exchange.path == "/end":
            pairs: list[tuple[str, str]] = await exchange.read()
            self._sessions.end_pairs((UUID(hex=token), UUID(hex=server)) for token, server in pairs)
            await exchange.answer(200, b"{}")
        elif exchange.path == "/data":
            known: list[strict_json.JsonValue] = [id.hex for id in self._sessions.servers_with_data()]
            await exchange.answer(200, strict_json.dumps(known))
        elif exchange.path == "/forget":
            deleted: list[str] = await exchange.read()
            await self._sessions.forget_servers([UUID(hex=server) for server in deleted])
            await exchange.answer(200, b"{}")
        else:
            try:
                launch = Launch.decode(exchange.headers.get(stdio.LAUNCH, b""))
                holder = Holder.decode(exchange.headers.get(stdio.HOLDER, b""))
            except ValueError:
                raise Refused(400, "The request names no command.", code=INVALID_REQUEST) from None
            await self._serve_mcp(exchange, launch, holder)

    async def _serve_mcp(self, exchange: Exchange, launch: Launch, holder: Holder) -> None:
        sessions = self._sessions
        if exchange.method != "POST":
            session = sessions.find(self._session_id(exchange), launch, holder)
            if exchange.method == "DELETE":
                sessions.end_soon(session, "its client ended it")
                await exchange.answer(200, b"{}")
            else:
                await self._listen(exchange, session, holder)
            return
        message = await exchange.read()
        if not isinstance(message, dict):
            raise Refused(400, "The request is not one message.", code=INVALID_REQUEST)
        exchange.id = message.get("id") if "method" in message else None
        if exchange.headers.get(_VERSION, b"") >= _MODERN:
            await self._modern(exchange, message, launch, holder)
        elif message.get("method") == "initialize":
            await self._initialize(exchange, message, launch, holder)
        else:
            session = sessions.find(self._session_id(exchange), launch, holder)
            await self._pass(exchange, message, session, holder)

    def _session_id(self, exchange: Exchange) -> str:
        named = exchange.headers.get(_SESSION)
        if named is None:
            raise Refused(400, "The Mcp-Session-Id header is missing.", code=INVALID_REQUEST)
        return named.decode("latin-1")

    async def _initialize(self, exchange: Exchange, message: Message, launch: Launch, holder: Holder) -> None:
        """Start a program and initialize it; it is ended if that fails or the client disconnects."""
        session = await self._sessions.open(launch, holder)
        kept = False
        try:
            outlet = session.bridge.ask(message)
            answer = await self._first_answer(exchange, session, outlet)
            kept = "result" in strict_json.loads(answer)  # type: ignore[operator]
            await exchange.answer(200, answer, ((_SESSION, session.id.encode()),) if kept else ())
        finally:
            if not kept:
                self._sessions.end_soon(session, "it was not initialized")

    async def _first_answer(self, exchange: Exchange, session: Session, outlet: Outlet) -> bytes:
        leaving = asyncio.ensure_future(exchange.gone())
        leaving.add_done_callback(lambda _: outlet.close())
        try:
            async with asyncio.timeout(self._sessions.limits.start):
                while (message := await outlet.get(None)) is not None:
                    if outlet.is_last:
                        if session.bridge.over:
                            raise Refused(503, isolation.ENDED)
                        return message
        except TimeoutError:
            self._sessions.failed(session)
            raise Refused(504, "The program of this server did not start in time.", retry_after=5) from None
        finally:
            leaving.cancel()
        raise isolation.no_such_session()

    async def _modern(self, exchange: Exchange, message: Message, launch: Launch, holder: Holder) -> None:
        if exchange.id is None:
            await exchange.answer(202)
            return
        session = await self._sessions.modern(launch, holder)
        outlet = session.bridge.ask(message)
        if message["method"] == "server/discover":
            await self._discover(exchange, session, outlet)
        else:
            await self._relay(exchange, session, outlet, modern=True)

    async def _discover(self, exchange: Exchange, session: Session, outlet: Outlet) -> None:
        """A program of the older era may not respond to unknown methods; that is treated as an unknown method."""
        try:
            answer = await self._first_answer(exchange, session, outlet)
        except Refused as refused:
            self._sessions.end_soon(session, "it does not answer to server/discover")
            if refused.status != 504:
                raise
            raise Refused(404, "Method not found", code=isolation.METHOD_NOT_FOUND) from None
        await exchange.answer(_status(answer), answer)

    async def _pass(self, exchange: Exchange, message: Message, session: Session, holder: Holder) -> None:
        if "method" not in message:
            if not session.bridge.respond(message):
                raise Refused(400, "This response matches no request.", code=INVALID_REQUEST)
        elif exchange.id is None:
            session.bridge.notify(message)
        else:
            self._sessions.used(session, holder)
            await self._relay(exchange, session, session.bridge.ask(message), modern=False)
            return
        await exchange.answer(202)

    async def _listen(self, exchange: Exchange, session: Session, holder: Holder) -> None:
        outlet = session.bridge.listen()
        if outlet is None:
            raise Refused(409, "This session already has a stream.", code=INVALID_REQUEST)
        self._sessions.used(session, holder)
        await exchange.stream(b": open\r\n\r\n")
        await self._relay(exchange, session, outlet, modern=False)

    async def _relay(self, exchange: Exchange, session: Session, outlet: Outlet, *, modern: bool) -> None:
        """Forward the messages of an outlet. In the modern era a disconnect of the worker cancels the request."""
        leaving = asyncio.ensure_future(exchange.gone())
        leaving.add_done_callback(lambda _: outlet.close())
        done = False
        try:
            while True:
                try:
                    message = await outlet.get(self._stream_after)
                except TimeoutError:
                    await exchange.stream(_KEEP_ALIVE)
                    continue
                if message is None or outlet.is_last:
                    done = True
                    await self._last(exchange, message, modern)
                    return
                await exchange.stream(encode_event(message))
        finally:
            leaving.cancel()
            session.bridge.leave(outlet, cancel=modern and (not done or not outlet.answered))

    async def _last(self, exchange: Exchange, message: bytes | None, modern: bool) -> None:
        if message is None or exchange.streaming:
            await exchange.stream(b"" if message is None else encode_event(message), last=True)
        else:
            await exchange.answer(_status(message) if modern else 200, message)


def _status(message: bytes) -> int:
    """The HTTP status of a response in the modern era."""
    if b'"error"' not in message:
        return 200
    answer = strict_json.loads(message)
    error = answer.get("error") if isinstance(answer, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return STATUS_OF.get(code, 200) if isinstance(code, int) else 200


async def _serve(address: SupervisorAddress, sessions: Sessions) -> None:
    with _listening(address.socket) as listener:
        # The loop of the standard library: its pipes and signals do not affect the children.
        config = uvicorn.Config(
            SupervisorApp(sessions, address),
            http="httptools",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)

        def stop(_number: int, _frame: FrameType | None) -> None:
            server.should_exit = True

        # uvicorn installs its own handlers and raises the signal again after its shutdown, before ours is complete.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        looking_after = asyncio.create_task(sessions.run())
        try:
            await server.serve(sockets=[listener])
        finally:
            looking_after.cancel()
            await sessions.aclose()


def _listening(path: str) -> socket.socket:
    """A socket that only our own user can reach, created atomically."""
    draft = Path(f"{path}.new")
    draft.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(draft))
    finally:
        os.umask(before)
    listener.listen(512)
    draft.rename(path)
    return listener


def main() -> None:
    """Serve until SIGTERM, or until the guard dies; then end all commands. The settings are in the environment that
    ``scopegate serve`` passes to the guard."""
    address = SupervisorAddress.from_environment()
    if address is None:
        raise SystemExit("this is run by `scopegate serve`")
    limits = Limits(processes=int(os.environ.get(PROCESSES, Limits().processes)))
    users = isolation.FREE_USERS if os.geteuid() == 0 else None
    data = DataDirectories(Path(os.environ[DATA]), users)
    allowed = stdio.read_commands(os.environ.get(COMMANDS, ""))
    hide_from_equals()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="scopegate-homes-", ignore_cleanup_errors=True) as homes:
        if users is not None:
            # Programs enter it to reach their homes.
            Path(homes).chmod(0o711)
        places = Isolation(Path(homes), data, adopts=True)
        asyncio.run(_serve(address, Sessions(allowed, places, limits)))


if __name__ == "__main__":
    main()
