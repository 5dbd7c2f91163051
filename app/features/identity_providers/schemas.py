"""Request and answer models of identity providers.

What a provider may do besides signing people in: provision them by SCIM, and tell of them by Shared Signals.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.features.identity_providers.provider import (
    DEFAULT_ALGORITHMS,
    DEFAULT_SCOPES,
    AccessTokenType,
    SigningAlgorithm,
)
from app.http.authorization import Role
from app.http.pagination import ListQuery
from app.http.schemas import CleanText, Name, Patch, ShortText, Strict, absent
from app.lib.ids import IdentityProviderId, ServiceAccountId
from app.models.identity_providers import IdentityProvider

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
SignalAudiences = Annotated[list[Address], Field(min_length=1, max_length=20)]
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
    audiences: SignalAudiences = Field(description="An event names one of these in its `aud`.")
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
    audiences: SignalAudiences = absent("Replaces the whole list.")
    algorithms: Algorithms = absent("Replaces the whole list.")
    jwks_uri: Address | None = Field(default=None, description="Where its keys are.")


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
        raise ValueError("an email address says who gets mail, not who somebody is; name a claim such as sub")
    return claim


def _with_openid(scopes: list[str]) -> list[str]:
    if "openid" not in scopes:
        raise ValueError("openid has to be among them: without it no provider says who signed in")
    return scopes


# RFC 6749 section 3.3: what a scope is made of.
Scope = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,200}$")]
Scopes = Annotated[
    list[Scope],
    Field(min_length=1, max_length=20, json_schema_extra={"contains": {"const": "openid"}}),
    AfterValidator(_with_openid),
]
Issuer = Annotated[str, StringConstraints(min_length=1, max_length=500), CleanText]
Audience = Annotated[str, StringConstraints(min_length=1, max_length=500), CleanText]
Audiences = Annotated[list[Audience], Field(min_length=1, max_length=20)]
TokenTypes = Annotated[list[AccessTokenType], Field(min_length=1, max_length=3)]
ClaimName = Annotated[str, StringConstraints(min_length=1, max_length=200), CleanText]
ClaimValue = Annotated[str, StringConstraints(min_length=1, max_length=500), CleanText]
People = Annotated[list[ClaimValue], Field(max_length=200)]
LinkClaim = Annotated[ClaimName, AfterValidator(_not_an_email)]
RoleMap = TypeAliasType(
    "RoleMap",
    Annotated[
        dict[ClaimValue, Role],
        Field(max_length=200),
        Field(
            description="Which value of the role claim gives which role.",
            examples=[{"scopegate-admins": "admin"}],
        ),
    ],
)
RoleMapChanges = TypeAliasType(
    "RoleMapChanges",
    Annotated[
        dict[ClaimValue, Role | None],
        Field(max_length=200),
        Field(
            description="Roles to set by value of the role claim; a null takes the value out.",
            examples=[{"scopegate-admins": "owner", "old-group": None}],
        ),
    ],
)
WorkloadClaims = TypeAliasType(
    "WorkloadClaims",
    Annotated[
        dict[ClaimName, ClaimValue],
        Field(min_length=1, max_length=20),
        Field(
            description="Claims, each with the text that it must be.",
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
        Field(description="Where it was set up: by this API, or in the environment of the service."),
    ],
)


class WorkloadView(Strict):
    """Programs whose tokens have all of these claims act as this service account."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_WORKLOAD_EXAMPLE]})

    service_account_id: ServiceAccountId
    claims: WorkloadClaims = Field(
        description="Each claim (a name, or a path with dots between) and the text that it must be. Name what your "
        "own programs alone have, best `sub`: many issuers give tokens to anybody, for any audience."
    )


Workloads = Annotated[list[WorkloadView], Field(max_length=100)]


