"""Shared Signals of one worker: what receives events, and the loop that asks for those that wait elsewhere."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from app.adapters.ssf.polling import Polling
from app.adapters.ssf.receiver import Receiver
from app.adapters.ssf.refusals import RefusedEvents
from app.adapters.ssf.transmitters import Transmitters
from app.crypto.jose.keys import ProviderKeys
from app.http.runtime import Runtime
from app.worker.background import cancelled


def receiving_signals(runtime: Runtime, stack: AsyncExitStack) -> tuple[Runtime, Receiver]:
    """What event tokens are checked by, looked after until ``stack`` is closed; and the runtime that warns of it."""
    transmitters = Transmitters(runtime.outbound)
    keys = ProviderKeys(
        transmitters.keys_of, whose="transmitter of signals", lost="none of its events is taken"
    )
    stack.push_async_callback(keys.aclose)
    receiver = Receiver(transmitters, keys, RefusedEvents(runtime.sessions))
    polling = Polling(runtime.sessions, runtime.sealer, runtime.signer, receiver)
    task = asyncio.create_task(polling.run(), name="signals")
    stack.push_async_callback(cancelled, task)
    others = runtime.warnings
    return replace(runtime, warnings=lambda: [*others(), *keys.warnings()]), receiver
