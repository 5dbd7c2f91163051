from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.policy_mode import PolicyMode, check_policy_mode
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.policy_test import PolicyTest


@define(kw_only=True)
class PolicyUpdate:
    """Changes to a policy's draft; the published version stays until the next publish."""

    name: str | Unset = UNSET
    """Unique among policies that have not ended, ignoring case."""

    description: None | str | Unset = UNSET
    """What it is for."""

    text: str | Unset = UNSET
    """The text of the draft: exactly one Cedar statement."""

    mode: PolicyMode | Unset = UNSET
    """`observe`: it decides nothing; audit events name it when it would have changed the decision."""

    tests: list[PolicyTest] | Unset = UNSET
    """The tests of the draft."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name = self.name

        description: None | str | Unset
        if isinstance(self.description, Unset):
            description = UNSET
        else:
            description = self.description

        text = self.text

        mode: str | Unset = UNSET
        if not isinstance(self.mode, Unset):
            mode = self.mode

        tests: list[dict[str, Any]] | Unset = UNSET
        if not isinstance(self.tests, Unset):
            tests = []
            for tests_item_data in self.tests:
                tests_item = tests_item_data.to_dict()
                tests.append(tests_item)

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if name is not UNSET:
            field_dict["name"] = name
        if description is not UNSET:
            field_dict["description"] = description
        if text is not UNSET:
            field_dict["text"] = text
        if mode is not UNSET:
            field_dict["mode"] = mode
        if tests is not UNSET:
            field_dict["tests"] = tests
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.policy_test import PolicyTest

        d = dict(src_dict)
        name = d.pop("name", UNSET)

        def _parse_description(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        description = _parse_description(d.pop("description", UNSET))

        text = d.pop("text", UNSET)

        _mode = d.pop("mode", UNSET)
        mode: PolicyMode | Unset
        if isinstance(_mode, Unset):
            mode = UNSET
        else:
            mode = check_policy_mode(_mode)

        _tests = d.pop("tests", UNSET)
        tests: list[PolicyTest] | Unset = UNSET
        if _tests is not UNSET:
            tests = []
            for tests_item_data in _tests:
                tests_item = PolicyTest.from_dict(tests_item_data)

                tests.append(tests_item)

        return cls(
            name=name,
            description=description,
            text=text,
            mode=mode,
            tests=tests,
        )
