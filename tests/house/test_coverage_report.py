"""The coverage floor."""

import pytest

from tests.house.coverage_report import (
    BRANCHES,
    FLOOR,
    Covered,
    below_floor,
    by_folder,
    covered,
    folder_of,
    table,
)
from tests.house.tracked import ROOT

ALL = Covered(100, 100, 20, 20)


def test_files_count_in_their_folder() -> None:
    assert folder_of("app/features/grants/service.py") == "features/grants"
    assert folder_of("app/gateway/mirror/call.py") == "gateway"
    assert folder_of("app/main.py") == "."
    summary = {"num_statements": 10, "covered_lines": 9, "num_branches": 4, "covered_branches": 1}
    files = [("app/gateway/app.py", covered(summary)), ("app/gateway/wire/http.py", covered(summary))]
    assert by_folder(files) == {"gateway": Covered(20, 18, 8, 2)}


@pytest.mark.parametrize("folder", BRANCHES)
def test_a_guarded_folder_needs_its_floors_in_lines_in_branches_and_in_both(folder: str) -> None:
    whole = dict.fromkeys(BRANCHES, ALL)
    assert below_floor(whole) == []
    assert below_floor({**whole, folder: Covered(100, 94, 1000, 1000)}) == [folder]
    assert below_floor({**whole, folder: Covered(1000, 1000, 100, 89)}) == [folder]
    assert below_floor({**whole, folder: Covered(100, 95, 20, 18)}) == [folder]
    assert below_floor({name: numbers for name, numbers in whole.items() if name != folder}) == [folder]
    assert f"| {folder} | 94.0 % (floor 95) |" in table({folder: Covered(100, 94, 20, 20)})


def test_no_branch_floor_is_above_that_of_lines() -> None:
    assert max(BRANCHES.values()) <= FLOOR


def test_the_guarded_folders_are_there() -> None:
    assert [folder for folder in BRANCHES if not list((ROOT / "app" / folder).glob("*.py"))] == []
