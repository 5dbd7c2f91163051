"""Serves a raw asyncio protocol on a port from the command line, until stopped."""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable

import uvloop


def serve(protocol: Callable[[], asyncio.Protocol]) -> None:
    """Listen on 127.0.0.1 at the port that is the first argument; return after SIGTERM or SIGINT."""
    uvloop.run(_serve(protocol, int(sys.argv[1])))


async def _serve(protocol: Callable[[], asyncio.Protocol], port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(protocol, "127.0.0.1", port, backlog=512)
    # As in the gateway, exclude start-up objects from garbage collection.
    gc.freeze()
    await stopped.wait()
    server.close()
