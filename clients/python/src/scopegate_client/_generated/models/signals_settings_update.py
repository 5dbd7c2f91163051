from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.signals_delivery import SignalsDelivery, check_signals_delivery
from ..models.signing_algorithm import SigningAlgorithm, check_signing_algorithm
from ..types import UNSET, Unset


@define(kw_only=True)
class SignalsSettingsUpdate:
    """Changes to the settings; the first time, all fields without a default."""

    service_account_id: None | str | Unset = UNSET
    """The service account that pushes."""

    delivery: SignalsDelivery | Unset = UNSET
    """`push`: events are sent to `/ssf/events` (RFC 8935). `poll`: they are polled (RFC 8936)."""

    issuer: None | str | Unset = UNSET
    """The `iss` of its events."""

    audiences: list[str] | Unset = UNSET
    """Replaces the whole list."""

    algorithms: list[SigningAlgorithm] | Unset = UNSET
    """Replaces the whole list."""

    jwks_uri: None | str | Unset = UNSET
    """The URL of its keys."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        service_account_id: None | str | Unset
        if isinstance(self.service_account_id, Unset):
            service_account_id = UNSET
        else:
            service_account_id = self.service_account_id

        delivery: str | Unset = UNSET
        if not isinstance(self.delivery, Unset):
            delivery = self.delivery

        issuer: None | str | Unset
        if isinstance(self.issuer, Unset):
            issuer = UNSET
        else:
            issuer = self.issuer

        audiences: list[str] | Unset = UNSET
        if not isinstance(self.audiences, Unset):
            audiences = self.audiences

        algorithms: list[str] | Unset = UNSET
        if not isinstance(self.algorithms, Unset):
            algorithms = []
            for algorithms_item_data in self.algorithms:
                algorithms_item: str = algorithms_item_data
                algorithms.append(algorithms_item)

        jwks_uri: None | str | Unset
        if isinstance(self.jwks_uri, Unset):
            jwks_uri = UNSET
        else:
            jwks_uri = self.jwks_uri

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if service_account_id is not UNSET:
            field_dict["service_account_id"] = service_account_id
        if delivery is not UNSET:
            field_dict["delivery"] = delivery
        if issuer is not UNSET:
            field_dict["issuer"] = issuer
        if audiences is not UNSET:
            field_dict["audiences"] = audiences
        if algorithms is not UNSET:
            field_dict["algorithms"] = algorithms
        if jwks_uri is not UNSET:
            field_dict["jwks_uri"] = jwks_uri
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)

        def _parse_service_account_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        service_account_id = _parse_service_account_id(d.pop("service_account_id", UNSET))

        _delivery = d.pop("delivery", UNSET)
        delivery: SignalsDelivery | Unset
        if isinstance(_delivery, Unset):
            delivery = UNSET
        else:
            delivery = check_signals_delivery(_delivery)

        def _parse_issuer(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        issuer = _parse_issuer(d.pop("issuer", UNSET))

        audiences = cast(list[str], d.pop("audiences", UNSET))

        _algorithms = d.pop("algorithms", UNSET)
        algorithms: list[SigningAlgorithm] | Unset = UNSET
        if _algorithms is not UNSET:
            algorithms = []
            for algorithms_item_data in _algorithms:
                algorithms_item = check_signing_algorithm(algorithms_item_data)

                algorithms.append(algorithms_item)

        def _parse_jwks_uri(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        jwks_uri = _parse_jwks_uri(d.pop("jwks_uri", UNSET))

        return cls(
            service_account_id=service_account_id,
            delivery=delivery,
            issuer=issuer,
            audiences=audiences,
            algorithms=algorithms,
            jwks_uri=jwks_uri,
        )
