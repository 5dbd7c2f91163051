"""Request and response models of upstream credentials."""

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
MAX_VARIABLE_BYTES = 32 * 1024


def _variable(name: str) -> str:
    if not is_variable_name(name):
        raise ValueError("this variable is set by the gateway, or decides what runs; use another")
    return name


VariableName = Annotated[str, AfterValidator(_variable)]


def _not_too_large(variables: dict[str, SecretStr]) -> dict[str, SecretStr]:
    size = sum(len(value.get_secret_value().encode()) for value in variables.values())
    if size > MAX_VARIABLE_BYTES:
        raise ValueError(f"all values together can have at most {MAX_VARIABLE_BYTES} bytes")
    return variables


def _harmless(variables: dict[str, SecretStr]) -> dict[str, SecretStr]:
    refused = [n for n, value in variables.items() if not is_variable_value(n, value.get_secret_value())]
    if refused:
        raise ValueError(
            f"{refused[0]} must be one of: {', '.join(GIT_KEYS)}; other settings of Git can run programs"
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
        Field(description="The credential in calls to the server, or in the environment of its program."),
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
    """The kind of a stored credential, without its content."""

    model_config = ConfigDict(extra="forbid", title="CredentialSummary")

    kind: UpstreamCredentialKind
    updated_at: datetime


def _free_header(name: str) -> str:
    return check_free(name, "mcp-")


class NoCredential(Strict):
    """No credential; for an identity, this overrides the server's own."""

    kind: Literal["none"]

    def contents(self) -> JsonValue:
        """The encrypted content: nothing to send."""
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
        """The encrypted content: the header to send."""
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
        """The encrypted content: the header to send, with its name in lower case."""
        return [self.name.lower(), self.value.get_secret_value()]


class OAuthClientCredential(Strict):
    """Client credentials at the upstream's authorization server: calls carry an access token that is fetched with them
    and renewed before it expires."""

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
        description="The authorization server's token endpoint: `https`, or `http` at an address in an "
        "allowed network. The secret is sent only there.",
        examples=["https://login.example.com/oauth/token"],
    )
    client_id: Annotated[ShortText, StringConstraints(min_length=1)] = Field(
        description="The client's id there.", examples=["scopegate"]
    )
    client_secret: Annotated[SecretStr, Field(min_length=1, max_length=8192), CleanSecret] = Field(
        description="The client's secret there. It is stored encrypted and never shown."
    )
    scope: Annotated[ShortText, StringConstraints(min_length=1)] | None = Field(
        default=None, description="The scope to request.", examples=["mcp"]
    )
    resource: Url | None = Field(
        default=None,
        description="The resource to request (RFC 8707), if the authorization server needs one.",
        examples=["https://mcp.example.com/git"],
    )
    audience: Annotated[ShortText, StringConstraints(min_length=1)] | None = Field(
        default=None,
        description="The audience to request, if the authorization server needs one instead.",
        examples=["https://mcp.example.com/"],
    )
    auth_method: TokenEndpointAuthMethod = Field(
        default="client_secret_basic", description="The client authentication method."
    )

    def contents(self) -> JsonValue:
        """The encrypted content: the parameters of token requests."""
        return {**self.model_dump(mode="json"), "client_secret": self.client_secret.get_secret_value()}


class EnvCredential(Strict):
    """Environment variables for the program of a ``stdio`` server."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"kind": "env", "variables": {"GIT_TOKEN": "..."}}]},
    )
    kind: Literal["env"]
    variables: EnvironmentVariables

    def contents(self) -> JsonValue:
        """The encrypted content: the values by name."""
        values = {name: value.get_secret_value() for name, value in self.variables.items()}
        return {"kind": "env", "variables": {**values}}


Credential = NoCredential | BearerCredential | HeaderCredential | OAuthClientCredential | EnvCredential


class CredentialPut(
    RootModel[Annotated[Credential, Field(discriminator="kind"), WrapValidator(without_tag)]]
):
    """An upstream credential to store. A root model, since FastAPI would split the union and report a wrong field for
    each kind."""

    model_config = ConfigDict(title="UpstreamCredentialUpdate")


class CredentialQuery(Strict):
    """Pagination of a server's credentials."""

    limit: Limit = DEFAULT_LIMIT
    cursor: CursorParameter = None


class UpstreamCredentialView(Strict):
    """A stored credential, without its secret."""

    server_id: ServerId
    identity_id: IdentityId | None = Field(
        description="The identity whose calls carry it; null: all other calls."
    )
    kind: UpstreamCredentialKind
    origin: str = Field(
        description="The only origin that it is sent to; for a `stdio` server, a digest of its command.",
        examples=["https://mcp.example.com"],
    )
    updated_at: datetime

    @classmethod
    def from_row(cls, row: ServerCredential) -> "UpstreamCredentialView":
        """Build the view of a row."""
        return cls.model_validate(row.model_dump(include=set(cls.model_fields)))
