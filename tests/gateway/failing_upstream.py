"""An MCP server in its own process that stalls at a given point: python failing_upstream.py FD.

The name of the called tool says how far: ``silent`` before anything is sent, ``half`` within a JSON answer, ``stream``
within an event stream, ``talk`` in a stream of endless comments. It uses only the standard library, to start fast. It
prints each step, and continues after a line of input.
"""

import asyncio
import json
import socket
import sys
from typing import Any

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
RESULT: dict[str, Any] = {
    "resultType": "complete",
    "content": [],
    "protocolVersion": "2025-11-25",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "failing", "version": "1"},
    "tools": [
        {"name": name, "inputSchema": {"type": "object"}} for name in ("silent", "half", "stream", "talk")
    ],
    "ttlMs": 0,
    "cacheScope": "private",
}
"""The result of every call."""
go_on = asyncio.Event()


def say(what: str) -> None:
    """Tell the test."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def whole(body: bytes, status: str = "200 OK") -> bytes:
    """An answer in JSON, the last on its connection."""
    head = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def chunk(data: bytes) -> bytes:
    """Encode a chunk of a stream. Its last chunk distinguishes the end from a lost connection."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def begin(tool: str, answer: bytes) -> bytes:
    """Return what is sent before the stall."""
    if tool == "half":
        return whole(answer)[:-5]
    if tool in {"stream", "talk", "listen"}:
        progress = {
            "jsonrpc": "2.0",
            "method": "notifications/message",
            "params": {"level": "info", "data": "x"},
        }
        return STREAM + chunk(b"data: " + json.dumps(progress).encode() + b"\n\n")
    return b""


def end(tool: str, answer: bytes) -> bytes:
    """Return the rest of the answer."""
    if tool == "half":
        return answer[-5:]
    return chunk(b"data: " + answer + b"\n\n") + chunk(b"") if tool == "stream" else whole(answer)


async def talk(writer: asyncio.StreamWriter) -> None:
    """Keep the stream alive forever."""
    while True:
        writer.write(chunk(b": still here\n\n"))
        await writer.drain()
        await asyncio.sleep(0.01)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, one request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = head.partition("content-length: ")[2].partition("\r\n")[0]
    message: dict[str, Any] = json.loads(await reader.readexactly(int(length))) if length else {}
    tool = message.get("params", {}).get("name", "listen")
    answer = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": RESULT}).encode()
    if message.get("method", "tools/call") != "tools/call":
        writer.write(whole(answer) if "id" in message else whole(b"", "202 Accepted"))
        writer.close()
        return
    writer.write(begin(tool, answer))
    await writer.drain()
    say(f"begun {tool}")
    leaving, going = asyncio.create_task(reader.read()), asyncio.create_task(go_on.wait())
    talking = asyncio.create_task(talk(writer)) if tool == "talk" else None
    await asyncio.wait((leaving, going), return_when=asyncio.FIRST_COMPLETED)
    if going.done():
        writer.write(end(tool, answer))
        writer.write_eof()
    else:
        say("left")
    for task in (leaving, going, talking):
        if task is not None:
            task.cancel()
    writer.close()


async def main() -> None:
    """Serve until the end."""
    server = await asyncio.start_server(serve, sock=socket.socket(fileno=int(sys.argv[1])))
    async with server:
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        go_on.set()
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
