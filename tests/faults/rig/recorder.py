"""The upstream of the rig, a process of its own: writes every call down before it does anything about it.

``python -m tests.faults.rig.recorder RECORD PORT`` serves until it is killed. Each tool is a way to be difficult.
"""

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any, cast

from tests.faults.rig.history import Closed, Received, line_of
from tests.faults.upstream import ECHO, HEAD_END, PIECE, SLOW, STREAM_HEAD, content_length

STREAM, SILENT, DIES, FLOODS, MOVED, ASKS = "stream", "silent", "dies", "floods", "moved", "asks"
TOOLS = (ECHO, SLOW, STREAM, SILENT, DIES, FLOODS, MOVED, ASKS)
"""What each does: answers; begins a stream and says no more; streams; says nothing; breaks off in a stream; sends far
more than a client reads; sends its callers elsewhere. ``asks`` answers, and a policy asks for approval first."""
ENDLESS = (SLOW, STREAM, SILENT, FLOODS)
"""Tools whose calls do not end by themselves."""
SINK, HOOK = "/sink", "/hook"
"""Where batches of the trail and messages are taken, and not looked at."""
_ELSEWHERE = "/elsewhere"
_EVENT_EVERY_S = 0.1
_FLOOD = b"x" * 32_768
_MAX_UNSENT = 1 << 18


class Recorder:
    """The file that is appended to."""

    def __init__(self, path: Path) -> None:
        # Unbuffered, so that records survive a kill of this process.
        self._file = path.open("ab", buffering=0)

    def received(self, call: str, where: str, *, raw: bool) -> None:
        self._file.write(line_of(Received(call, time.monotonic(), time.time(), where, raw)).encode())

    def closed(self, call: str) -> None:
        self._file.write(line_of(Closed(call, time.monotonic())).encode())


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._buffer = b""
        self._open: str | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(_MAX_UNSENT)

    def pause_writing(self) -> None:
        self._flowing.clear()

    def resume_writing(self) -> None:
        self._flowing.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._open is not None:
            self._recorder.closed(self._open)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while HEAD_END in self._buffer:
            head, _, rest = self._buffer.partition(HEAD_END)
            length = content_length(head)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._take(head.split(b" ", 2)[1].decode(), rest[:length])

    def _take(self, path: str, body: bytes) -> None:
        if not body:
            self._reply(405, b"")
            return
        if path in {SINK, HOOK}:
            self._reply(200, b"")
            return
        message: dict[str, Any] = json.loads(body)
        if message.get("method") != "tools/call":
            self._reply(202, b"")
            return
        params = message["params"]
        call, tool = params["arguments"]["call"], params["name"]
        # The callers write blanks after colons and commas; who serialises what was decided on does not.
        self._recorder.received(call, path if path == _ELSEWHERE else "ok", raw=b'": ' in body)
        self._act(tool, call, message["id"], params.get("_meta", {}).get("progressToken", call))

    def _act(self, tool: str, call: str, id: object, token: object) -> None:
        if tool in {ECHO, ASKS}:
            result = {"content": [{"type": "text", "text": call}], "resultType": "complete"}
            self._reply(200, json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode())
        elif tool == MOVED:
            self._reply(307, b"", b"location: %s\r\n" % _ELSEWHERE.encode())
        else:
            self._open = call
            if tool != SILENT:
                self.transport.write(STREAM_HEAD + _progress(token, 0))
            if tool in {STREAM, FLOODS}:
                self._task = asyncio.get_running_loop().create_task(self._go_on(token, tool == FLOODS))
            elif tool == DIES:
                asyncio.get_running_loop().call_later(_EVENT_EVERY_S, self.transport.abort)

    async def _go_on(self, token: object, flood: bool) -> None:
        number = 1
        while not self.transport.is_closing():
            await self._flowing.wait()
            if flood:
                self.transport.write(PIECE % (len(_FLOOD) + 4, b": %b\r\n" % _FLOOD))
            else:
                self.transport.write(_progress(token, number))
            number += 1
            await asyncio.sleep(0.02 if flood else _EVENT_EVERY_S)

    def _reply(self, status: int, body: bytes, more: bytes = b"") -> None:
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
        self.transport.write(head % (status, more, len(body)) + body)


def _progress(token: object, number: int) -> bytes:
    params = {"progressToken": token, "progress": number}
    message = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
    event = b"event: message\r\ndata: " + json.dumps(message).encode() + b"\r\n\r\n"
    return PIECE % (len(event), event)


async def _main(record: Path, port_file: Path) -> None:
    recorder = Recorder(record)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(recorder), "127.0.0.1", 0)
    unfinished = port_file.with_suffix(".new")
    unfinished.write_text(str(server.sockets[0].getsockname()[1]))
    unfinished.rename(port_file)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(Path(sys.argv[1]), Path(sys.argv[2])))
