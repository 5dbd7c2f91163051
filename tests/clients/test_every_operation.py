"""No operation of the contract goes without a test that drives it with the client."""

import re
from pathlib import Path

from tests.clients.operations import contract

MARK = re.compile(r"@drives\((.*?)\)\ndef test_", re.DOTALL)


def test_each_operation_is_driven_by_some_test() -> None:
    driven: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for mark in MARK.findall(path.read_text(encoding="utf-8")):
            driven.update(re.findall(r'"(\w+)"', mark))
    operations = {name for _, _, name in contract()}
    assert operations - driven == set(), "no test drives these operations with the client"
    assert driven - operations == set(), "tests say that they drive what is not in the contract"
