"""The official conformance suite, run against a URL: which of its checks pass.

It needs Node and npm; what runs it skips where they are missing.
"""

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.npm import find_node, install

REVISIONS = {
    "2025-11-25": ("--requirements", "2025-11-25"),
    "2026-07-28": ("--suite", "all", "--spec-version", "2026-07-28"),
}
NODE = 22
_SUITE = "the conformance suite"
_HERE = Path(__file__).parent
_SCENARIO_MS = 120_000
_WHEN = re.compile(r"-\d{4}-\d\d-\d\dT[\dZ-]+$")
_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Score:
    """Passed and failed checks, by scenario and name. A name may have several checks."""

    passed: Counter[str]
    failed: Counter[str]
    """Failed checks, with the errors."""

    def lost(self, other: "Score") -> list[str]:
        """Return the checks that pass here and fail in another result."""
        return sorted((self.passed - other.passed).elements())

    def __str__(self) -> str:
        passed, failed = self.passed.total(), self.failed.total()
        return f"{passed} of {passed + failed}"


def install_suite() -> None:
    """Install the suite next to this file, once for all workers and sessions."""
    install(_HERE, _SUITE)


async def run_suite(url: str, revision: str, results: Path) -> Score:
    """Run the server checks of a revision of the specification."""
    await _run(url, REVISIONS[revision], results)
    return _read(results)


async def run_scenarios(url: str, names: Sequence[str], results: Path) -> Score:
    """Run the checks of a protocol extension, which belongs to no revision."""
    for name in names:
        await _run(url, ("--scenario", name, "--spec-version", "2026-07-28", "--force"), results)
    return _read(results)


async def _run(url: str, which: Sequence[str], results: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        find_node(_HERE, NODE, _SUITE),
        _HERE / "node_modules/@modelcontextprotocol/conformance/dist/index.js",
        "server",
        "--url",
        url,
        *which,
        "--timeout",
        str(_SCENARIO_MS),
        "--output-dir",
        str(results),
        cwd=_HERE,
        env=os.environ | {"NO_COLOR": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise


def _read(results: Path) -> Score:
    score = Score(Counter(), Counter())
    for path in sorted(results.rglob("checks.json")):
        scenario = _WHEN.sub("", path.parent.name.removeprefix("server-"))
        for check in json.loads(path.read_text()):
            name = f"{scenario}: {check['id']}"
            if check["status"] == "SUCCESS":
                score.passed[name] += 1
            elif check["status"] in {"FAILURE", "WARNING"}:
                score.failed[f"{name}: {check.get('errorMessage')}"] += 1
    return score
