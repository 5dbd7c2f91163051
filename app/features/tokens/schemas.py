"""Request and answer models of tokens."""

from datetime import datetime
from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StrictInt
from typing_extensions import TypeAliasType

from app.features.tokens.connect import Connect
from app.features.tokens.pickup_schemas import LONGEST_OVERLAP_S, PickupView, TokenDelivery
from app.features.tokens.queries import TokenReading
from app.features.tools.reach_queries import Reaches, SelectorWarning
from app.http.idempotency import Revealed
from app.http.pagination import ListQuery
from app.http.schemas import Name, ShortText, Strict, Time
from app.http.selectors import TokenScopeModel, show_scope
from app.lib.ids import GroupId, IdentityId, ServerId, TokenId

_TOKEN = "tok_01jdpnwz00e008000000000000"
_IDENTITY = "idn_01jdpnwz00e008000000000000"
_SERVER = "srv_01jdpnwz00e008000000000000"
_READ_ONLY = {
    "kind": "listed",
    "entries": [{"servers": {"kind": "ids", "ids": [_SERVER]}, "tools": {"kind": "risk", "risk": ["read"]}}],
}


class TokenStatus(StrEnum):
    """`suspended`: its identity, or that identity's owner, is not active."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    REVOKED = "revoked"


def _network(value: str) -> str:
    if "%" in value:
        raise ValueError("an address range has no zone")
    try:
        return str(ip_network(value))
    except ValueError:
        raise ValueError(
            "expected an address or a CIDR range without host bits, as 203.0.113.0/24 or 2001:db8::/32"
        ) from None


Network = Annotated[str, Field(max_length=64, examples=["203.0.113.0/24"]), AfterValidator(_network)]
Reason = Annotated[ShortText, Field(min_length=1, examples=["laptop lost"])]


def _absent() -> Any:
    """What a patch holds of a field that it does not name: read `model_fields_set` first."""
    return None


def _example(value: dict[str, Any], title: str | None = None) -> ConfigDict:
    return ConfigDict(extra="forbid", title=title, json_schema_extra={"examples": [value]})


TokenOrder = TypeAliasType(
    "TokenOrder",
    Annotated[
        Literal["-created_at", "created_at", "-name", "name", "-expires_at", "expires_at"],
        Field(
            description="What tokens are sorted by; `-` before it is from the top. Newest first by default."
        ),
    ],
)


class TokenQuery(ListQuery):
    """Filters of the list of tokens; each may be repeated, and then any of its values matches."""

    identity_id: list[IdentityId] = Field(default_factory=list)
    parent_id: list[TokenId] = Field(default_factory=list)
    server_id: ServerId | None = Field(default=None, description="Tokens whose scope can reach this server.")
    status: list[TokenStatus] = Field(default_factory=list)
    expires_after: Time | None = Field(default=None, description="Only those that expire after this time.")
    expires_before: Time | None = Field(default=None, description="Only those that expire before this time.")
    q: ShortText | None = Field(default=None, description="Text in the name.")
    sort: TokenOrder = Field(default="-created_at", description="What the list is sorted by.")


class TokenCreate(Strict):
    """A new scoped token. Its right is never more than its identity's live grants allow."""

    model_config = _example(
        {
            "identity_id": _IDENTITY,
            "name": "laptop",
            "scope": _READ_ONLY,
            "expires_at": "2027-01-31T12:00:00Z",
        }
    )
    identity_id: IdentityId
    name: Name
    scope: TokenScopeModel
    expires_at: Time = Field(description="In the future, and at most the configured maximum away.")
    ip_allow: list[Network] = Field(
        default_factory=list,
        max_length=100,
        description="Ranges the token may be used from; empty: anywhere.",
    )
    parent_id: TokenId | None = Field(
        default=None,
        description="Attenuate this token: for its identity or an agent that identity owns, with no wider scope "
        "and no later expiry.",
    )
    delivery: TokenDelivery = "reveal"


class TokenUpdate(Strict):
    """A merge patch. The scope may only get smaller and the expiry earlier."""

    model_config = _example({"expires_at": "2026-12-31T12:00:00Z"})
    name: Name = Field(default_factory=_absent)
    scope: TokenScopeModel = Field(default_factory=_absent)
    expires_at: Time = Field(default_factory=_absent, description="An earlier expiry.")


class TokenRotate(Strict):
    """How long the secrets so far still work beside the new one."""

    model_config = _example({"overlap_s": 3600})
    overlap_s: StrictInt = Field(
        default=0,
        ge=0,
        le=LONGEST_OVERLAP_S,
        description="How many seconds the secrets so far still work.",
    )


