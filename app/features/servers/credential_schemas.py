"""Upstream credentials: what is put, and what is known of one that is stored."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, RootModel, SecretStr, StringConstraints, WrapValidator
from typing_extensions import TypeAliasType

from app.http.pagination import DEFAULT_LIMIT, CursorParameter, Limit
from app.http.schemas import CleanSecret, CleanText, ShortText, Strict
from app.http.selectors import without_tag
from app.lib.ids import IdentityId, ServerId
from app.lib.strict_json import JsonValue
from app.models.servers import ServerCredential
from app.outbound.credential_headers import HEADER_NAME, check_free, header_value, visible_ascii
from app.outbound.stdio import GIT_KEYS, is_variable_name, is_variable_value

Url = Annotated[str, StringConstraints(min_length=1, max_length=2048), CleanText]
MOST_VARIABLE_BYTES = 32 * 1024


def _variable(name: str) -> str:
    if not is_variable_name(name):
        raise ValueError("this variable is the gateway's to set, or chooses what runs; use another")
    return name


VariableName = Annotated[str, AfterValidator(_variable)]


def _not_too_large(variables: dict[str, SecretStr]) -> dict[str, SecretStr]:
    size = sum(len(value.get_secret_value().encode()) for value in variables.values())
    if size > MOST_VARIABLE_BYTES:
        raise ValueError(f"all values together may have {MOST_VARIABLE_BYTES} bytes")
    return variables


def _harmless(variables: dict[str, SecretStr]) -> dict[str, SecretStr]:
    refused = [n for n, value in variables.items() if not is_variable_value(n, value.get_secret_value())]
    if refused:
        raise ValueError(
            f"{refused[0]} may be one of: {', '.join(GIT_KEYS)}; other settings of Git can run programs"
        )
    return variables


EnvironmentVariables = TypeAliasType(
    "EnvironmentVariables",
    Annotated[
        dict[
            Annotated[str, StringConstraints(max_length=100), AfterValidator(_variable)],
            Annotated[SecretStr, Field(max_length=16_384), CleanSecret],
        ],
        Field(
            min_length=1,
            max_length=50,
            description="Values by the names of `env_names`. They are stored encrypted and never shown.",
            examples=[{"GIT_TOKEN": "..."}],
        ),
        AfterValidator(_not_too_large),
        AfterValidator(_harmless),
    ],
)
UpstreamCredentialKind = TypeAliasType(
    "UpstreamCredentialKind",
    Annotated[
        Literal["none", "bearer", "header", "oauth_client_credentials", "env"],
        Field(description="What calls to the server carry, or its program is given."),
    ],
)

TokenEndpointAuthMethod = TypeAliasType(
    "TokenEndpointAuthMethod",
    Annotated[
        Literal["client_secret_basic", "client_secret_post"],
        Field(
            description="`client_secret_basic`: in the `Authorization` header; `client_secret_post`: in the body."
        ),
    ],
)


class CredentialMark(Strict):
    """That there is a credential, and nothing of what it is."""

    model_config = ConfigDict(extra="forbid", title="CredentialSummary")

    kind: UpstreamCredentialKind
    updated_at: datetime


def _free_header(name: str) -> str:
    return check_free(name, "mcp-")


class NoCredential(Strict):
    """Say that calls carry no credential; for an identity, that the server's own is not used."""

    kind: Literal["none"]

    def contents(self) -> JsonValue:
        """What is sealed: that there is nothing to send."""
        return None


class BearerCredential(Strict):
    """``Authorization: Bearer <token>``."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"kind": "bearer", "token": "the-upstream's-own-token"}]},
    )
    kind: Literal["bearer"]
    token: Annotated[SecretStr, Field(min_length=1, max_length=8192), AfterValidator(visible_ascii)] = Field(
        description="The upstream's own token. It is stored encrypted and never shown."
    )

    def contents(self) -> JsonValue:
        """What is sealed: the header to send."""
        return ["authorization", f"Bearer {self.token.get_secret_value()}"]


class HeaderCredential(Strict):
    """A header of the upstream's choice."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"kind": "header", "name": "X-Api-Key", "value": "..."}]},
    )
    kind: Literal["header"]
    name: Annotated[str, StringConstraints(pattern=HEADER_NAME), AfterValidator(_free_header)] = Field(
        description="The header's name."
    )
    value: Annotated[SecretStr, Field(min_length=1, max_length=8192), AfterValidator(header_value)] = Field(
        description="The header's value. It is stored encrypted and never shown."
    )

    def contents(self) -> JsonValue:
        """What is sealed: the header to send; its name is in lower case."""
        return [self.name.lower(), self.value.get_secret_value()]


