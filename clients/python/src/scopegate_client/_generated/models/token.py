from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.token_status import TokenStatus, check_token_status

if TYPE_CHECKING:
    from ..models.grants_scope import GrantsScope
    from ..models.listed_scope import ListedScope
    from ..models.reaches import Reaches
    from ..models.selector_warning import SelectorWarning


@define(kw_only=True)
class Token:
    """A scoped token, without any secret."""

    id: str
    """The id of a token."""

    identity_id: str
    """The identity that it was issued to."""

    parent_id: None | str
    """The token that it was attenuated from."""

    depth: int
    """Number of ancestor tokens."""

    name: str
    """Its display name."""

    scope: GrantsScope | ListedScope
    """What a token may use, limited to what its identity's current grants allow."""

    expires_at: datetime.datetime
    """When it expires."""

    ip_allow: list[str]
    """Address ranges that it may be used from; empty: any."""

    status: TokenStatus
    """`suspended`: its identity, or that identity's owner, is not active."""

    last_used_at: datetime.datetime | None
    """The last use, updated at most once a minute."""

    overlap_until: datetime.datetime | None
    """When the secrets from before a rotation expire."""

    revoked_at: datetime.datetime | None
    """When it was revoked; null while it has not been."""

    revoke_reason: None | str
    """Why it was revoked."""

    reaches: None | Reaches
    """How much its scope reaches now within the identity's live grants, without policies. Present in
    responses to creating, reading and changing one token; null in others, and when the identity has
    more than 200 live grants."""

    warnings: list[SelectorWarning] | None
    """Parts of its scope that match nothing now; null when `reaches` is."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.grants_scope import GrantsScope
        from ..models.reaches import Reaches

        id = self.id

        identity_id = self.identity_id

        parent_id: None | str
        parent_id = self.parent_id

        depth = self.depth

        name = self.name

        scope: dict[str, Any]
        if isinstance(self.scope, GrantsScope):
            scope = self.scope.to_dict()
        else:
            scope = self.scope.to_dict()

        expires_at = self.expires_at.isoformat()

        ip_allow = self.ip_allow

        status: str = self.status

        last_used_at: None | str
        if isinstance(self.last_used_at, datetime.datetime):
            last_used_at = self.last_used_at.isoformat()
        else:
            last_used_at = self.last_used_at

        overlap_until: None | str
        if isinstance(self.overlap_until, datetime.datetime):
            overlap_until = self.overlap_until.isoformat()
        else:
            overlap_until = self.overlap_until

        revoked_at: None | str
        if isinstance(self.revoked_at, datetime.datetime):
            revoked_at = self.revoked_at.isoformat()
        else:
            revoked_at = self.revoked_at

        revoke_reason: None | str
        revoke_reason = self.revoke_reason

        reaches: dict[str, Any] | None
        if isinstance(self.reaches, Reaches):
            reaches = self.reaches.to_dict()
        else:
            reaches = self.reaches

        warnings: list[dict[str, Any]] | None
        if isinstance(self.warnings, list):
            warnings = []
            for warnings_type_0_item_data in self.warnings:
                warnings_type_0_item = warnings_type_0_item_data.to_dict()
                warnings.append(warnings_type_0_item)

        else:
            warnings = self.warnings

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "identity_id": identity_id,
                "parent_id": parent_id,
                "depth": depth,
                "name": name,
                "scope": scope,
                "expires_at": expires_at,
                "ip_allow": ip_allow,
                "status": status,
                "last_used_at": last_used_at,
                "overlap_until": overlap_until,
                "revoked_at": revoked_at,
                "revoke_reason": revoke_reason,
                "reaches": reaches,
                "warnings": warnings,
                "created_at": created_at,
                "updated_at": updated_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.grants_scope import GrantsScope
        from ..models.listed_scope import ListedScope
        from ..models.reaches import Reaches
        from ..models.selector_warning import SelectorWarning

        d = dict(src_dict)
        id = d.pop("id")

        identity_id = d.pop("identity_id")

        def _parse_parent_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        parent_id = _parse_parent_id(d.pop("parent_id"))

        depth = d.pop("depth")

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

        ip_allow = cast(list[str], d.pop("ip_allow"))

        status = check_token_status(d.pop("status"))

        def _parse_last_used_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                last_used_at_type_0 = datetime.datetime.fromisoformat(data)

                return last_used_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        last_used_at = _parse_last_used_at(d.pop("last_used_at"))

        def _parse_overlap_until(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                overlap_until_type_0 = datetime.datetime.fromisoformat(data)

                return overlap_until_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        overlap_until = _parse_overlap_until(d.pop("overlap_until"))

        def _parse_revoked_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                revoked_at_type_0 = datetime.datetime.fromisoformat(data)

                return revoked_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        revoked_at = _parse_revoked_at(d.pop("revoked_at"))

        def _parse_revoke_reason(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        revoke_reason = _parse_revoke_reason(d.pop("revoke_reason"))

        def _parse_reaches(data: object) -> None | Reaches:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                reaches_type_0 = Reaches.from_dict(data)

                return reaches_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | Reaches, data)

        reaches = _parse_reaches(d.pop("reaches"))

        def _parse_warnings(data: object) -> list[SelectorWarning] | None:
            if data is None:
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                warnings_type_0 = []
                _warnings_type_0 = data
                for warnings_type_0_item_data in _warnings_type_0:
                    warnings_type_0_item = SelectorWarning.from_dict(warnings_type_0_item_data)

                    warnings_type_0.append(warnings_type_0_item)

                return warnings_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[SelectorWarning] | None, data)

        warnings = _parse_warnings(d.pop("warnings"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            identity_id=identity_id,
            parent_id=parent_id,
            depth=depth,
            name=name,
            scope=scope,
            expires_at=expires_at,
            ip_allow=ip_allow,
            status=status,
            last_used_at=last_used_at,
            overlap_until=overlap_until,
            revoked_at=revoked_at,
            revoke_reason=revoke_reason,
            reaches=reaches,
            warnings=warnings,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