class TokenRevoke(Strict):
    """Why the token ends."""

    model_config = _example({"reason": "laptop lost"})
    reason: Reason = Field(description="Why; it is kept with the tokens that end, not in the audit trail.")


class TokensRevokeFilter(Strict):
    """Tokens that meet all that is given. At least one is needed; children of what is met end with it."""

    model_config = _example({"identity_id": _IDENTITY}, "TokenBulkRevokeFilter")
    token_ids: list[TokenId] | None = Field(default=None, max_length=1000, description="These tokens.")
    identity_id: IdentityId | None = Field(default=None, description="Tokens of this identity.")
    group_id: GroupId | None = Field(default=None, description="Tokens of the group's members.")
    server_id: ServerId | None = Field(default=None, description="Tokens whose scope can reach this server.")
    parent_id: TokenId | None = Field(default=None, description="Tokens attenuated from this one.")
    created_before: Time | None = Field(default=None, description="Tokens made before this time.")


class TokensRevoke(Strict):
    """Which tokens end, and why."""

    model_config = _example(
        {"filter": {"server_id": _SERVER}, "reason": "server compromised"}, "TokenBulkRevoke"
    )
    filter: TokensRevokeFilter
    reason: Reason = Field(description="Why; it is kept with the tokens that end, not in the audit trail.")


class TokenView(Strict):
    """A scoped token, without any secret."""

    id: TokenId
    identity_id: IdentityId = Field(description="Who it was issued to.")
    parent_id: TokenId | None = Field(description="The token that it was attenuated from.")
    depth: int = Field(description="How many tokens stand above this one.")
    name: str = Field(description="What people call it.", examples=["laptop"])
    scope: TokenScopeModel
    expires_at: datetime = Field(description="When it stops working.")
    ip_allow: list[str] = Field(
        description="Ranges that it may be used from; empty: anywhere.", examples=[["203.0.113.0/24"]]
    )
    status: TokenStatus
    last_used_at: datetime | None = Field(description="Written at most once a minute.")
    overlap_until: datetime | None = Field(
        description="Until when a secret from before a rotation still works."
    )
    revoked_at: datetime | None = Field(description="When it was revoked; null while it has not been.")
    revoke_reason: str | None = Field(description="Why it was revoked.", examples=["laptop lost"])
    reaches: Reaches | None = Field(
        description="How much its scope reaches now within the identity's live grants, policies aside. Answers to "
        "creating, reading and changing one token have it; null in others, and where the identity holds more than "
        "200 live grants."
    )
    warnings: list[SelectorWarning] | None = Field(
        description="What of its scope matches nothing now; null where `reaches` is."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_reading(cls, reading: TokenReading) -> Self:
        """The answer for a token that was just read."""
        row = reading.row
        return cls(
            **row.model_dump(exclude={"scope"}),
            scope=show_scope(row.scope),
            status=TokenStatus(reading.status),
            last_used_at=reading.last_used_at,
            overlap_until=reading.overlap_until,
            reaches=None,
            warnings=None,
        )


class TokenSecretView(Revealed):
    """A token with its new secret, which is shown this once."""

    model_config = ConfigDict(extra="forbid", title="IssuedToken")

    secret: str | None = Field(
        description="The scoped token itself. Keep it; it is never shown again, and null when a repeat of the "
        "request is answered, or when it is to be picked up.",
        json_schema_extra={"format": "password"},
    )
    token: TokenView
    connect: Connect
    pickup: PickupView | None = Field(
        default=None, description="With `delivery: pickup`: the link by which its recipient takes the secret."
    )

    def without_secret(self) -> Self:
        """What a repeat of the request gets."""
        return self.model_copy(update={"secret": None, "secret_available": False})


class RevokedTokens(Strict):
    """What ended, or would end under `dry_run`."""

    model_config = _example({"tokens": [_TOKEN], "in_flight": 1})
    tokens: list[TokenId] = Field(description="The tokens.")
    in_flight: int = Field(
        description="Calls of these tokens that were running; they are cut. Counted among the newest 2,000."
    )


class RevocationView(Strict):
    """One token's revocation. `changed` is false when it had ended before."""

    model_config = ConfigDict(extra="forbid", title="TokenRevocation")

    changed: bool = Field(description="Whether this request ended it.")
    token: TokenView
    revoked: RevokedTokens


class BulkRevocationView(Strict):
    """The revocation of many."""

    model_config = ConfigDict(extra="forbid", title="TokenBulkRevocation")

    changed: bool = Field(description="Whether this request ended any.")
    revoked: RevokedTokens
