from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.revoked_tokens import RevokedTokens
    from ..models.token import Token


@define(kw_only=True)
class TokenRevocation:
    """The revocation of one token. `changed` is false when it had ended before."""

    changed: bool
    """Whether this request revoked it."""

    token: Token
    """A scoped token, without any secret."""

    revoked: RevokedTokens
    """What was revoked, or would be under `dry_run`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        changed = self.changed

        token = self.token.to_dict()

        revoked = self.revoked.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "changed": changed,
                "token": token,
                "revoked": revoked,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.revoked_tokens import RevokedTokens
        from ..models.token import Token

        d = dict(src_dict)
        changed = d.pop("changed")

        token = Token.from_dict(d.pop("token"))

        revoked = RevokedTokens.from_dict(d.pop("revoked"))

        return cls(
            changed=changed,
            token=token,
            revoked=revoked,
        )
