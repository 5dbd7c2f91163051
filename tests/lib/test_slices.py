"""Long calculations yield to other tasks."""

import asyncio

from app.lib.event_loop import Turns


async def test_turns_are_taken_in_the_order_of_asking_a_few_at_a_time() -> None:
    turns, taken, counts = Turns(3), list[int](), list[int]()

    async def take(number: int) -> None:
        await turns.take()
        taken.append(number)

    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(take(number))
        while len(taken) < 20:
            await asyncio.sleep(0)
            counts.append(len(taken))
    assert taken == list(range(20))
    assert max(later - before for before, later in zip([0, *counts], counts, strict=False)) <= 3


async def test_one_that_gave_up_takes_nobodys_turn() -> None:
    turns, taken = Turns(1), list[int]()

    async def take(number: int) -> None:
        await turns.take()
        taken.append(number)

    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        tasks = [group.create_task(take(number)) for number in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        tasks[2].cancel()
    assert taken == [0, 3]
    await turns.take()
