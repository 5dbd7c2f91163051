from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.token import Token
    from ..models.token_pickup import TokenPickup


@define(kw_only=True)
class OwnTokenPickup:
    """A pickup link as its recipient sees it, with its token."""

    pickup: TokenPickup
    """A link by which one person picks up a new secret of a token, once. It has no secret and works only
    for that
    person."""

    token: Token
    """A scoped token, without any secret."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        pickup = self.pickup.to_dict()

        token = self.token.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "pickup": pickup,
                "token": token,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.token import Token
        from ..models.token_pickup import TokenPickup

        d = dict(src_dict)
        pickup = TokenPickup.from_dict(d.pop("pickup"))

        token = Token.from_dict(d.pop("token"))

        return cls(
            pickup=pickup,
            token=token,
        )
