"""What a provider may do besides signing people in: provision them by SCIM, and tell of them by Shared Signals."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.features.identity_providers.provider import DEFAULT_ALGORITHMS, SigningAlgorithm
from app.http.schemas import CleanText, Patch, Strict, absent
from app.lib.ids import ServiceAccountId

_ACCOUNT = "sa_01jdpnwz00e008000000000000"
_SCIM_EXAMPLE: dict[str, Any] = {
    "service_account_id": _ACCOUNT,
    "link_attribute": "externalId",
    "attributes": {"department": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"},
}
_SIGNALS_EXAMPLE: dict[str, Any] = {
    "service_account_id": _ACCOUNT,
    "delivery": "push",
    "issuer": "https://signals.example.com",
    "audiences": ["https://scopegate.example.com/ssf/events"],
    "algorithms": ["RS256"],
    "jwks_uri": None,
}

Address = Annotated[str, StringConstraints(min_length=1, max_length=500), CleanText]
Audiences = Annotated[list[Address], Field(min_length=1, max_length=20)]
Algorithms = Annotated[list[SigningAlgorithm], Field(min_length=1, max_length=20)]
AttributeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
ScimLinkAttribute = TypeAliasType(
    "ScimLinkAttribute",
    Annotated[
        Literal["externalId", "userName", "none"],
        Field(
            description="Which SCIM attribute has the value of the provider's `link_claim`, so that whoever is "
            "provisioned and then signs in is one identity. Entra ID: `externalId`, mapped from `objectId`, with "
            "the link claim `oid`. `none`: people sign in as somebody else than they are provisioned as."
        ),
    ],
)
ScimAttributes = TypeAliasType(
    "ScimAttributes",
    Annotated[
        dict[AttributeName, Address],
        Field(max_length=20),
        Field(
            description="Attributes of identities, which policies read, and the SCIM attribute path that each has its "
            "value from.",
            examples=[_SCIM_EXAMPLE["attributes"]],
        ),
    ],
)
ScimAttributeChanges = TypeAliasType(
    "ScimAttributeChanges",
    Annotated[
        dict[AttributeName, Address | None],
        Field(max_length=20),
        Field(
            description="Attributes to set by name; a null takes one out.",
            examples=[{"department": "userType", "site": None}],
        ),
    ],
)
SignalsDelivery = TypeAliasType(
    "SignalsDelivery",
    Annotated[
        Literal["push", "poll"],
        Field(
            description="`push`: events come to `/ssf/events` (RFC 8935). `poll`: we ask for them (RFC 8936)."
        ),
    ],
)


class ScimSettings(Strict):
    """Who provisions people and groups by SCIM, and what becomes of their attributes."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_SCIM_EXAMPLE]})

    service_account_id: ServiceAccountId = Field(
        description="The service account that calls `/scim/v2`: of one provider each, whose users are its own."
    )
    link_attribute: ScimLinkAttribute = "externalId"
    attributes: ScimAttributes = Field(
        default_factory=dict, description="Attributes of identities that SCIM attributes give."
    )


class ScimSettingsUpdate(Patch):
    """What changes of it; the first time, all that has no default."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"link_attribute": "none"}]})

    service_account_id: ServiceAccountId = absent("The service account that calls `/scim/v2`.")
    link_attribute: ScimLinkAttribute = absent("Which SCIM attribute has the value of the link claim.")
    attributes: ScimAttributeChanges = absent("Merged: null takes an attribute out.")


class SignalsSettings(Strict):
    """A Shared Signals transmitter, and how its events come here."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_SIGNALS_EXAMPLE]})

    service_account_id: ServiceAccountId | None = Field(
        default=None,
        description="The service account that pushes to `/ssf/events`, of one provider each. Not for `poll`.",
    )
    delivery: SignalsDelivery = "push"
    issuer: Address | None = Field(
        default=None,
        description="The `iss` of its events, and where its configuration is; without one, the provider's issuer.",
    )
    audiences: Audiences = Field(description="An event names one of these in its `aud`.")
    algorithms: Algorithms = Field(default=list(DEFAULT_ALGORITHMS), description="What it may sign with.")
    jwks_uri: Address | None = Field(
        default=None,
        description="Where its keys are. Without one, where its configuration (`/.well-known/ssf-configuration`) says.",
    )


class SignalsSettingsUpdate(Patch):
    """What changes of it; the first time, all that has no default."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"delivery": "poll"}]})

    service_account_id: ServiceAccountId | None = Field(
        default=None, description="The service account that pushes."
    )
    delivery: SignalsDelivery = absent("How its events come here.")
    issuer: Address | None = Field(default=None, description="The `iss` of its events.")
    audiences: Audiences = absent("The whole list anew.")
    algorithms: Algorithms = absent("The whole list anew.")
    jwks_uri: Address | None = Field(default=None, description="Where its keys are.")
