from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.policy_mode import PolicyMode, check_policy_mode
from ..models.policy_status import PolicyStatus, check_policy_status

if TYPE_CHECKING:
    from ..models.policy_test import PolicyTest
    from ..models.policy_warning import PolicyWarning


@define(kw_only=True)
class Policy:
    """A Cedar policy: its draft, and its published version."""

    id: str
    """The id of a policy."""

    name: str
    """Unique among policies that have not ended, ignoring case."""

    description: None | str
    """What it is for."""

    text: str
    """The text of the draft: exactly one Cedar statement."""

    mode: PolicyMode
    """`observe`: it decides nothing; audit events name it when it would have changed the decision."""

    tests: list[PolicyTest]
    """The tests of the draft."""

    status: PolicyStatus
    """Only a `published` policy decides, by the last published text."""

    version: int | None
    """The number of the published version; null: never published."""

    published_text: None | str
    """The published text; null while none is."""

    published_mode: None | PolicyMode
    """The published mode."""

    published_at: datetime.datetime | None
    """When it was published."""

    unpublished_changes: bool
    """Whether the draft differs from the published version."""

    warnings: list[PolicyWarning] | None
    """Possible mistakes at this time; null in lists, which do not check."""

    ended_at: datetime.datetime | None
    """The time of the end; null before it."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        name = self.name

        description: None | str
        description = self.description

        text = self.text

        mode: str = self.mode

        tests = []
        for tests_item_data in self.tests:
            tests_item = tests_item_data.to_dict()
            tests.append(tests_item)

        status: str = self.status

        version: int | None
        version = self.version

        published_text: None | str
        published_text = self.published_text

        published_mode: None | str
        if isinstance(self.published_mode, str):
            published_mode = self.published_mode
        else:
            published_mode = self.published_mode

        published_at: None | str
        if isinstance(self.published_at, datetime.datetime):
            published_at = self.published_at.isoformat()
        else:
            published_at = self.published_at

        unpublished_changes = self.unpublished_changes

        warnings: list[dict[str, Any]] | None
        if isinstance(self.warnings, list):
            warnings = []
            for warnings_type_0_item_data in self.warnings:
                warnings_type_0_item = warnings_type_0_item_data.to_dict()
                warnings.append(warnings_type_0_item)

        else:
            warnings = self.warnings

        ended_at: None | str
        if isinstance(self.ended_at, datetime.datetime):
            ended_at = self.ended_at.isoformat()
        else:
            ended_at = self.ended_at

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "name": name,
                "description": description,
                "text": text,
                "mode": mode,
                "tests": tests,
                "status": status,
                "version": version,
                "published_text": published_text,
                "published_mode": published_mode,
                "published_at": published_at,
                "unpublished_changes": unpublished_changes,
                "warnings": warnings,
                "ended_at": ended_at,
                "created_at": created_at,
                "updated_at": updated_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.policy_test import PolicyTest
        from ..models.policy_warning import PolicyWarning

        d = dict(src_dict)
        id = d.pop("id")

        name = d.pop("name")

        def _parse_description(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        description = _parse_description(d.pop("description"))

        text = d.pop("text")

        mode = check_policy_mode(d.pop("mode"))

        tests = []
        _tests = d.pop("tests")
        for tests_item_data in _tests:
            tests_item = PolicyTest.from_dict(tests_item_data)

            tests.append(tests_item)

        status = check_policy_status(d.pop("status"))

        def _parse_version(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        version = _parse_version(d.pop("version"))

        def _parse_published_text(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        published_text = _parse_published_text(d.pop("published_text"))

        def _parse_published_mode(data: object) -> None | PolicyMode:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                published_mode_type_0 = check_policy_mode(data)

                return published_mode_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | PolicyMode, data)

        published_mode = _parse_published_mode(d.pop("published_mode"))

        def _parse_published_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                published_at_type_0 = datetime.datetime.fromisoformat(data)

                return published_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        published_at = _parse_published_at(d.pop("published_at"))

        unpublished_changes = d.pop("unpublished_changes")

        def _parse_warnings(data: object) -> list[PolicyWarning] | None:
            if data is None:
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                warnings_type_0 = []
                _warnings_type_0 = data
                for warnings_type_0_item_data in _warnings_type_0:
                    warnings_type_0_item = PolicyWarning.from_dict(warnings_type_0_item_data)

                    warnings_type_0.append(warnings_type_0_item)

                return warnings_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[PolicyWarning] | None, data)

        warnings = _parse_warnings(d.pop("warnings"))

        def _parse_ended_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                ended_at_type_0 = datetime.datetime.fromisoformat(data)

                return ended_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        ended_at = _parse_ended_at(d.pop("ended_at"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            name=name,
            description=description,
            text=text,
            mode=mode,
            tests=tests,
            status=status,
            version=version,
            published_text=published_text,
            published_mode=published_mode,
            published_at=published_at,
            unpublished_changes=unpublished_changes,
            warnings=warnings,
            ended_at=ended_at,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
