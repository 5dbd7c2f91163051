from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class OffboardPreview:
    """What else would end or be affected. The receipt lists everything afterwards."""

    grants: list[str]
    """Grants of the identity itself."""

    groups: list[str]
    """Groups that it is in."""

    service_accounts: list[str]
    """Service accounts that would be disabled until they have a new owner."""

    calls_last_day: int
    """Tool calls in the last 24 hours, by it and by the agents that would stop; counted up to 10000."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        grants = self.grants

        groups = self.groups

        service_accounts = self.service_accounts

        calls_last_day = self.calls_last_day

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "grants": grants,
                "groups": groups,
                "service_accounts": service_accounts,
                "calls_last_day": calls_last_day,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        grants = cast(list[str], d.pop("grants"))

        groups = cast(list[str], d.pop("groups"))

        service_accounts = cast(list[str], d.pop("service_accounts"))

        calls_last_day = d.pop("calls_last_day")

        return cls(
            grants=grants,
            groups=groups,
            service_accounts=service_accounts,
            calls_last_day=calls_last_day,
        )
