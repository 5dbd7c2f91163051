"""Counts the files of ``app/`` that a warm ``tools/call`` runs through, from its bytes to the bytes of its answer.

::

    python -m tests.house.call_path

The service is the real one, with its database and HTTP server. ``sys.setprofile`` notes each function that is called
or resumed. What runs in the background of some calls only is left out: a file counts if every measured call enters it.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import pairwise
from types import FrameType
from typing import Any
from uuid import uuid4

from pydantic import SecretStr

from app.http.server_protocol import GuardedHttp
from app.main import create_app
from app.settings import Settings
from bench.messages import TOOL
from bench.seed import SLUG, seed
from tests import database
from tests.api import KEY
from tests.faults.wire import Connection, Way
from tests.gateway.world import serve
from tests.house.tracked import ROOT

WARM_UP_CALLS = 50
MEASURED_CALLS = 10
# What follows an answer, such as the record of its outcome, ends before the next call.
SETTLING_S = 0.05

_APP = f"{ROOT / 'app'}/"


@dataclass(frozen=True, slots=True)
class CallPath:
    """``files`` are relative to ``app/``, in the order of first entry; ``changes`` is how often the file changes."""

    files: tuple[str, ...]
    changes: int


@asynccontextmanager
async def _upstream() -> AsyncIterator[int]:
    """A port that answers each request at once, without code of ours."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                id = json.loads(await reader.readexactly(length))["id"]
                result = {"resultType": "complete", "content": [{"type": "text", "text": "hello"}]}
                body = json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(body), body)
                )
        except (EOFError, OSError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def call_path(database_url: str) -> CallPath:
    """Serve, call until everything is warm, and look at some calls. ``database_url`` is of an empty, migrated one."""
    key = SecretStr(KEY)
    app = create_app(
        Settings(
            database_url=SecretStr(database_url),
            token_pepper=key,
            encryption_key=key,
            signing_key=key,
            upstream_allowed_networks=(ip_network("127.0.0.1/32"),),
        )
    )
    async with _upstream() as port:
        seeded = await seed(database_url, KEY.encode(), f"http://127.0.0.1:{port}/mcp", tokens=1)
        async with app.api.router.lifespan_context(app.api), serve(app, http=GuardedHttp) as url:
            connection = await Connection.open(int(url.rpartition(":")[2]))
            way = Way(SLUG, seeded.credentials[0])
            for _ in range(WARM_UP_CALLS):
                await _call(connection, way)
            traces = []
            for _ in range(MEASURED_CALLS):
                await asyncio.sleep(SETTLING_S)
                traces.append(await _trace(connection, way))
            connection.close()
    always = set.intersection(*(set(trace) for trace in traces))
    walked = [[file for file in trace if file in always] for trace in traces]
    changes = min(sum(before != after for before, after in pairwise(trace)) for trace in walked)
    return CallPath(tuple(dict.fromkeys(walked[0])), changes)


async def _call(connection: Connection, way: Way) -> None:
    answer = await connection.exchange(way.call(TOOL, uuid4().hex))
    assert answer.status == 200, answer.body
    assert b"hello" in answer.body


async def _trace(connection: Connection, way: Way) -> list[str]:
    """The file of each function of ours that is entered during one call, in order."""
    entered: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(_APP):
            entered.append(name.removeprefix(_APP))

    sys.setprofile(note)
    try:
        await _call(connection, way)
    finally:
        sys.setprofile(None)
    return entered


def main() -> None:
    """Print the files in order, and both numbers."""
    database.open_session()
    try:
        with database.temporary_database() as url:
            path = asyncio.run(call_path(url))
    finally:
        database.close_process()
        database.close_session()
    sys.stdout.write("\n".join([*path.files, f"{len(path.files)} files, {path.changes} changes of file", ""]))


if __name__ == "__main__":
    main()
