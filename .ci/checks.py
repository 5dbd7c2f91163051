"""Runs the checks of the repository, part by part, and says at the end what each came to.

::

    python3 .ci/checks.py gate          the gate, to the first failure
    python3 .ci/checks.py all [PART...] all parts (`make check`), or some, to the end

Before ``make install`` only the standard library is there. The output of each part is also in ``build/checks``.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "build" / "checks"

STATIC = (
    "install",
    "format-check",
    "lint",
    "imports",
    "layout",
    "openapi-check",
    "client-check",
    "spec-lint",
    "types",
)
GATE: dict[str, list[str]] = {
    **{target: ["make", target] for target in STATIC},
    "test": [".ci/test"],
    "main-job": [".ci/main-job"],
}
REST: dict[str, list[str]] = {
    target: ["make", target] for target in ("limits", "coverage", "slow", "deadlines", "conformance", "laws")
}

PARTS = [*GATE, *REST]

# The budget of the quick suite is 5 minutes on two idle cores (CONTRIBUTING.md).
QUICK_TESTS_WARN_SECONDS = 360.0
# How many failures of a part the table names.
NAMED_FAILURES = 3
_FAILURES = re.compile(
    r"^(?:FAILED|ERROR) \S+|^\S+\.py:\d+: error: .*|^would reformat .*|^\w[\w ]* BROKEN$", re.IGNORECASE
)
_PYTEST_SECONDS = re.compile(r"\b(?:passed|failed|skipped)\b.* in (\d+(?:\.\d+)?)s\b")


@dataclass(frozen=True, slots=True)
class Result:
    """What a part came to. ``failures`` are the first lines of its output that name one."""

    part: str
    exit_code: int
    seconds: float
    failures: tuple[str, ...] = ()

    @property
    def row(self) -> str:
        """A line of the table."""
        verdict = f"FAILED ({self.exit_code})" if self.exit_code else "ok"
        return "\n".join(
            (f"{self.part:<14} {verdict:<12} {self.seconds:7.1f}", *(f"    {line}" for line in self.failures))
        )


def log_of(part: str) -> Path:
    """The file with the output of a part."""
    return OUTPUT / f"{part}.log"


def run(part: str, command: Sequence[str]) -> Result:
    """Run a part. Its output is shown as it comes, and kept."""
    say(f"\n=== {part}: {' '.join(command)}")
    begun = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with process, log_of(part).open("wb") as log:
        for line in process.stdout or ():
            log.write(line)
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    failures = named_failures(log_of(part)) if process.returncode else ()
    return Result(part, process.returncode, time.monotonic() - begun, failures)


def lines_of(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()


def named_failures(log: Path) -> tuple[str, ...]:
    """The first lines that name a failure, or the last one with anything in it."""
    lines = [line.strip() for line in lines_of(log) if line.strip()]
    return tuple(line[:160] for line in lines if _FAILURES.match(line))[:NAMED_FAILURES] or tuple(lines[-1:])


def warnings(results: Iterable[Result]) -> list[str]:
    """What is no failure but will become one: a quick suite that outgrows its budget."""
    found = []
    for result in results:
        if result.part != "test":
            continue
        taken = [float(match[1]) for match in map(_PYTEST_SECONDS.search, lines_of(log_of("test"))) if match]
        if taken and taken[-1] > QUICK_TESTS_WARN_SECONDS:
            found.append(
                f"WARNING: the quick tests took {taken[-1]:.0f} s; their budget is 300 s on two idle cores"
            )
    return found


def table(results: Sequence[Result]) -> str:
    """Part, result and seconds of each, with the first failures below."""
    seconds = sum(result.seconds for result in results)
    return "\n".join(
        (
            f"\n{'part':<14} {'result':<12} seconds",
            *(result.row for result in results),
            f"{'all':<27} {seconds:7.1f}",
        )
    )


def gate() -> int:
    """Each part of the gate, to the first failure. The last line says how it ended."""
    results: list[Result] = []
    for part, command in GATE.items():
        results.append(run(part, command))
        if code := results[-1].exit_code:
            say(table(results))
            say(
                f"gate: FAILED at {part} (exit code {code}) after {results[-1].seconds:.0f} s; see {log_of(part)}"
            )
            return code
    say("\n".join((table(results), *warnings(results))))
    say("gate: passed")
    return 0


def all_parts(names: Sequence[str]) -> int:
    """Some parts, or without names all, each to its end whatever the others came to."""
    parts = GATE | REST
    if unknown := [name for name in names if name not in parts]:
        say(f"No part is named {', '.join(unknown)}. Parts: {', '.join(parts)}")
        return 2
    results = [run(name, command) for name, command in parts.items() if name in names or not names]
    say("\n".join((table(results), *warnings(results))))
    failed = [result.part for result in results if result.exit_code]
    say(f"check: FAILED: {', '.join(failed)}" if failed else "check: passed")
    return int(bool(failed))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Run ``gate`` or ``all``."""
    modes: dict[str, Callable[[], int]] = {"gate": gate, "all": lambda: all_parts(arguments[1:])}
    mode = modes.get(arguments[0]) if arguments else None
    if mode is None:
        say(__doc__ or "")
        return 2
    OUTPUT.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONUNBUFFERED"] = "1"
    return mode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
