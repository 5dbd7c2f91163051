"""The floor under what tests cover."""

from tests.house.coverage_report import (
    FLOOR,
    GUARDED,
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


def test_a_guarded_folder_needs_the_floor_in_lines_and_in_branches() -> None:
    whole = dict.fromkeys(GUARDED, ALL)
    assert below_floor(whole) == []
    first = GUARDED[0]
    assert below_floor({**whole, first: Covered(100, int(FLOOR) - 1, 20, 20)}) == [first]
    assert below_floor({**whole, first: Covered(100, 100, 20, 18)}) == [first]
    assert below_floor(dict.fromkeys(GUARDED[1:], ALL)) == [first]
    assert f"| {first} | 94.0 % | 100.0 % |" in table({first: Covered(100, 94, 20, 20)})


def test_the_guarded_folders_are_there() -> None:
    assert [folder for folder in GUARDED if not list((ROOT / "app" / folder).glob("*.py"))] == []
