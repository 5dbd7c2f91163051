from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.grants_scope import GrantsScope
    from ..models.listed_scope import ListedScope


@define(kw_only=True)
class TokenUpdate:
    """A merge patch. The scope may only get smaller and the expiry earlier."""

    name: str | Unset = UNSET
    """Its display name."""

    scope: GrantsScope | ListedScope | Unset = UNSET
    """What a token may use, limited to what its identity's current grants allow."""

    expires_at: datetime.datetime | Unset = UNSET
    """An earlier expiry."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.grants_scope import GrantsScope

        name = self.name

        scope: dict[str, Any] | Unset
        if isinstance(self.scope, Unset):
            scope = UNSET
        elif isinstance(self.scope, GrantsScope):
            scope = self.scope.to_dict()
        else:
            scope = self.scope.to_dict()

        expires_at: str | Unset = UNSET
        if not isinstance(self.expires_at, Unset):
            expires_at = self.expires_at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if name is not UNSET:
            field_dict["name"] = name
        if scope is not UNSET:
            field_dict["scope"] = scope
        if expires_at is not UNSET:
            field_dict["expires_at"] = expires_at
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.grants_scope import GrantsScope
        from ..models.listed_scope import ListedScope

        d = dict(src_dict)
        name = d.pop("name", UNSET)

        def _parse_scope(data: object) -> GrantsScope | ListedScope | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_token_scope_type_0 = GrantsScope.from_dict(data)

                return componentsschemas_token_scope_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, dict):
                raise TypeError()
            componentsschemas_token_scope_type_1 = ListedScope.from_dict(data)

            return componentsschemas_token_scope_type_1

        scope = _parse_scope(d.pop("scope", UNSET))

        _expires_at = d.pop("expires_at", UNSET)
        expires_at: datetime.datetime | Unset
        if isinstance(_expires_at, Unset):
            expires_at = UNSET
        else:
            expires_at = datetime.datetime.fromisoformat(_expires_at)

        return cls(
            name=name,
            scope=scope,
            expires_at=expires_at,
        )
