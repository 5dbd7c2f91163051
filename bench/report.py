"""Medians over rounds, ratios within rounds, and their output as a table and as JSON."""

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.load import merge_errors
from bench.rounds import Measured
from bench.systems import AIOHTTP, DIRECT, GATEWAY, RAW
from bench.targets import Figure, at_least, at_most

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Summary:
    """The medians of one system under one load, and its ratios to other systems within a round."""

    system: str
    callers: int
    rate: float
    p50: float
    p99: float
    errors: dict[str, int]
    cpu: float
    database_cpu: float | None
    calls: int
    to_aiohttp: float
    to_raw: float
    to_direct: float
    added_p50: float
    """Milliseconds over the direct call."""


def summarize(rounds: Sequence[Sequence[Measured]]) -> list[Summary]:
    """Summarize all rounds. Each round has every system under every load once."""
    first = rounds[0]
    return [_summarize(one.system, one.sample.callers, rounds) for one in first]


def _summarize(system: str, callers: int, rounds: Sequence[Sequence[Measured]]) -> Summary:
    mine = [_find(one, system, callers) for one in rounds]
    database = [one.database_cpu for one in mine if one.database_cpu is not None]

    return Summary(
        system=system,
        callers=callers,
        rate=median(one.sample.rate for one in mine),
        p50=median(one.sample.percentile(0.5) for one in mine),
        p99=median(one.sample.percentile(0.99) for one in mine),
        errors=dict(merge_errors([one.sample for one in mine])),
        cpu=median(one.cpu for one in mine),
        database_cpu=median(database) if database else None,
        calls=sum(one.sample.calls for one in mine),
        to_aiohttp=ratio(rounds, system, AIOHTTP, callers),
        to_raw=ratio(rounds, system, RAW, callers),
        to_direct=ratio(rounds, system, DIRECT, callers),
        added_p50=median(
            one.sample.percentile(0.5) - _find(all_of, DIRECT, callers).sample.percentile(0.5)
            for one, all_of in zip(mine, rounds, strict=True)
        ),
    )


def ratio(rounds: Sequence[Sequence[Measured]], one: str, other: str, callers: int) -> float:
    """Return the throughput of one system relative to another."""
    # Compare within rounds, where conditions are equal, before taking the median.
    return median(
        _divide(_find(measured, one, callers).sample.rate, _find(measured, other, callers).sample.rate)
        for measured in rounds
    )


def errors(rounds: Sequence[Sequence[Measured]]) -> list[str]:
    """Return the failures under load, one line for each system and load."""
    summaries = []
    for first in rounds[0]:
        samples = [_find(one, first.system, first.sample.callers).sample for one in rounds]
        failed = dict(merge_errors(samples))
        if failed:
            summaries.append(f"ERRORS: {first.system} at {first.sample.callers}: {failed}")
    return summaries


def key_figures(summaries: Sequence[Summary]) -> list[Figure]:
    """Return the figures of the table that have a target."""
    most, least = max(summary.callers for summary in summaries), min(summary.callers for summary in summaries)
    mine = [summary for summary in summaries if summary.system in GATEWAY]
    return [
        *(
            Figure(
                f"throughput, {most} callers: {summary.system}",
                summary.to_aiohttp,
                "x",
                at_least(1.0),
                "of the aiohttp proxy",
            )
            for summary in mine
            if summary.callers == most
        ),
        *(
            Figure(
                f"added p50, {least} caller: {summary.system}",
                summary.added_p50,
                "ms",
                at_most(1.0),
                "over the upstream only",
            )
            for summary in mine
            if summary.callers == least
        ),
    ]


def _find(measured: Iterable[Measured], system: str, callers: int) -> Measured:
    return next(one for one in measured if one.system == system and one.sample.callers == callers)


def _divide(one: float, other: float) -> float:
    return one / other if other else math.nan


def table(summaries: Sequence[Summary]) -> str:
    """Return the figures as text, one block for each load."""
    out = []
    for callers in dict.fromkeys(summary.callers for summary in summaries):
        load = f"{callers} caller" if callers == 1 else f"{callers} callers"
        out.append(
            f"\n{load:<30}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}"
            f"{'errors':>8}{'CPU µs':>8}{'DB µs':>7}  |"
            f"{'vs aiohttp':>11}{'vs raw':>8}{'vs direct':>10}{'added p50':>11}"
        )
        for summary in summaries:
            if summary.callers == callers:
                database = "" if summary.database_cpu is None else f"{summary.database_cpu:.0f}"
                out.append(
                    f"{summary.system:<30}{summary.rate:>9,.0f}{summary.p50:>9.3f}{summary.p99:>9.3f}"
                    f"{sum(summary.errors.values()):>8}{summary.cpu:>8.0f}{database:>7}  |{summary.to_aiohttp:>11.2f}"
                    f"{summary.to_raw:>8.2f}{summary.to_direct:>10.2f}{summary.added_p50:>11.3f}"
                )
    return "\n".join(out)


def write(
    name: str, settings: dict[str, Any], summaries: Sequence[Summary], figures: Sequence[Figure]
) -> Path:
    """Write the figures and the machine they were measured on as JSON; returns the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "settings": settings,
        "results": [_jsonable(summary) for summary in summaries],
        "figures": [figure.jsonable() for figure in figures],
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _jsonable(summary: Summary) -> dict[str, Any]:
    return {
        "system": summary.system,
        "callers": summary.callers,
        "requests_per_second": round(summary.rate, 1),
        "p50_ms": _rounded(summary.p50),
        "p99_ms": _rounded(summary.p99),
        "errors": summary.errors,
        "calls": summary.calls,
        "cpu_us_per_call": _rounded(summary.cpu),
        "database_cpu_us_per_call": None if summary.database_cpu is None else _rounded(summary.database_cpu),
        "ratios": {
            "aiohttp_proxy": _rounded(summary.to_aiohttp),
            "raw_proxy": _rounded(summary.to_raw),
            "direct": _rounded(summary.to_direct),
        },
        "added_p50_ms": _rounded(summary.added_p50),
    }


def _rounded(value: float) -> float | None:
    """Round a number, and replace NaN, which JSON does not have."""
    return None if math.isnan(value) else round(value, 4)


def _commit() -> str | None:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None


def _processor() -> str:
    for summary in Path("/proc/cpuinfo").read_text().splitlines():
        if summary.startswith("model name"):
            return summary.partition(":")[2].strip()
    return platform.machine()
