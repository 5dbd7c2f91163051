"""The background loops of a worker: their start, their shutdown in order, and the detection of failures.

A worker ends when a loop fails that admits, cuts or records calls, and is replaced.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Protocol

from app.admission.consuming_writer import ConsumingWriter
from app.admission.in_flight import InFlightTable
from app.admission.rows import Refusals
from app.admission.usage import CallUses
from app.admission.writer import AdmissionWriter
from app.lib.logs import log_fault

log = logging.getLogger(__name__)
_STOP_S = 5.0


class Loop(Protocol):
    """A task that runs as long as the worker."""

    async def run(self) -> None: ...


def run_until_closed(stack: AsyncExitStack, loop: Loop) -> None:
    """Run a loop until ``stack`` is closed, which cancels it and waits for its end."""
    task = _start(loop)

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)


async def run_in_background(
    stack: AsyncExitStack,
    writers: Sequence[AdmissionWriter | ConsumingWriter],
    table: InFlightTable,
    refusals: Refusals,
    uses: CallUses,
    others: Sequence[Loop],
) -> None:
    """Start the worker's loops; at shutdown, calls are cut first and pending records are written last."""
    writing = [_start(writer) for writer in writers]
    watching = _start(table)
    for task in (*writing, watching):
        task.add_done_callback(_exit_after_failure)
    secondary: list[Loop] = [refusals, uses, *others]
    extras = [_start(loop) for loop in secondary]

    async def stop() -> None:
        table.close()
        for task in extras:
            task.cancel()
        await asyncio.gather(watching, *extras, return_exceptions=True)
        refusals.flush()
        with suppress(Exception):
            # The last uses may be lost; an unavailable database must not delay the exit.
            await uses.flush()
        for writer in writers:
            writer.close()
        await asyncio.wait(writing, timeout=_STOP_S)
        for task in writing:
            task.cancel()

    stack.push_async_callback(stop)


def _start(loop: Loop) -> asyncio.Task[None]:
    task = asyncio.create_task(loop.run(), name=type(loop).__name__)
    task.add_done_callback(_log_failure)
    return task


def _fault_of(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


def _log_failure(task: asyncio.Task[None]) -> None:
    fault = _fault_of(task)
    if fault is not None:
        log_fault(log, f"{task.get_name()} of this worker", fault, logging.CRITICAL)


def _exit_after_failure(task: asyncio.Task[None]) -> None:
    if _fault_of(task) is not None:
        # Immediately, like a kill, which loses no record: calls that it leaves open are recorded as lost.
        os._exit(1)
