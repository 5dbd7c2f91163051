from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.policy_test_result import PolicyTestResult


@define(kw_only=True)
class PolicyTestReport:
    """The results of a policy's tests."""

    passed: bool
    """Whether all of them passed."""

    results: list[PolicyTestResult]
    """One result per test, in order."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        passed = self.passed

        results = []
        for results_item_data in self.results:
            results_item = results_item_data.to_dict()
            results.append(results_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "passed": passed,
                "results": results,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.policy_test_result import PolicyTestResult

        d = dict(src_dict)
        passed = d.pop("passed")

        results = []
        _results = d.pop("results")
        for results_item_data in _results:
            results_item = PolicyTestResult.from_dict(results_item_data)

            results.append(results_item)

        return cls(
            passed=passed,
            results=results,
        )
