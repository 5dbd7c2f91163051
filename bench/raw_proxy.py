"""A fast baseline: a reverse proxy of asyncio protocols on httptools, without checks or records.

``python -m bench.raw_proxy PORT UPSTREAM_PORT``
"""

import asyncio
import sys
from typing import cast

import httptools

from bench.serving import serve

_NOT_FORWARDED = frozenset({b"host", b"connection", b"authorization"})
_free: list["Upstream"] = []


class Upstream(asyncio.Protocol):
    """One keep-alive connection to the upstream; carries one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._caller: Downstream | None = None
        self._head: list[bytes] = []
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the waiting caller."""
        if self in _free:
            _free.remove(self)
        if self._caller is not None:
            self._caller.cut()

    def send(self, wire: bytes, caller: "Downstream") -> None:
        """Forward one request for a caller."""
        self._caller = caller
        self._head, self._body = [], []
        assert self._transport is not None
        self._transport.write(wire)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the answer."""
        self._head += (name, b": ", value, b"\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the answer."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Forward the complete answer."""
        caller, self._caller = self._caller, None
        _free.append(self)
        if caller is not None:
            status = b"HTTP/1.1 %d OK\r\n" % self._parser.get_status_code()
            caller.answer(b"".join((status, *self._head, b"\r\n", *self._body)))


class Downstream(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._head: list[bytes] = []
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """A new request."""
        self._head, self._body = [], []

    def on_url(self, url: bytes) -> None:
        """The request's path."""
        self._path = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the request."""
        if name.lower() not in _NOT_FORWARDED:
            self._head += (name, b": ", value, b"\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the request."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Forward the complete request."""
        line = b"%b %b HTTP/1.1\r\nhost: 127.0.0.1\r\n" % (self._parser.get_method(), self._path)
        wire = b"".join((line, *self._head, b"\r\n", *self._body))
        if _free:
            _free.pop().send(wire, self)
        else:
            connecting = asyncio.ensure_future(self._connect_and_send(wire))
            _connecting.add(connecting)
            connecting.add_done_callback(_connecting.discard)

    async def _connect_and_send(self, wire: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(Upstream, "127.0.0.1", int(sys.argv[2]))
        upstream.send(wire, self)

    def answer(self, wire: bytes) -> None:
        """Write the answer."""
        if self._transport is not None:
            self._transport.write(wire)

    def cut(self) -> None:
        """Close the connection without an answer."""
        if self._transport is not None:
            self._transport.abort()


_connecting: set[asyncio.Future[None]] = set()


if __name__ == "__main__":
    serve(Downstream)
