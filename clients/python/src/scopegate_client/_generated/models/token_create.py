from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.token_delivery import TokenDelivery, check_token_delivery
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.grants_scope import GrantsScope
    from ..models.listed_scope import ListedScope


@define(kw_only=True)
class TokenCreate:
    """A new scoped token. It never allows more than its identity's live grants."""

    identity_id: str
    """The id of an identity."""

    name: str
    """Its display name."""

    scope: GrantsScope | ListedScope
    """What a token may use, limited to what its identity's current grants allow."""

    expires_at: datetime.datetime
    """In the future, and at most the configured maximum away."""

    ip_allow: list[str] | Unset = UNSET
    """Address ranges the token may be used from; empty: any."""

    parent_id: None | str | Unset = UNSET
    """Attenuate this token: for its identity or an agent that its identity owns, with no wider scope and
    no later expiry."""

    delivery: TokenDelivery | Unset = UNSET
    """How the secret reaches its recipient. `reveal`: in the response. `pickup`: it is created when its
    recipient signs in and uses a link."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.grants_scope import GrantsScope

        identity_id = self.identity_id

        name = self.name

        scope: dict[str, Any]
        if isinstance(self.scope, GrantsScope):
            scope = self.scope.to_dict()
        else:
            scope = self.scope.to_dict()

        expires_at = self.expires_at.isoformat()

        ip_allow: list[str] | Unset = UNSET
        if not isinstance(self.ip_allow, Unset):
            ip_allow = self.ip_allow

        parent_id: None | str | Unset
        if isinstance(self.parent_id, Unset):
            parent_id = UNSET
        else:
            parent_id = self.parent_id

        delivery: str | Unset = UNSET
        if not isinstance(self.delivery, Unset):
            delivery = self.delivery

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "identity_id": identity_id,
                "name": name,
                "scope": scope,
                "expires_at": expires_at,
            }
        )
        if ip_allow is not UNSET:
            field_dict["ip_allow"] = ip_allow
        if parent_id is not UNSET:
            field_dict["parent_id"] = parent_id
        if delivery is not UNSET:
            field_dict["delivery"] = delivery
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.grants_scope import GrantsScope
        from ..models.listed_scope import ListedScope

        d = dict(src_dict)
        identity_id = d.pop("identity_id")

        name = d.pop("name")

        def _parse_scope(data: object) -> GrantsScope | ListedScope:
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

        scope = _parse_scope(d.pop("scope"))

        expires_at = datetime.datetime.fromisoformat(d.pop("expires_at"))

        ip_allow = cast(list[str], d.pop("ip_allow", UNSET))

        def _parse_parent_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        parent_id = _parse_parent_id(d.pop("parent_id", UNSET))

        _delivery = d.pop("delivery", UNSET)
        delivery: TokenDelivery | Unset
        if isinstance(_delivery, Unset):
            delivery = UNSET
        else:
            delivery = check_token_delivery(_delivery)

        return cls(
            identity_id=identity_id,
            name=name,
            scope=scope,
            expires_at=expires_at,
            ip_allow=ip_allow,
            parent_id=parent_id,
            delivery=delivery,
        )
