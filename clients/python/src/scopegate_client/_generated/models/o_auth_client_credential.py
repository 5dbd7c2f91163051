from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret
from ..models.token_endpoint_auth_method import (
    TokenEndpointAuthMethod,
    check_token_endpoint_auth_method,
)
from ..types import UNSET, Unset


@define(kw_only=True)
class OAuthClientCredential:
    """Client credentials at the upstream's authorization server: calls carry an access token that is
    fetched with them
    and renewed before it expires."""

    kind: Literal["oauth_client_credentials"] = "oauth_client_credentials"

    token_url: str
    """The authorization server's token endpoint: `https`, or `http` at an address in an allowed network.
    The secret is sent only there."""

    client_id: str
    """The client's id there."""

    client_secret: Secret = attrs_field(converter=Secret)

    scope: None | str | Unset = UNSET
    """The scope to request."""

    resource: None | str | Unset = UNSET
    """The resource to request (RFC 8707), if the authorization server needs one."""

    audience: None | str | Unset = UNSET
    """The audience to request, if the authorization server needs one instead."""

    auth_method: TokenEndpointAuthMethod | Unset = UNSET
    """`client_secret_basic`: in the `Authorization` header; `client_secret_post`: in the body."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind = self.kind

        token_url = self.token_url

        client_id = self.client_id

        client_secret = self.client_secret

        scope: None | str | Unset
        if isinstance(self.scope, Unset):
            scope = UNSET
        else:
            scope = self.scope

        resource: None | str | Unset
        if isinstance(self.resource, Unset):
            resource = UNSET
        else:
            resource = self.resource

        audience: None | str | Unset
        if isinstance(self.audience, Unset):
            audience = UNSET
        else:
            audience = self.audience

        auth_method: str | Unset = UNSET
        if not isinstance(self.auth_method, Unset):
            auth_method = self.auth_method

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "token_url": token_url,
                "client_id": client_id,
                "client_secret": client_secret,
            }
        )
        if scope is not UNSET:
            field_dict["scope"] = scope
        if resource is not UNSET:
            field_dict["resource"] = resource
        if audience is not UNSET:
            field_dict["audience"] = audience
        if auth_method is not UNSET:
            field_dict["auth_method"] = auth_method
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        kind = cast(Literal["oauth_client_credentials"], d.pop("kind"))
        if kind != "oauth_client_credentials":
            raise ValueError(f"kind must match const 'oauth_client_credentials', got '{kind}'")

        token_url = d.pop("token_url")

        client_id = d.pop("client_id")

        client_secret = Secret(d.pop("client_secret"))

        def _parse_scope(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        scope = _parse_scope(d.pop("scope", UNSET))

        def _parse_resource(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        resource = _parse_resource(d.pop("resource", UNSET))

        def _parse_audience(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        audience = _parse_audience(d.pop("audience", UNSET))

        _auth_method = d.pop("auth_method", UNSET)
        auth_method: TokenEndpointAuthMethod | Unset
        if isinstance(_auth_method, Unset):
            auth_method = UNSET
        else:
            auth_method = check_token_endpoint_auth_method(_auth_method)

        return cls(
            kind=kind,
            token_url=token_url,
            client_id=client_id,
            client_secret=client_secret,
            scope=scope,
            resource=resource,
            audience=audience,
            auth_method=auth_method,
        )
