from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret, optional_secret
from ..types import UNSET, Unset


@define(kw_only=True)
class OAuthClientCredential:
    """Client credentials at the upstream's authorization server. Not accepted yet."""

    kind: Literal["oauth_client_credentials"] = "oauth_client_credentials"

    token_url: None | str | Unset = UNSET
    """The authorization server's token endpoint."""

    client_id: None | str | Unset = UNSET
    """The client's id there."""

    client_secret: Secret | Unset = attrs_field(default=UNSET, converter=optional_secret)

    scope: None | str | Unset = UNSET
    """The scope to ask for."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind = self.kind

        token_url: None | str | Unset
        if isinstance(self.token_url, Unset):
            token_url = UNSET
        else:
            token_url = self.token_url

        client_id: None | str | Unset
        if isinstance(self.client_id, Unset):
            client_id = UNSET
        else:
            client_id = self.client_id

        client_secret: Secret | Unset = UNSET
        if not isinstance(self.client_secret, Unset):
            client_secret = self.client_secret

        scope: None | str | Unset
        if isinstance(self.scope, Unset):
            scope = UNSET
        else:
            scope = self.scope

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
            }
        )
        if token_url is not UNSET:
            field_dict["token_url"] = token_url
        if client_id is not UNSET:
            field_dict["client_id"] = client_id
        if client_secret is not UNSET:
            field_dict["client_secret"] = client_secret
        if scope is not UNSET:
            field_dict["scope"] = scope
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        kind = cast(Literal["oauth_client_credentials"], d.pop("kind"))
        if kind != "oauth_client_credentials":
            raise ValueError(f"kind must match const 'oauth_client_credentials', got '{kind}'")

        def _parse_token_url(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        token_url = _parse_token_url(d.pop("token_url", UNSET))

        def _parse_client_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        client_id = _parse_client_id(d.pop("client_id", UNSET))

        _client_secret = d.pop("client_secret", UNSET)
        client_secret: Secret | Unset
        if isinstance(_client_secret, Unset):
            client_secret = UNSET
        else:
            client_secret = Secret(_client_secret)

        def _parse_scope(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        scope = _parse_scope(d.pop("scope", UNSET))

        return cls(
            kind=kind,
            token_url=token_url,
            client_id=client_id,
            client_secret=client_secret,
            scope=scope,
        )
