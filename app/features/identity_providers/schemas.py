"""Identity providers as a sign-in needs them and as the API shows them, with SCIM and Shared Signals settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.http.authorization import Role
from app.http.pagination import ORDER, ListQuery
from app.http.schemas import CleanText, Name, Patch, ShortText, Strict, absent, example
from app.lib.ids import IdentityProviderId, ServiceAccountId
from app.models.identity_providers import IdentityProvider

_Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
]  # fmt: skip
SigningAlgorithm = TypeAliasType(
    "SigningAlgorithm",
    Annotated[_Algorithm, Field(description="How a token is signed (RFC 7518, RFC 8037).")],
)
"""The signature algorithms that can be configured. Never ``none`` or a shared secret (RFC 8725 section 3.1)."""
ALGORITHMS: tuple[str, ...] = get_args(_Algorithm)
DEFAULT_ALGORITHMS: tuple[SigningAlgorithm, ...] = ("RS256", "PS256", "ES256", "EdDSA")


AccessTokenType = TypeAliasType(
    "AccessTokenType",
    Annotated[
        Literal["at+jwt", "JWT", "none"],
        Field(description="The `typ` header of a token; `none` is a token without one."),
    ],
)
TOKEN_TYPES: dict[AccessTokenType, str] = {"at+jwt": "at+jwt", "JWT": "jwt", "none": ""}
"""The ``typ`` header for each configured name, in comparable form."""


DEFAULT_SCOPES = ("openid", "profile", "email")
"""The scopes that a browser sign-in requests."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An active issuer of access tokens (JWT).

    ``token_types`` are the accepted ``typ`` headers, without ``application/`` and in lower case; ``""`` accepts a token
    without one. ``role_claim`` and ``link_claim`` are the name of a claim, or a dotted path through objects. With an
    empty ``role_map`` no one gets a role. Browser sign-in needs a ``client_id``. ``people`` are values of the role
    claim whose holders become people without a role at their first sign-in. ``environment``: it is set by
    ``SCOPEGATE_OIDC_*``, and is the only such provider.
    """

    id: UUID
    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    token_types: tuple[str, ...] = ("at+jwt",)
    role_claim: str = "groups"
    role_map: Mapping[str, Role] = field(default_factory=dict)
    link_claim: str = "sub"
    workloads: tuple["WorkloadView", ...] = ()
    name: str = ""
    client_id: str | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    environment: bool = False
    people: frozenset[str] = frozenset()


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


NonEmptyText = Annotated[str, StringConstraints(min_length=1, max_length=500), CleanText]
Audiences = Annotated[list[NonEmptyText], Field(min_length=1, max_length=20)]
Algorithms = Annotated[list[SigningAlgorithm], Field(min_length=1, max_length=20)]
AttributeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
ScimLinkAttribute = TypeAliasType(
    "ScimLinkAttribute",
    Annotated[
        Literal["externalId", "userName", "none"],
        Field(
            description="The SCIM attribute with the value of the provider's `link_claim`, so that a person "
            "who is provisioned and then signs in is one identity. Entra ID: `externalId`, mapped "
            "from `objectId`, with the link claim `oid`. `none`: provisioned people are not "
            "linked to sign-ins."
        ),
    ],
)
ScimAttributes = TypeAliasType(
    "ScimAttributes",
    Annotated[
        dict[AttributeName, NonEmptyText],
        Field(max_length=20),
        Field(
            description="Attributes of identities for policies, each with the SCIM attribute path of its value.",
            examples=[_SCIM_EXAMPLE["attributes"]],
        ),
    ],
)
ScimAttributeChanges = TypeAliasType(
    "ScimAttributeChanges",
    Annotated[
        dict[AttributeName, NonEmptyText | None],
        Field(max_length=20),
        Field(
            description="Attributes to set by name; null removes one.",
            examples=[{"department": "userType", "site": None}],
        ),
    ],
)
SignalsDelivery = TypeAliasType(
    "SignalsDelivery",
    Annotated[
        Literal["push", "poll"],
        Field(
            description="`push`: events are sent to `/ssf/events` (RFC 8935). `poll`: they are polled (RFC 8936)."
        ),
    ],
)


class ScimSettings(Strict):
    """SCIM provisioning of people and groups, with the mapping of attributes."""

    model_config = example(_SCIM_EXAMPLE)
    service_account_id: ServiceAccountId = Field(
        description="The service account that calls `/scim/v2`. It can serve only one provider."
    )
    link_attribute: ScimLinkAttribute = "externalId"
    attributes: ScimAttributes = Field(
        default_factory=dict, description="Attributes of identities from SCIM attributes."
    )


class ScimSettingsUpdate(Patch):
    """Changes to the settings; the first time, all fields without a default."""

    model_config = example({"link_attribute": "none"})
    service_account_id: ServiceAccountId = absent("The service account that calls `/scim/v2`.")
    link_attribute: ScimLinkAttribute = absent("The SCIM attribute with the value of the link claim.")
    attributes: ScimAttributeChanges = absent("Merged: null removes an attribute.")


class SignalsSettings(Strict):
    """A Shared Signals transmitter, and the delivery of its events."""

    model_config = example(_SIGNALS_EXAMPLE)
    service_account_id: ServiceAccountId | None = Field(
        default=None,
        description="The service account that pushes to `/ssf/events`. It can serve only one provider. Not for `poll`.",
    )
    delivery: SignalsDelivery = "push"
    issuer: NonEmptyText | None = Field(
        default=None,
        description="The `iss` of its events, and the base of its configuration URL; by default the provider's issuer.",
    )
    audiences: Audiences = Field(description="An event names one of these in its `aud`.")
    algorithms: Algorithms = Field(
        default=list(DEFAULT_ALGORITHMS), description="The accepted signature algorithms."
    )
    jwks_uri: NonEmptyText | None = Field(
        default=None,
        description="The URL of its keys. By default, the one in its configuration (`/.well-known/ssf-configuration`).",
    )


class SignalsSettingsUpdate(Patch):
    """Changes to the settings; the first time, all fields without a default."""

    model_config = example({"delivery": "poll"})
    service_account_id: ServiceAccountId | None = Field(
        default=None, description="The service account that pushes."
    )
    delivery: SignalsDelivery = absent("The delivery of its events.")
    issuer: NonEmptyText | None = Field(default=None, description="The `iss` of its events.")
    audiences: Audiences = absent("Replaces the whole list.")
    algorithms: Algorithms = absent("Replaces the whole list.")
    jwks_uri: NonEmptyText | None = Field(default=None, description="The URL of its keys.")


_EXAMPLE: dict[str, Any] = {
    "name": "Example SSO",
    "issuer": "https://sso.example.com",
    "audiences": ["https://scopegate.example.com"],
    "algorithms": ["RS256"],
    "token_types": ["at+jwt"],
    "role_claim": "groups",
    "role_map": {"scopegate-admins": "admin"},
    "link_claim": "sub",
    "people": ["staff"],
    "client_id": "scopegate",
    "scopes": ["openid", "profile", "email", "groups"],
    "workloads": [],
    "scim": None,
    "signals": None,
    "status": "active",
}
_WORKLOAD_EXAMPLE: dict[str, Any] = {
    "service_account_id": "sa_01jdpnwz00e008000000000000",
    "claims": {"sub": "repo:example/infrastructure:ref:refs/heads/main"},
}


def _not_an_email(claim: str) -> str:
    if claim.rpartition(".")[2].lower() == "email":
        raise ValueError("an email address can be reassigned to another person; name a claim such as sub")
    return claim


def _with_openid(scopes: list[str]) -> list[str]:
    if "openid" not in scopes:
        raise ValueError("openid is required: without it no provider identifies the person")
    return scopes


# The characters of a scope, by RFC 6749 section 3.3.
Scope = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,200}$")]
Scopes = Annotated[
    list[Scope],
    Field(min_length=1, max_length=20, json_schema_extra={"contains": {"const": "openid"}}),
    AfterValidator(_with_openid),
]
TokenTypes = Annotated[list[AccessTokenType], Field(min_length=1, max_length=3)]
ClaimName = Annotated[str, StringConstraints(min_length=1, max_length=200), CleanText]
People = Annotated[list[NonEmptyText], Field(max_length=200)]
LinkClaim = Annotated[ClaimName, AfterValidator(_not_an_email)]
RoleMap = TypeAliasType(
    "RoleMap",
    Annotated[
        dict[NonEmptyText, Role],
        Field(max_length=200),
        Field(
            description="The role for each value of the role claim.", examples=[{"scopegate-admins": "admin"}]
        ),
    ],
)
RoleMapChanges = TypeAliasType(
    "RoleMapChanges",
    Annotated[
        dict[NonEmptyText, Role | None],
        Field(max_length=200),
        Field(
            description="Roles to set by value of the role claim; null removes a value.",
            examples=[{"scopegate-admins": "owner", "old-group": None}],
        ),
    ],
)
WorkloadClaims = TypeAliasType(
    "WorkloadClaims",
    Annotated[
        dict[ClaimName, NonEmptyText],
        Field(min_length=1, max_length=20),
        Field(
            description="Required claims with their exact text.",
            examples=[{"sub": "repo:example/infrastructure:ref:refs/heads/main"}],
        ),
    ],
)
IdentityProviderStatus = TypeAliasType(
    "IdentityProviderStatus",
    Annotated[Literal["active", "disabled"], Field(description="A `disabled` provider accepts no sign-in.")],
)
IdentityProviderSource = TypeAliasType(
    "IdentityProviderSource",
    Annotated[
        Literal["api", "environment"],
        Field(description="Its origin: this API, or the environment of the service."),
    ],
)


class WorkloadView(Strict):
    """Workloads whose tokens have all of these claims act as this service account."""

    model_config = example(_WORKLOAD_EXAMPLE)
    service_account_id: ServiceAccountId
    claims: WorkloadClaims = Field(
        description="Each claim (a name or a dotted path) with its required text. Name one that only your own "
        "workloads have, best `sub`: many issuers give tokens to anyone, for any audience."
    )


Workloads = Annotated[list[WorkloadView], Field(max_length=100)]


class IdentityProviderView(Strict):
    """An issuer of access tokens, and the meaning of its claims."""

    model_config = example(
        {
            "id": "idp_01jdpnwz00e008000000000000",
            **_EXAMPLE,
            "source": "api",
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
            "ended_at": None,
            "revision": 1,
        }
    )
    id: IdentityProviderId
    name: str = Field(description="Its display name.")
    issuer: str = Field(description="The `iss` of its tokens, compared exactly.")
    audiences: list[str] = Field(description="A token names one of these in its `aud`.")
    algorithms: list[SigningAlgorithm] = Field(description="The accepted signature algorithms.")
    token_types: list[AccessTokenType] = Field(
        description="The accepted `typ` headers of its tokens; `none` accepts a token without one."
    )
    role_claim: str = Field(
        description="The claim with groups or roles: a name, or a dotted path such as `realm_access.roles`."
    )
    role_map: RoleMap = Field(description="The role for each value of that claim.")
    link_claim: str = Field(description="The claim that identifies a person permanently.")
    people: list[str] = Field(
        description="Values of the role claim whose holders become people without a role at their first sign-in."
    )
    client_id: str | None = Field(
        description="The client id of Scopegate at the provider, for browser sign-in."
    )
    scopes: list[str] = Field(description="The scopes that browser sign-in requests.")
    workloads: list[WorkloadView] = Field(
        description="Workloads that authenticate without a Scopegate secret."
    )
    scim: ScimSettings | None = Field(
        default=None, description="SCIM provisioning of its people and groups, if any."
    )
    signals: SignalsSettings | None = Field(
        default=None, description="Shared Signals about its people, if any."
    )
    status: IdentityProviderStatus = Field(description="A disabled provider accepts no sign-in.")
    source: IdentityProviderSource = Field(
        description="`environment`: set by `SCOPEGATE_OIDC_*`, and read-only here."
    )
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    revision: int = Field(description="Increases with each change; the `ETag`.")

    @classmethod
    def from_row(cls, row: IdentityProvider) -> "IdentityProviderView":
        # A row from before these settings existed does not have them.
        settings = {"scopes": list(DEFAULT_SCOPES), "people": [], **row.settings}
        return cls.model_validate({**row.model_dump(exclude={"settings"}), **settings})


class IdentityProviderCreate(Strict):
    """An OpenID provider whose access tokens the API accepts. Its keys are found by its issuer."""

    model_config = example(_EXAMPLE)
    name: Name = Field(description="Its display name.")
    issuer: NonEmptyText = Field(
        description="Exactly as in its tokens; an https address. It cannot change, since links refer to it."
    )
    audiences: Audiences = Field(
        description="A token must name one of these in its `aud`; use one only for Scopegate."
    )
    algorithms: Algorithms = Field(
        default=list(DEFAULT_ALGORITHMS), description="The accepted signature algorithms."
    )
    token_types: TokenTypes = Field(
        default=["at+jwt"],
        description="The accepted `typ` headers: `JWT` for providers that do not send `at+jwt`, `none` for "
        "those that send none. With these two, tokens that are marked as ID tokens are refused.",
    )
    role_claim: ClaimName = Field(
        default="groups",
        description="The claim with groups or roles: a name, or a dotted path such as `realm_access.roles`.",
    )
    role_map: RoleMap = Field(default_factory=dict, description="The role for each value of that claim.")
    link_claim: LinkClaim = Field(
        default="sub",
        description="The claim that identifies a person permanently. Never one that people can change.",
    )
    people: People = Field(
        default_factory=list,
        description="Values of the role claim, such as groups, whose holders become people without a role at "
        "their first sign-in. Others without a linked identity are refused.",
    )
    client_id: ShortText | None = Field(
        default=None,
        description="The client id of Scopegate at the provider, for browser sign-in. A client without a "
        "secret, which PKCE replaces.",
    )
    scopes: Scopes = Field(
        default=list(DEFAULT_SCOPES),
        description="The scopes that browser sign-in requests, with `openid`; some providers need `groups` for groups.",
    )
    workloads: Workloads = Field(
        default_factory=list, description="Workloads that authenticate without a Scopegate secret."
    )
    scim: ScimSettings | None = Field(default=None, description="SCIM provisioning of its people and groups.")
    signals: SignalsSettings | None = Field(default=None, description="Shared Signals about its people.")
    status: IdentityProviderStatus = Field(
        default="active", description="A disabled provider accepts no sign-in."
    )


class IdentityProviderUpdate(Patch):
    """The fields of a provider that can change; its issuer cannot. Null removes a value of the role map."""

    model_config = example({"status": "disabled", "role_map": {"former-admins": None}})
    name: Name = absent("Its display name.")
    audiences: Audiences = absent("Replaces the whole list.")
    algorithms: Algorithms = absent("Replaces the whole list.")
    token_types: TokenTypes = absent("Replaces the whole list.")
    role_claim: ClaimName = absent("The claim with groups or roles: a name, or a dotted path.")
    role_map: RoleMapChanges = absent("Merged: null removes a value.")
    link_claim: LinkClaim = absent("Refused with 409 while people are linked by the current one.")
    people: People = absent("The whole list.")
    client_id: ShortText | None = Field(
        default=None, description="The client id of Scopegate at the provider."
    )
    scopes: Scopes = absent("Replaces the whole list.")
    workloads: Workloads = absent("Replaces the whole list.")
    scim: ScimSettingsUpdate | None = Field(default=None, description="Merged; null: no provisioning.")
    signals: SignalsSettingsUpdate | None = Field(default=None, description="Merged; null: no signals.")
    status: IdentityProviderStatus = absent("`disabled` stops sign-in with it immediately.")


IdentityProviderOrder = TypeAliasType(
    "IdentityProviderOrder", Annotated[Literal["-created_at", "created_at", "-name", "name"], ORDER]
)


class IdentityProviderQuery(ListQuery):
    """Filters of the list of providers; each can be repeated, and then any of its values matches."""

    status: list[IdentityProviderStatus] = Field(
        default_factory=list, description="Only providers with this status."
    )
    source: list[IdentityProviderSource] = Field(
        default_factory=list, description="Only providers from this source."
    )
    issuer: list[ShortText] = Field(default_factory=list, description="Exactly this issuer.")
    q: ShortText | None = Field(default=None, description="Text in name or issuer.")
    include: Literal["ended"] | None = Field(
        default=None, description="`ended`: also ended ones; needs `audit.read`."
    )
    sort: IdentityProviderOrder = Field(default="-created_at", description="The sort order of the list.")
