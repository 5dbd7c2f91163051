from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.connect_settings import ConnectSettings
    from ..models.token import Token
    from ..models.token_pickup import TokenPickup


@define(kw_only=True)
class IssuedToken:
    """A token with its new secret, which is shown only once."""

    secret: Secret = attrs_field(converter=Secret)

    token: Token
    """A scoped token, without any secret."""

    connect: ConnectSettings
    """How to connect with this token: set `variable` to the secret, then use the snippet for your client."""

    secret_available: bool | Unset = True
    """False when a repeat of the request gets this answer: the secret is not kept."""

    pickup: None | TokenPickup | Unset = UNSET
    """With `delivery: pickup`: the link for its recipient."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.token_pickup import TokenPickup

        secret = self.secret

        token = self.token.to_dict()

        connect = self.connect.to_dict()

        secret_available = self.secret_available

        pickup: dict[str, Any] | None | Unset
        if isinstance(self.pickup, Unset):
            pickup = UNSET
        elif isinstance(self.pickup, TokenPickup):
            pickup = self.pickup.to_dict()
        else:
            pickup = self.pickup

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "secret": secret,
                "token": token,
                "connect": connect,
            }
        )
        if secret_available is not UNSET:
            field_dict["secret_available"] = secret_available
        if pickup is not UNSET:
            field_dict["pickup"] = pickup
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.connect_settings import ConnectSettings
        from ..models.token import Token
        from ..models.token_pickup import TokenPickup

        d = dict(src_dict)
        secret = Secret(d.pop("secret"))

        token = Token.from_dict(d.pop("token"))

        connect = ConnectSettings.from_dict(d.pop("connect"))

        secret_available = d.pop("secret_available", UNSET)

        def _parse_pickup(data: object) -> None | TokenPickup | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                pickup_type_0 = TokenPickup.from_dict(data)

                return pickup_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | TokenPickup | Unset, data)

        pickup = _parse_pickup(d.pop("pickup", UNSET))

        return cls(
            secret=secret,
            token=token,
            connect=connect,
            secret_available=secret_available,
            pickup=pickup,
        )
