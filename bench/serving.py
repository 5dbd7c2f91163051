"""Serves a raw asyncio protocol on a port given on the command line, until it is told to stop."""

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
    # The yardsticks get the same favour as the gateway: start-up objects are not collected again and again.
    gc.freeze()
    await stopped.wait()
    server.close()
