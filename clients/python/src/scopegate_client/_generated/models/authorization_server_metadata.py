from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class AuthorizationServerMetadata:
    """Authorization server metadata (RFC 8414)."""

    issuer: str
    """The address of this service."""

    token_endpoint: str
    """Where bearers are had."""

    response_types_supported: list[str]
    """None: there is no authorization endpoint."""

    grant_types_supported: list[str]
    """The grants."""

    token_endpoint_auth_methods_supported: list[str]
    """How clients name themselves."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        issuer = self.issuer

        token_endpoint = self.token_endpoint

        response_types_supported = self.response_types_supported

        grant_types_supported = self.grant_types_supported

        token_endpoint_auth_methods_supported = self.token_endpoint_auth_methods_supported

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "issuer": issuer,
                "token_endpoint": token_endpoint,
                "response_types_supported": response_types_supported,
                "grant_types_supported": grant_types_supported,
                "token_endpoint_auth_methods_supported": token_endpoint_auth_methods_supported,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        issuer = d.pop("issuer")

        token_endpoint = d.pop("token_endpoint")

        response_types_supported = cast(list[str], d.pop("response_types_supported"))

        grant_types_supported = cast(list[str], d.pop("grant_types_supported"))

        token_endpoint_auth_methods_supported = cast(
            list[str], d.pop("token_endpoint_auth_methods_supported")
        )

        return cls(
            issuer=issuer,
            token_endpoint=token_endpoint,
            response_types_supported=response_types_supported,
            grant_types_supported=grant_types_supported,
            token_endpoint_auth_methods_supported=token_endpoint_auth_methods_supported,
        )
