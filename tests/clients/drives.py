"""The mark of a test that drives operations: it fails when it did not, and what no test drives is found."""

from collections.abc import Callable
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])

ATTRIBUTE = "driven_operations"


def drives(*operations: str) -> Callable[[Test], Test]:
    """Say that a test asks for these operations; the fixture ``touched`` checks that it did."""

    def mark(test: Test) -> Test:
        setattr(test, ATTRIBUTE, frozenset(operations))
        return test

    return mark