class IdentityProviderView(Strict):
    """An issuer of access tokens, and what its claims mean here."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "id": "idp_01jdpnwz00e008000000000000",
                    **_EXAMPLE,
                    "source": "api",
                    "created_at": "2026-01-05T09:00:00Z",
                    "updated_at": "2026-01-05T09:00:00Z",
                    "ended_at": None,
                    "revision": 1,
                }
            ]
        },
    )

    id: IdentityProviderId
    name: str = Field(description="What people call it.")
    issuer: str = Field(description="The `iss` of its tokens, compared exactly.")
    audiences: list[str] = Field(description="A token names one of these in its `aud`.")
    algorithms: list[SigningAlgorithm] = Field(description="What it may sign with.")
    token_types: list[AccessTokenType] = Field(
        description="The accepted `typ` headers of its tokens; `none` accepts a token without one."
    )
    role_claim: str = Field(
        description="The claim that holds groups or roles, or a path with dots between, as `realm_access.roles`."
    )
    role_map: RoleMap = Field(description="Which value of that claim gives which role.")
    link_claim: str = Field(description="The claim that identifies a person permanently.")
    people: list[str] = Field(
        description="Values of the role claim whose holders become people without a role at their first sign-in."
    )
    client_id: str | None = Field(
        description="The client that Scopegate is at the provider, for people who sign in with a browser."
    )
    scopes: list[str] = Field(description="What such a sign-in asks for.")
    workloads: list[WorkloadView] = Field(description="Programs that sign in without a secret of ours.")
    scim: ScimSettings | None = Field(
        default=None, description="Who provisions its people and groups, if anybody."
    )
    signals: SignalsSettings | None = Field(default=None, description="Who tells of its people, if anybody.")
    status: IdentityProviderStatus = Field(description="A disabled provider accepts no sign-in.")
    source: IdentityProviderSource = Field(
        description="`environment`: set by `SCOPEGATE_OIDC_*`, and read-only here."
    )
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    revision: int = Field(description="Moves with each change; the `ETag`.")

    @classmethod
    def from_row(cls, row: IdentityProvider) -> "IdentityProviderView":
        """The answer for a row."""
        # One that was registered before there were these has none in its settings.
        given = {"scopes": list(DEFAULT_SCOPES), "people": [], **row.settings}
        return cls.model_validate({**row.model_dump(exclude={"settings"}), **given})


class IdentityProviderCreate(Strict):
    """An OpenID provider whose access tokens open the API. Its keys are fetched from where its issuer says."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    name: Name = Field(description="What people call it.")
    issuer: Issuer = Field(
        description="Exactly as it stands in its tokens; an https address. It never changes: links would name others."
    )
    audiences: Audiences = Field(
        description="A token must name one of these in its `aud`; make one for Scopegate alone."
    )
    algorithms: Algorithms = Field(default=list(DEFAULT_ALGORITHMS), description="What it may sign with.")
    token_types: TokenTypes = Field(
        default=["at+jwt"],
        description="The accepted `typ` headers: `JWT` for providers that do not say `at+jwt`, `none` for those "
        "that say nothing. With these two, tokens that are marked as ID tokens are refused.",
    )
    role_claim: ClaimName = Field(
        default="groups",
        description="The claim that holds groups or roles, or a path with dots between, as `realm_access.roles`.",
    )
    role_map: RoleMap = Field(default_factory=dict, description="Which value of that claim gives which role.")
    link_claim: LinkClaim = Field(
        default="sub",
        description="The claim that identifies a person permanently. Never one that people can change.",
    )
    people: People = Field(
        default_factory=list,
        description="Values of the role claim, groups for example, whose holders become people without a role at their "
        "first sign-in. Others whom no identity is linked to are not let in.",
    )
    client_id: ShortText | None = Field(
        default=None,
        description="The client that Scopegate is at the provider: with it, people sign in to pages with a browser. "
        "One without a secret, which PKCE takes the place of.",
    )
    scopes: Scopes = Field(
        default=list(DEFAULT_SCOPES),
        description="What such a sign-in asks for, `openid` among it; some providers want `groups` to name groups.",
    )
    workloads: Workloads = Field(
        default_factory=list, description="Programs that sign in without a secret of ours."
    )
    scim: ScimSettings | None = Field(
        default=None, description="Who provisions its people and groups by SCIM."
    )
    signals: SignalsSettings | None = Field(
        default=None, description="Who tells of its people by Shared Signals."
    )
    status: IdentityProviderStatus = Field(
        default="active", description="A disabled provider accepts no sign-in."
    )


class IdentityProviderUpdate(Patch):
    """What may change of a provider; its issuer may not. A value of the role map set to null goes."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"status": "disabled", "role_map": {"former-admins": None}}]},
    )

    name: Name = absent("What people call it.")
    audiences: Audiences = absent("Replaces the whole list.")
    algorithms: Algorithms = absent("Replaces the whole list.")
    token_types: TokenTypes = absent("Replaces the whole list.")
    role_claim: ClaimName = absent("The claim that holds groups or roles, or a path with dots between.")
    role_map: RoleMapChanges = absent("Merged: null takes a value out.")
    link_claim: LinkClaim = absent("Refused with 409 while people are linked by the present one.")
    people: People = absent("The whole list.")
    client_id: ShortText | None = Field(
        default=None, description="The client that Scopegate is at the provider."
    )
    scopes: Scopes = absent("Replaces the whole list.")
    workloads: Workloads = absent("Replaces the whole list.")
    scim: ScimSettingsUpdate | None = Field(default=None, description="Merged; null: no provisioning.")
    signals: SignalsSettingsUpdate | None = Field(default=None, description="Merged; null: no signals.")
    status: IdentityProviderStatus = absent("`disabled` ends sign-ins by it at once.")


IdentityProviderOrder = TypeAliasType(
    "IdentityProviderOrder",
    Annotated[
        Literal["-created_at", "created_at", "-name", "name"],
        Field(
            description="What providers are sorted by; `-` before it is from the top. Newest first by default."
        ),
    ],
)


class IdentityProviderQuery(ListQuery):
    """Filters of the list of providers; each may be repeated, and then any of its values matches."""

    status: list[IdentityProviderStatus] = Field(
        default_factory=list, description="Whether people sign in by it."
    )
    source: list[IdentityProviderSource] = Field(default_factory=list, description="Who set it up.")
    issuer: list[ShortText] = Field(default_factory=list, description="Exactly this issuer.")
    q: ShortText | None = Field(default=None, description="Text in name or issuer.")
    include: Literal["ended"] | None = Field(
        default=None, description="`ended`: those that have ended too; needs `audit.read`."
    )
    sort: IdentityProviderOrder = Field(default="-created_at", description="What the list is sorted by.")
