from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.policy_mode import PolicyMode, check_policy_mode

if TYPE_CHECKING:
    from ..models.policy_test import PolicyTest


@define(kw_only=True)
class PolicyVersion:
    """A published version of a policy, and the time in which it decided."""

    version: int
    """Its number, from 1."""

    name: str
    """The name of the policy then."""

    text: str
    """The published text."""

    mode: PolicyMode
    """`observe`: it decides nothing; audit events name it when it would have changed the decision."""

    tests: list[PolicyTest]
    """The tests published with it."""

    valid_from: datetime.datetime
    """When it began to decide."""

    valid_to: datetime.datetime | None
    """When it stopped deciding; null: it still decides."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        version = self.version

        name = self.name

        text = self.text

        mode: str = self.mode

        tests = []
        for tests_item_data in self.tests:
            tests_item = tests_item_data.to_dict()
            tests.append(tests_item)

        valid_from = self.valid_from.isoformat()

        valid_to: None | str
        if isinstance(self.valid_to, datetime.datetime):
            valid_to = self.valid_to.isoformat()
        else:
            valid_to = self.valid_to

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "version": version,
                "name": name,
                "text": text,
                "mode": mode,
                "tests": tests,
                "valid_from": valid_from,
                "valid_to": valid_to,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.policy_test import PolicyTest

        d = dict(src_dict)
        version = d.pop("version")

        name = d.pop("name")

        text = d.pop("text")

        mode = check_policy_mode(d.pop("mode"))

        tests = []
        _tests = d.pop("tests")
        for tests_item_data in _tests:
            tests_item = PolicyTest.from_dict(tests_item_data)

            tests.append(tests_item)

        valid_from = datetime.datetime.fromisoformat(d.pop("valid_from"))

        def _parse_valid_to(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                valid_to_type_0 = datetime.datetime.fromisoformat(data)

                return valid_to_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        valid_to = _parse_valid_to(d.pop("valid_to"))

        return cls(
            version=version,
            name=name,
            text=text,
            mode=mode,
            tests=tests,
            valid_from=valid_from,
            valid_to=valid_to,
        )
