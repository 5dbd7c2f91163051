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
# Percent of lines, and of branches, in each of these folders. Only ever raise them.
FLOOR = 95.0
GUARDED = ("access", "admission", "domain", "gateway")


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
    """The guarded folders that tests cover too little of, or none of."""
    return [
        folder
        for folder in GUARDED
        if folder not in folders or min(folders[folder].line_percent, folders[folder].branch_percent) < FLOOR
    ]


def table(folders: dict[str, Covered]) -> str:
    """Markdown."""
    rows = ["| Folder of `app/` | Lines | Branches | Floor |", "| --- | ---: | ---: | ---: |"]
    for folder, numbers in {**folders, "all": sum(folders.values(), Covered())}.items():
        floor = f"{FLOOR:.0f} %" if folder in GUARDED else ""
        percents = f"{numbers.line_percent:.1f} % | {numbers.branch_percent:.1f} %"
        rows.append(f"| {folder} | {percents} | {floor} |")
    return "\n".join(rows) + "\n"


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
        sys.stdout.write(f"Below the floor of {FLOOR:.0f} %: {', '.join(lacking)}; see {OUTPUT}/html\n")
    return int(bool(lacking))


if __name__ == "__main__":
    sys.exit(main())
