"""The benchmark measures each system and each part. The speed is not checked."""

import math
import os

import pytest
import uvloop

from bench import report, rounds
from bench.more.everything import PARTS, Size
from bench.processes import divide_cores
from bench.rounds import Plan
from bench.systems import AIOHTTP, DIRECT, FLEET, MIRROR, MIRROR_LEGACY, RAW, running
from bench.testbed import start_testbed

CORES = divide_cores(os.sched_getaffinity(0))
# The window is long enough for calls on a busy machine; without calls, there are no figures.
SHORT = Plan(rounds=1, window=0.5, settle=0.0, warm_up=0.1, callers=(2,))
SMALL = Size(
    SHORT,
    tokens=45,
    base_tokens=20,
    revocations=3,
    flat_seconds=0.1,
    events=640,
    people=50,
    late_page=2,
    times=1,
)


@pytest.mark.slow
def test_every_system_answers_and_is_measured() -> None:
    with start_testbed(CORES, tokens=4) as testbed, running(testbed) as systems:
        measured = uvloop.run(rounds.measure(systems, testbed.postmaster, SHORT))

    assert [one.system for one in measured[0]] == [DIRECT, RAW, AIOHTTP, MIRROR, MIRROR_LEGACY, FLEET]
    assert all(one.sample.all_calls > 0 and one.cpu > 0 for one in measured[0])
    assert report.errors(measured) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "counts"),
    [("policy", 10), ("workers", 1), ("issuing", 2), ("memory", 5), ("lists", 12), ("console", 29)],
)
def test_every_other_part_gives_its_figures(part: str, counts: int) -> None:
    figures = PARTS[part](CORES, SMALL)

    assert len(figures) == counts
    assert not any(math.isnan(figure.value) for figure in figures)


@pytest.mark.slow
def test_no_call_is_admitted_after_a_revocation_was_answered() -> None:
    admitted, *times = PARTS["cuts"](CORES, SMALL)

    assert (admitted.value, admitted.verdict) == (0, "met")
    assert "of 27 at three replicas" in admitted.detail
    assert len(times) == 6
    assert all(figure.value > 0 for figure in times)
