"""Shows what the tests cover, by folder, and holds the folders that carry the guarantees to a floor.

``make coverage`` runs it after the tests. It prints lines and branches, and writes ``build/coverage/html`` and
``build/coverage/coverage.md``.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from coverage import Coverage

from tests.house.tracked import ROOT

OUTPUT = ROOT / "build" / "coverage"
# Percent of lines, and of lines and branches together, in each of the folders that carry the guarantees.
FLOOR = 95.0
# Percent of branches in them: ratchets on the way to the floor. Only ever raise them.
BRANCHES = {"access": 90.0, "admission": 90.0, "domain": 95.0, "gateway": 94.0}


@dataclass(frozen=True, slots=True)
class Covered:
    """What tests ran through: lines, and branches out of lines that have several."""

    lines: int = 0
    lines_run: int = 0
    branches: int = 0
    branches_run: int = 0

    def __add__(self, other: "Covered") -> "Covered":
        return Covered(
            self.lines + other.lines,
            self.lines_run + other.lines_run,
            self.branches + other.branches,
            self.branches_run + other.branches_run,
        )

    @property
    def line_percent(self) -> float:
        return 100.0 * self.lines_run / self.lines if self.lines else 100.0

    @property
    def percent(self) -> float:
        """Of lines and branches together."""
        every = self.lines + self.branches
        return 100.0 * (self.lines_run + self.branches_run) / every if every else 100.0

    @property
    def branch_percent(self) -> float:
        return 100.0 * self.branches_run / self.branches if self.branches else 100.0


def covered(summary: dict[str, int]) -> Covered:
    """The counts of one file, of coverage's JSON report."""
    names = ("num_statements", "covered_lines", "num_branches", "covered_branches")
    return Covered(*(summary[name] for name in names))


def folder_of(path: str) -> str:
    """``domain`` of ``app/domain/access.py``, and ``features/access`` of a feature's file."""
    parts = PurePath(path).relative_to("app").parts[:-1]
    return "/".join(parts[: 2 if parts[:1] in {("features",), ("adapters",)} else 1]) or "."


def by_folder(files: Iterable[tuple[str, Covered]]) -> dict[str, Covered]:
    """Sums, by folder."""
    sums: dict[str, Covered] = {}
    for path, numbers in files:
        folder = folder_of(path)
        sums[folder] = sums.get(folder, Covered()) + numbers
    return dict(sorted(sums.items()))


def below_floor(folders: dict[str, Covered]) -> list[str]:
    """The guarded folders that tests cover too little of; one that is not there counts as not covered."""
    found = []
    for folder, branches in BRANCHES.items():
        numbers = folders.get(folder, Covered(1, 0, 1, 0))
        if min(numbers.line_percent, numbers.percent) < FLOOR or numbers.branch_percent < branches:
            found.append(folder)
    return found


def table(folders: dict[str, Covered]) -> str:
    """Markdown, with the floors of the guarded folders."""
    rows = ["| Folder of `app/` | Lines | Branches | Both |", "| --- | ---: | ---: | ---: |"]
    for folder, numbers in {**folders, "all": sum(folders.values(), Covered())}.items():
        guarded = folder in BRANCHES
        cells = (
            _cell(numbers.line_percent, FLOOR if guarded else None),
            _cell(numbers.branch_percent, BRANCHES.get(folder)),
            _cell(numbers.percent, FLOOR if guarded else None),
        )
        rows.append(f"| {folder} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _cell(percent: float, floor: float | None) -> str:
    return f"{percent:.1f} %" + ("" if floor is None else f" (floor {floor:g})")


def main() -> int:
    """Read what ``pytest --cov`` left, and report it."""
    measured = Coverage()
    measured.load()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    measured.json_report(outfile=str(OUTPUT / "coverage.json"))
    report = json.loads((OUTPUT / "coverage.json").read_text(encoding="utf-8"))
    folders = by_folder((path, covered(file["summary"])) for path, file in report["files"].items())
    measured.html_report(directory=str(OUTPUT / "html"))
    (OUTPUT / "coverage.md").write_text(table(folders), encoding="utf-8")
    sys.stdout.write(table(folders))
    if lacking := below_floor(folders):
        sys.stdout.write(f"Below the floor: {', '.join(lacking)}; see {OUTPUT}/html\n")
    return int(bool(lacking))


if __name__ == "__main__":
    sys.exit(main())