class OAuthClientCredential(Strict):
    """Client credentials at the upstream's authorization server: calls carry an access token, fetched with them and
    renewed before it ends."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "kind": "oauth_client_credentials",
                    "token_url": "https://login.example.com/oauth/token",
                    "client_id": "scopegate",
                    "client_secret": "...",
                    "resource": "https://mcp.example.com/git",
                }
            ]
        },
    )
    kind: Literal["oauth_client_credentials"]
    token_url: Url = Field(
        description="The authorization server's token endpoint: `https`, or `http` at an address of an allowed "
        "network. The secret is sent there and nowhere else.",
        examples=["https://login.example.com/oauth/token"],
    )
    client_id: Annotated[ShortText, StringConstraints(min_length=1)] = Field(
        description="The client's id there.", examples=["scopegate"]
    )
    client_secret: Annotated[SecretStr, Field(min_length=1, max_length=8192), CleanSecret] = Field(
        description="The client's secret there. It is stored encrypted and never shown."
    )
    scope: Annotated[ShortText, StringConstraints(min_length=1)] | None = Field(
        default=None, description="The scope to ask for.", examples=["mcp"]
    )
    resource: Url | None = Field(
        default=None,
        description="The resource to ask for (RFC 8707), where the authorization server wants one.",
        examples=["https://mcp.example.com/git"],
    )
    audience: Annotated[ShortText, StringConstraints(min_length=1)] | None = Field(
        default=None,
        description="The audience to ask for, where the authorization server wants one instead.",
        examples=["https://mcp.example.com/"],
    )
    auth_method: TokenEndpointAuthMethod = Field(
        default="client_secret_basic", description="How the client proves itself there."
    )

    def contents(self) -> JsonValue:
        """What is sealed: what to fetch an access token with."""
        return {**self.model_dump(mode="json"), "client_secret": self.client_secret.get_secret_value()}


class EnvCredential(Strict):
    """Environment variables that the program of a ``stdio`` server is given."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"kind": "env", "variables": {"GIT_TOKEN": "..."}}]},
    )
    kind: Literal["env"]
    variables: EnvironmentVariables

    def contents(self) -> JsonValue:
        """What is sealed: the values by name."""
        values = {name: value.get_secret_value() for name, value in self.variables.items()}
        return {"kind": "env", "variables": {**values}}


Credential = NoCredential | BearerCredential | HeaderCredential | OAuthClientCredential | EnvCredential


class CredentialPut(
    RootModel[Annotated[Credential, Field(discriminator="kind"), WrapValidator(without_tag)]]
):
    """An upstream credential to store. A model of its own: FastAPI would take the union apart, and a wrong
    field would be reported for each kind."""

    model_config = ConfigDict(title="UpstreamCredentialUpdate")


class CredentialQuery(Strict):
    """Which of a server's credentials, and how many at a time."""

    limit: Limit = DEFAULT_LIMIT
    cursor: CursorParameter = None


class UpstreamCredentialView(Strict):
    """What is known of a stored credential. The credential itself is never returned."""

    server_id: ServerId
    identity_id: IdentityId | None = Field(
        description="The identity whose calls carry it; null: calls of all others."
    )
    kind: UpstreamCredentialKind
    origin: str = Field(
        description="The only origin that it is sent to; for a `stdio` server, a digest of its command.",
        examples=["https://mcp.example.com"],
    )
    updated_at: datetime

    @classmethod
    def from_row(cls, row: ServerCredential) -> "UpstreamCredentialView":
        """The answer for a row."""
        return cls.model_validate(row.model_dump(include=set(cls.model_fields)))
