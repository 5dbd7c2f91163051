"""A repeated job survives every error, and can be woken up."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from app.db.jobs import repeat
from app.domain.errors import Unavailable

LONG_S = 3_600.0


@asynccontextmanager
async def running(
    job: Callable[[], Awaitable[object]], every_s: float, **options: object
) -> AsyncIterator[None]:
    task = asyncio.create_task(repeat("the job", job, every_s, **options))  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(50):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Job:
    """Returns or raises one result after another, then rests."""

    def __init__(self, *results: object) -> None:
        self.results = list(results)
        self.runs = 0
        self.done = asyncio.Event()

    async def __call__(self) -> object:
        self.runs += 1
        result = self.results.pop(0) if self.results else None
        if not self.results:
            self.done.set()
        if isinstance(result, Exception):
            raise result
        return result


@pytest.mark.parametrize("outage", [Unavailable("away"), ConnectionRefusedError(), TimeoutError()])
async def test_an_outage_ends_no_job_and_is_not_logged(
    outage: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    job = Job(outage, outage, None)
    async with running(job, 0.001):
        await job.done.wait()
    assert caplog.records == []


async def test_a_bug_ends_no_job_and_is_logged_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    job = Job(RuntimeError("contents"), None)
    async with running(job, 0.001):
        await job.done.wait()
    [record] = caplog.records
    assert (record.levelno, "the job failed: RuntimeError" in record.getMessage()) == (logging.ERROR, True)
    assert "contents" not in caplog.text


async def test_a_bug_that_lasts_is_logged_once_and_another_again(caplog: pytest.LogCaptureFixture) -> None:
    job = Job(RuntimeError(), RuntimeError(), RuntimeError(), KeyError(), None)
    async with running(job, 0.001):
        await job.done.wait()
    assert [record.getMessage().split("\n")[0] for record in caplog.records] == [
        "the job failed: RuntimeError",
        "the job failed: KeyError",
    ]


async def test_it_first_waits_and_a_wake_ends_the_pause() -> None:
    job, wake = Job(), asyncio.Event()
    async with running(job, LONG_S, wake=wake):
        await asyncio.sleep(0.01)
        assert job.runs == 0
        for run in (1, 2):
            job.done.clear()
            wake.set()
            await job.done.wait()
            assert job.runs == run


async def test_a_wake_does_not_repeat_at_once_what_failed() -> None:
    job, wake = Job(RuntimeError()), asyncio.Event()
    async with running(job, LONG_S, first_s=0, wake=wake):
        await job.done.wait()
        wake.set()
        await asyncio.sleep(0.01)
    assert job.runs == 1


async def test_an_interval_of_zero_disables_it() -> None:
    job = Job()
    await asyncio.wait_for(repeat("the job", job, 0, first_s=0), 20)
    assert job.runs == 0
