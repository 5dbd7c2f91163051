"""The peers of the benchmark answer correctly, and their figures are computed."""

import asyncio
import os
from typing import Any

import pytest

from bench import rounds
from bench.load import Sample
from bench.peers import comparison, contextforge, fastmcp
from bench.processes import divide_cores
from bench.rounds import Measured
from bench.systems import FLEET, MIRROR, MIRROR_LEGACY
from bench.testbed import start_testbed


def _measured(system: str, rate: int) -> Measured:
    return Measured(system, Sample(64, seconds=1.0, calls=rate), cpu=1.0, database_cpu=None)


def test_each_endpoint_of_ours_is_held_against_each_peer() -> None:
    rates = {MIRROR: 4000, MIRROR_LEGACY: 5000, FLEET: 2000, contextforge.NAME: 50, fastmcp.NAME: 500}
    measured = [[_measured(system, rate) for system, rate in rates.items()]]

    figures = comparison.key_figures(measured, 64, {contextforge.NAME: "1.1", fastmcp.NAME: "4.2"})

    assert [(figure.value, figure.verdict, figure.detail) for figure in figures] == [
        (80, "met", "of ContextForge 1.1"),
        (100, "met", "of ContextForge 1.1"),
        (40, "missed", "of ContextForge 1.1"),
        (8, "met", "of FastMCP proxy 4.2"),
        (10, "met", "of FastMCP proxy 4.2"),
        (4, "missed", "of FastMCP proxy 4.2"),
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("peer", [contextforge, fastmcp], ids=lambda peer: str(peer.NAME))
def test_a_peer_answers_every_call_right(peer: Any) -> None:
    cores = divide_cores(os.sched_getaffinity(0))

    with start_testbed(cores, tokens=2) as testbed, peer.running(testbed) as (system, version):
        asyncio.run(rounds.check([system], times=2))

    assert version[0].isdigit()
