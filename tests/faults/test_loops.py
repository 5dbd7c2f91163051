"""A worker ends if a loop fails that admits, cuts or records calls."""

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest

from app.admission.consuming import Demand
from app.admission.consuming_writer import ConsumingWriter
from app.admission.in_flight import InFlightTable
from app.admission.rows import Refusals, Values
from app.admission.usage import CallUses
from app.admission.writer import AdmissionWriter, make_outcome
from app.db.clock import DatabaseClock
from app.domain.errors import StoreUnavailable
from app.lib.ids import new_id
from app.worker.background import run_in_background

SENT = "what a client sent"


async def away() -> Any:
    """A database that cannot be reached, which is no fault of the worker's."""
    raise ConnectionRefusedError


async def broken() -> Any:
    """An unexpected error."""
    raise RuntimeError(SENT)


@pytest.mark.parametrize("which", ["AdmissionWriter", "ConsumingWriter", "InFlightTable"])
async def test_a_worker_exits_with_a_message_when_a_loop_fails(
    which: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended, codes = asyncio.Event(), []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(os, "_exit", end)
    opens = dict.fromkeys(["AdmissionWriter", "ConsumingWriter", "InFlightTable"], away) | {which: broken}
    clock = DatabaseClock()
    writer = AdmissionWriter(opens["AdmissionWriter"], clock, new_id(), "key")
    consuming = ConsumingWriter(opens["ConsumingWriter"], clock, new_id(), "key", 60.0)
    table = InFlightTable(opens["InFlightTable"], clock, new_id(), lambda _ids: None)
    uses = CallUses(cast("Any", None), clock)
    demand = Demand(Values(id=new_id(), action="tool.call", actor_type="identity"), (), (0.0, 1.0))
    writer.write_later(make_outcome(new_id(), "success", 1))
    async with AsyncExitStack() as stack:
        await run_in_background(stack, (writer, consuming), table, Refusals(writer.write_later), uses, ())
        settling = asyncio.create_task(consuming.settle(demand))
        async with asyncio.timeout(20):
            await ended.wait()
    with pytest.raises(StoreUnavailable):
        await settling
    assert codes == [1]
    [record] = [each for each in caplog.records if each.levelno == logging.CRITICAL]
    assert record.getMessage().startswith(f"{which} of this worker failed: RuntimeError\n")
    assert SENT not in caplog.text
