from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.access_token_type import AccessTokenType, check_access_token_type
from ..models.identity_provider_source import (
    IdentityProviderSource,
    check_identity_provider_source,
)
from ..models.identity_provider_status import (
    IdentityProviderStatus,
    check_identity_provider_status,
)
from ..models.signing_algorithm import SigningAlgorithm, check_signing_algorithm
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.role_map import RoleMap
    from ..models.scim_settings import ScimSettings
    from ..models.signals_settings import SignalsSettings
    from ..models.workload import Workload


@define(kw_only=True)
class IdentityProvider:
    """An issuer of access tokens, and the meaning of its claims."""

    id: str
    """The id of an identity provider."""

    name: str
    """Its display name."""

    issuer: str
    """The `iss` of its tokens, compared exactly."""

    audiences: list[str]
    """A token names one of these in its `aud`."""

    algorithms: list[SigningAlgorithm]
    """The accepted signature algorithms."""

    token_types: list[AccessTokenType]
    """The accepted `typ` headers of its tokens; `none` accepts a token without one."""

    role_claim: str
    """The claim with groups or roles: a name, or a dotted path such as `realm_access.roles`."""

    role_map: RoleMap
    """The role for each value of the role claim."""

    link_claim: str
    """The claim that identifies a person permanently."""

    people: list[str]
    """Values of the role claim whose holders become people without a role at their first sign-in."""

    client_id: None | str
    """The client id of Scopegate at the provider, for browser sign-in."""

    scopes: list[str]
    """The scopes that browser sign-in requests."""

    workloads: list[Workload]
    """Workloads that authenticate without a Scopegate secret."""

    status: IdentityProviderStatus
    """A `disabled` provider accepts no sign-in."""

    source: IdentityProviderSource
    """Its origin: this API, or the environment of the service."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    ended_at: datetime.datetime | None
    """The time of the end; null before it."""

    revision: int
    """Increases with each change; the `ETag`."""

    scim: None | ScimSettings | Unset = UNSET
    """SCIM provisioning of its people and groups, if any."""

    signals: None | SignalsSettings | Unset = UNSET
    """Shared Signals about its people, if any."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.scim_settings import ScimSettings
        from ..models.signals_settings import SignalsSettings

        id = self.id

        name = self.name

        issuer = self.issuer

        audiences = self.audiences

        algorithms = []
        for algorithms_item_data in self.algorithms:
            algorithms_item: str = algorithms_item_data
            algorithms.append(algorithms_item)

        token_types = []
        for token_types_item_data in self.token_types:
            token_types_item: str = token_types_item_data
            token_types.append(token_types_item)

        role_claim = self.role_claim

        role_map = self.role_map.to_dict()

        link_claim = self.link_claim

        people = self.people

        client_id: None | str
        client_id = self.client_id

        scopes = self.scopes

        workloads = []
        for workloads_item_data in self.workloads:
            workloads_item = workloads_item_data.to_dict()
            workloads.append(workloads_item)

        status: str = self.status

        source: str = self.source

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        ended_at: None | str
        if isinstance(self.ended_at, datetime.datetime):
            ended_at = self.ended_at.isoformat()
        else:
            ended_at = self.ended_at

        revision = self.revision

        scim: dict[str, Any] | None | Unset
        if isinstance(self.scim, Unset):
            scim = UNSET
        elif isinstance(self.scim, ScimSettings):
            scim = self.scim.to_dict()
        else:
            scim = self.scim

        signals: dict[str, Any] | None | Unset
        if isinstance(self.signals, Unset):
            signals = UNSET
        elif isinstance(self.signals, SignalsSettings):
            signals = self.signals.to_dict()
        else:
            signals = self.signals

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "name": name,
                "issuer": issuer,
                "audiences": audiences,
                "algorithms": algorithms,
                "token_types": token_types,
                "role_claim": role_claim,
                "role_map": role_map,
                "link_claim": link_claim,
                "people": people,
                "client_id": client_id,
                "scopes": scopes,
                "workloads": workloads,
                "status": status,
                "source": source,
                "created_at": created_at,
                "updated_at": updated_at,
                "ended_at": ended_at,
                "revision": revision,
            }
        )
        if scim is not UNSET:
            field_dict["scim"] = scim
        if signals is not UNSET:
            field_dict["signals"] = signals
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.role_map import RoleMap
        from ..models.scim_settings import ScimSettings
        from ..models.signals_settings import SignalsSettings
        from ..models.workload import Workload

        d = dict(src_dict)
        id = d.pop("id")

        name = d.pop("name")

        issuer = d.pop("issuer")

        audiences = cast(list[str], d.pop("audiences"))

        algorithms = []
        _algorithms = d.pop("algorithms")
        for algorithms_item_data in _algorithms:
            algorithms_item = check_signing_algorithm(algorithms_item_data)

            algorithms.append(algorithms_item)

        token_types = []
        _token_types = d.pop("token_types")
        for token_types_item_data in _token_types:
            token_types_item = check_access_token_type(token_types_item_data)

            token_types.append(token_types_item)

        role_claim = d.pop("role_claim")

        role_map = RoleMap.from_dict(d.pop("role_map"))

        link_claim = d.pop("link_claim")

        people = cast(list[str], d.pop("people"))

        def _parse_client_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        client_id = _parse_client_id(d.pop("client_id"))

        scopes = cast(list[str], d.pop("scopes"))

        workloads = []
        _workloads = d.pop("workloads")
        for workloads_item_data in _workloads:
            workloads_item = Workload.from_dict(workloads_item_data)

            workloads.append(workloads_item)

        status = check_identity_provider_status(d.pop("status"))

        source = check_identity_provider_source(d.pop("source"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

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

        revision = d.pop("revision")

        def _parse_scim(data: object) -> None | ScimSettings | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                scim_type_0 = ScimSettings.from_dict(data)

                return scim_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | ScimSettings | Unset, data)

        scim = _parse_scim(d.pop("scim", UNSET))

        def _parse_signals(data: object) -> None | SignalsSettings | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                signals_type_0 = SignalsSettings.from_dict(data)

                return signals_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | SignalsSettings | Unset, data)

        signals = _parse_signals(d.pop("signals", UNSET))

        return cls(
            id=id,
            name=name,
            issuer=issuer,
            audiences=audiences,
            algorithms=algorithms,
            token_types=token_types,
            role_claim=role_claim,
            role_map=role_map,
            link_claim=link_claim,
            people=people,
            client_id=client_id,
            scopes=scopes,
            workloads=workloads,
            status=status,
            source=source,
            created_at=created_at,
            updated_at=updated_at,
            ended_at=ended_at,
            revision=revision,
            scim=scim,
            signals=signals,
        )
