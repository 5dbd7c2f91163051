"""Batched reads by id are as fresh as separate reads, and failures do not affect other ids."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import pytest

from app.access import fresh_reads
from app.access.fresh_reads import FreshBatches
from app.domain.errors import StoreUnavailable
from app.lib.ids import new_id

ONE, OTHER, THIRD = (UUID(int=number) for number in range(3))


class Reading:
    """Reads that end on command, and return how many had begun."""

    def __init__(self) -> None:
        self.begun: list[set[UUID]] = []
        self.begins: asyncio.Queue[asyncio.Event] = asyncio.Queue()
        self.faults: dict[UUID, Exception] = {}

    async def __call__(self, ids: Collection[UUID]) -> Mapping[UUID, Any]:
        self.begun.append(set(ids))
        number, ends = len(self.begun), asyncio.Event()
        self.begins.put_nowait(ends)
        await ends.wait()
        for id in ids:
            if id in self.faults:
                raise self.faults[id]
        return dict.fromkeys(ids, number)

    async def end_one(self) -> None:
        (await self.begins.get()).set()


async def test_what_is_asked_for_during_a_read_is_read_after_it_and_together() -> None:
    reading = Reading()
    batches = FreshBatches(reading)
    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        first = group.create_task(batches.result(ONE))
        ends = await reading.begins.get()
        # The running read of an id is not fresh enough for a later caller.
        later = [group.create_task(batches.result(id)) for id in (ONE, OTHER, THIRD, OTHER)]
        await asyncio.sleep(0)
        ends.set()
        assert await first == 1
        await reading.end_one()
        assert [await task for task in later] == [2] * 4
    assert reading.begun == [{ONE}, {ONE, OTHER, THIRD}]


async def test_a_read_that_takes_long_keeps_no_others_waiting_but_of_the_same_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fresh_reads, "_SECOND_BATCH_AFTER_S", 0.01)
    reading = Reading()
    batches = FreshBatches(reading)
    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        first = group.create_task(batches.result(ONE))
        hangs = await reading.begins.get()
        again, other = group.create_task(batches.result(ONE)), group.create_task(batches.result(OTHER))
        await reading.end_one()
        assert await other == 2
        assert not again.done()
        hangs.set()
        assert await first == 1
        await reading.end_one()
        assert await again == 3
    assert reading.begun == [{ONE}, {OTHER}, {ONE}]


async def test_so_many_are_read_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_reads, "IDS_AT_ONCE", 2)
    reading = Reading()
    batches = FreshBatches(reading)
    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(batches.result(new_id()))
        for _ in range(3):
            await reading.end_one()
    assert [len(ids) for ids in reading.begun] == [2, 2, 1]


async def test_what_is_wrong_with_one_harms_no_other_that_is_read_with_it() -> None:
    reading = Reading()
    reading.faults[ONE] = ValueError("of one")
    batches = FreshBatches(reading)
    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        asked = [
            group.create_task(asyncio.wait_for(_fault_of(batches.result(id)), 50))
            for id in (OTHER, ONE, THIRD)
        ]
        for _ in range(4):
            await reading.end_one()
    assert [task.result() for task in asked] == [None, reading.faults[ONE], None]


async def test_where_nothing_can_be_read_it_is_tried_once_for_all() -> None:
    reading = Reading()
    away = reading.faults[ONE] = StoreUnavailable()
    batches = FreshBatches(reading)
    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        asked = [group.create_task(_fault_of(batches.result(id))) for id in (OTHER, ONE)]
        await reading.end_one()
    assert [task.result() for task in asked] == [away, away]
    # The next caller gets a new read.
    del reading.faults[ONE]
    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        fine = group.create_task(batches.result(ONE))
        await reading.end_one()
    assert fine.result() == 2


async def test_whoever_gives_up_leaves_the_read_to_the_others() -> None:
    reading = Reading()
    batches = FreshBatches(reading)
    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        leaves, stays = group.create_task(batches.result(ONE)), group.create_task(batches.result(ONE))
        ends = await reading.begins.get()
        leaves.cancel()
        ends.set()
        assert await stays == 1


async def _fault_of(result: Any) -> Exception | None:
    try:
        await result
    except (StoreUnavailable, ValueError) as fault:
        return fault
    return None
