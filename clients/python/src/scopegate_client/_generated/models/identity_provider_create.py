from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.access_token_type import AccessTokenType, check_access_token_type
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
class IdentityProviderCreate:
    """An OpenID provider whose access tokens the API accepts. Its keys are found by its issuer."""

    name: str
    """Its display name."""

    issuer: str
    """Exactly as in its tokens; an https address. It cannot change, since links refer to it."""

    audiences: list[str]
    """A token must name one of these in its `aud`; use one only for Scopegate."""

    algorithms: list[SigningAlgorithm] | Unset = UNSET
    """The accepted signature algorithms."""

    token_types: list[AccessTokenType] | Unset = UNSET
    """The accepted `typ` headers: `JWT` for providers that do not send `at+jwt`, `none` for those that
    send none. With these two, tokens that are marked as ID tokens are refused."""

    role_claim: str | Unset = "groups"
    """The claim with groups or roles: a name, or a dotted path such as `realm_access.roles`."""

    role_map: RoleMap | Unset = UNSET
    """The role for each value of the role claim."""

    link_claim: str | Unset = "sub"
    """The claim that identifies a person permanently. Never one that people can change."""

    people: list[str] | Unset = UNSET
    """Values of the role claim, such as groups, whose holders become people without a role at their first
    sign-in. Others without a linked identity are refused."""

    client_id: None | str | Unset = UNSET
    """The client id of Scopegate at the provider, for browser sign-in. A client without a secret, which
    PKCE replaces."""

    scopes: list[str] | Unset = UNSET
    """The scopes that browser sign-in requests, with `openid`; some providers need `groups` for groups."""

    workloads: list[Workload] | Unset = UNSET
    """Workloads that authenticate without a Scopegate secret."""

    scim: None | ScimSettings | Unset = UNSET
    """SCIM provisioning of its people and groups."""

    signals: None | SignalsSettings | Unset = UNSET
    """Shared Signals about its people."""

    status: IdentityProviderStatus | Unset = UNSET
    """A `disabled` provider accepts no sign-in."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.scim_settings import ScimSettings
        from ..models.signals_settings import SignalsSettings

        name = self.name

        issuer = self.issuer

        audiences = self.audiences

        algorithms: list[str] | Unset = UNSET
        if not isinstance(self.algorithms, Unset):
            algorithms = []
            for algorithms_item_data in self.algorithms:
                algorithms_item: str = algorithms_item_data
                algorithms.append(algorithms_item)

        token_types: list[str] | Unset = UNSET
        if not isinstance(self.token_types, Unset):
            token_types = []
            for token_types_item_data in self.token_types:
                token_types_item: str = token_types_item_data
                token_types.append(token_types_item)

        role_claim = self.role_claim

        role_map: dict[str, Any] | Unset = UNSET
        if not isinstance(self.role_map, Unset):
            role_map = self.role_map.to_dict()

        link_claim = self.link_claim

        people: list[str] | Unset = UNSET
        if not isinstance(self.people, Unset):
            people = self.people

        client_id: None | str | Unset
        if isinstance(self.client_id, Unset):
            client_id = UNSET
        else:
            client_id = self.client_id

        scopes: list[str] | Unset = UNSET
        if not isinstance(self.scopes, Unset):
            scopes = self.scopes

        workloads: list[dict[str, Any]] | Unset = UNSET
        if not isinstance(self.workloads, Unset):
            workloads = []
            for workloads_item_data in self.workloads:
                workloads_item = workloads_item_data.to_dict()
                workloads.append(workloads_item)

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

        status: str | Unset = UNSET
        if not isinstance(self.status, Unset):
            status = self.status

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "name": name,
                "issuer": issuer,
                "audiences": audiences,
            }
        )
        if algorithms is not UNSET:
            field_dict["algorithms"] = algorithms
        if token_types is not UNSET:
            field_dict["token_types"] = token_types
        if role_claim is not UNSET:
            field_dict["role_claim"] = role_claim
        if role_map is not UNSET:
            field_dict["role_map"] = role_map
        if link_claim is not UNSET:
            field_dict["link_claim"] = link_claim
        if people is not UNSET:
            field_dict["people"] = people
        if client_id is not UNSET:
            field_dict["client_id"] = client_id
        if scopes is not UNSET:
            field_dict["scopes"] = scopes
        if workloads is not UNSET:
            field_dict["workloads"] = workloads
        if scim is not UNSET:
            field_dict["scim"] = scim
        if signals is not UNSET:
            field_dict["signals"] = signals
        if status is not UNSET:
            field_dict["status"] = status
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.role_map import RoleMap
        from ..models.scim_settings import ScimSettings
        from ..models.signals_settings import SignalsSettings
        from ..models.workload import Workload

        d = dict(src_dict)
        name = d.pop("name")

        issuer = d.pop("issuer")

        audiences = cast(list[str], d.pop("audiences"))

        _algorithms = d.pop("algorithms", UNSET)
        algorithms: list[SigningAlgorithm] | Unset = UNSET
        if _algorithms is not UNSET:
            algorithms = []
            for algorithms_item_data in _algorithms:
                algorithms_item = check_signing_algorithm(algorithms_item_data)

                algorithms.append(algorithms_item)

        _token_types = d.pop("token_types", UNSET)
        token_types: list[AccessTokenType] | Unset = UNSET
        if _token_types is not UNSET:
            token_types = []
            for token_types_item_data in _token_types:
                token_types_item = check_access_token_type(token_types_item_data)

                token_types.append(token_types_item)

        role_claim = d.pop("role_claim", UNSET)

        _role_map = d.pop("role_map", UNSET)
        role_map: RoleMap | Unset
        if isinstance(_role_map, Unset):
            role_map = UNSET
        else:
            role_map = RoleMap.from_dict(_role_map)

        link_claim = d.pop("link_claim", UNSET)

        people = cast(list[str], d.pop("people", UNSET))

        def _parse_client_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        client_id = _parse_client_id(d.pop("client_id", UNSET))

        scopes = cast(list[str], d.pop("scopes", UNSET))

        _workloads = d.pop("workloads", UNSET)
        workloads: list[Workload] | Unset = UNSET
        if _workloads is not UNSET:
            workloads = []
            for workloads_item_data in _workloads:
                workloads_item = Workload.from_dict(workloads_item_data)

                workloads.append(workloads_item)

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

        _status = d.pop("status", UNSET)
        status: IdentityProviderStatus | Unset
        if isinstance(_status, Unset):
            status = UNSET
        else:
            status = check_identity_provider_status(_status)

        return cls(
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
            scim=scim,
            signals=signals,
            status=status,
        )
