from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.policy import Policy


@define(kw_only=True)
class PolicyChange:
    """The result of a change to a policy, or of its preview."""

    changed: bool
    """Whether the published policies changed."""

    failed_tests: int
    """Number of failed tests that `ignore_failed_tests` ignored."""

    policy: Policy
    """A Cedar policy: its draft, and its published version."""

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
