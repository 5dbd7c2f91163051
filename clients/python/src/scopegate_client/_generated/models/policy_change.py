from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.policy import Policy


@define(kw_only=True)
class PolicyChange:
    """What became of a policy, or would."""

    changed: bool
    """Whether what decides is now another than before."""

    failed_tests: int
    """How many tests failed, and were put aside because `ignore_failed_tests` said so."""

    policy: Policy
    """A Cedar policy: its draft, and what is published of it."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        changed = self.changed

        failed_tests = self.failed_tests

        policy = self.policy.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "changed": changed,
                "failed_tests": failed_tests,
                "policy": policy,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.policy import Policy

        d = dict(src_dict)
        changed = d.pop("changed")

        failed_tests = d.pop("failed_tests")

        policy = Policy.from_dict(d.pop("policy"))

        return cls(
            changed=changed,
            failed_tests=failed_tests,
            policy=policy,
        )
