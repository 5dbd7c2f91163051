"""The background loops of a worker: their start, their shutdown in order, and the detection of failures.

A worker ends when a loop fails that admits, cuts or records calls, and is replaced.

Also starts sealing of the audit log and the receiver of Shared Signals.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Protocol

from app.adapters.ssf.polling import Polling
from app.adapters.ssf.push_routes import Receiver, RefusedEvents
from app.admission.clients import Refusals
from app.admission.in_flight import InFlightTable
from app.crypto.jwt import ProviderKeys
from app.crypto.signed_notes import NoteSigner, log_name
from app.db.migrations import SchemaCheck
from app.features.audit.sealing.sealer import Sealing
from app.features.identity_providers.signals.transmitters import Transmitters
from app.http.runtime import Runtime
from app.lib.ids import new_id
from app.lib.logs import log_fault
from app.settings import Settings
from app.worker.database import Connector, direct_url

log = logging.getLogger(__name__)


_STOP_S = 5.0


class Loop(Protocol):
    """A task that runs as long as the worker."""

    async def run(self) -> None: ...


class Lane(Loop, Protocol):
    """A loop that writes pending records before it ends."""

    def close(self) -> None: ...


class Noted(Loop, Protocol):
    """A loop that collects notes in memory and writes them periodically."""

    async def flush(self) -> None: ...


def run_until_closed(stack: AsyncExitStack, loop: Loop) -> None:
    """Run a loop until ``stack`` is closed, which cancels it and waits for its end."""
    task = _start(loop)

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)


async def run_in_background(
    stack: AsyncExitStack,
    lanes: Sequence[Lane],
    table: InFlightTable,
    refusals: Refusals,
    uses: Noted,
    others: Sequence[Loop],
) -> None:
    """Start the worker's loops; at shutdown, calls are cut first and pending records are written last."""
    writing = [_start(lane) for lane in lanes]
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
        for lane in lanes:
            lane.close()
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


def trail_signer(settings: Settings) -> NoteSigner:
    """The signer of checkpoints for the log of this installation."""
    return NoteSigner(settings.keys("signing_key"), log_name(settings.base_url))


def start_sealing(settings: Settings, runtime: Runtime, stack: AsyncExitStack, check: SchemaCheck) -> Runtime:
    """Seal until ``stack`` is closed; return the runtime with warnings of the sealing."""
    connect = Connector(direct_url(settings), new_id(), check, runtime.rewinds).named("sealing")
    sealing = Sealing(connect, runtime.sessions, trail_signer(settings), runtime.rewinds)
    run_until_closed(stack, sealing)
    others = runtime.warnings
    return replace(runtime, warnings=lambda: [*others(), *sealing.warnings()])


def start_receiver(runtime: Runtime, stack: AsyncExitStack) -> tuple[Runtime, Receiver]:
    """Build the receiver of event tokens, maintained until ``stack`` is closed; and the runtime with its warnings."""
    transmitters = Transmitters(runtime.outbound)
    keys = ProviderKeys(
        transmitters.keys_of, description="transmitter of signals", impact="none of its events is taken"
    )
    stack.push_async_callback(keys.aclose)
    receiver = Receiver(transmitters, keys, RefusedEvents(runtime.sessions))
    polling = Polling(runtime.sessions, runtime.sealer, runtime.signer, receiver)
    run_until_closed(stack, polling)
    others = runtime.warnings
    return replace(runtime, warnings=lambda: [*others(), *keys.warnings()]), receiver
