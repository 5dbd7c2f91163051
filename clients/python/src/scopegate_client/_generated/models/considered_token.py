from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.considered_entry import ConsideredEntry
    from ..models.considered_grant import ConsideredGrant
    from ..models.considered_policy import ConsideredPolicy


@define(kw_only=True)
class ConsideredToken:
    """The token of the call, or one that it was attenuated from. Each of them must allow the call."""

    token_id: None | str
    """Null: the widest token possible for the identity."""

    identity_id: str
    """The id of an identity."""

    stopped: None | str
    """Why the token is not accepted at all."""

    in_scope: bool
    """Whether its scope covers the call."""

    entries: list[ConsideredEntry] | None
    """The entries of its scope; null when the scope is everything that the grants allow."""

    grants: list[ConsideredGrant]
    """All grants that have not ended, in the order of evaluation."""

    policies: list[ConsideredPolicy]
    """All published policies."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        token_id: None | str
        token_id = self.token_id

        identity_id = self.identity_id

        stopped: None | str
        stopped = self.stopped

        in_scope = self.in_scope

        entries: list[dict[str, Any]] | None
        if isinstance(self.entries, list):
            entries = []
            for entries_type_0_item_data in self.entries:
                entries_type_0_item = entries_type_0_item_data.to_dict()
                entries.append(entries_type_0_item)

        else:
            entries = self.entries

        grants = []
        for grants_item_data in self.grants:
            grants_item = grants_item_data.to_dict()
            grants.append(grants_item)

        policies = []
        for policies_item_data in self.policies:
            policies_item = policies_item_data.to_dict()
            policies.append(policies_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "token_id": token_id,
                "identity_id": identity_id,
                "stopped": stopped,
                "in_scope": in_scope,
                "entries": entries,
                "grants": grants,
                "policies": policies,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.considered_entry import ConsideredEntry
        from ..models.considered_grant import ConsideredGrant
        from ..models.considered_policy import ConsideredPolicy

        d = dict(src_dict)

        def _parse_token_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        token_id = _parse_token_id(d.pop("token_id"))

        identity_id = d.pop("identity_id")

        def _parse_stopped(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        stopped = _parse_stopped(d.pop("stopped"))

        in_scope = d.pop("in_scope")

        def _parse_entries(data: object) -> list[ConsideredEntry] | None:
            if data is None:
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                entries_type_0 = []
                _entries_type_0 = data
                for entries_type_0_item_data in _entries_type_0:
                    entries_type_0_item = ConsideredEntry.from_dict(entries_type_0_item_data)

                    entries_type_0.append(entries_type_0_item)

                return entries_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[ConsideredEntry] | None, data)

        entries = _parse_entries(d.pop("entries"))

        grants = []
        _grants = d.pop("grants")
        for grants_item_data in _grants:
            grants_item = ConsideredGrant.from_dict(grants_item_data)

            grants.append(grants_item)

        policies = []
        _policies = d.pop("policies")
        for policies_item_data in _policies:
            policies_item = ConsideredPolicy.from_dict(policies_item_data)

            policies.append(policies_item)

        return cls(
            token_id=token_id,
            identity_id=identity_id,
            stopped=stopped,
            in_scope=in_scope,
            entries=entries,
            grants=grants,
            policies=policies,
        )
