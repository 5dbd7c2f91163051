"""Request and response models of servers and their credentials."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, RootModel, SecretStr, StrictBool, StringConstraints
from pydantic.functional_validators import WrapValidator
from typing_extensions import TypeAliasType

from app.domain.definitions import text_digest
from app.http.pagination import DEFAULT_LIMIT, ORDER, CursorParameter, Limit, ListQuery
from app.http.schemas import (
    CleanSecret,
    CleanText,
    LongText,
    Name,
    Patch,
    ShortText,
    Strict,
    absent,
    example,
    rule,
)
from app.http.selectors import MAX_LABELS, LabelKey, Labels, LabelValue, without_tag
from app.lib.ids import GroupId, IdentityId, ServerId
from app.lib.strict_json import JsonValue
from app.models.servers import Server, ServerCredential
from app.outbound.client_tokens import HEADER_NAME, check_free, header_value, visible_ascii
from app.outbound.stdio import GIT_KEYS, is_variable_name, is_variable_value

Url = Annotated[str, StringConstraints(min_length=1, max_length=2048), CleanText]

MAX_VARIABLE_BYTES = 32 * 1024


def _variable(name: str) -> str:
    if not is_variable_name(name):
        raise ValueError("the name of a variable consists of letters, digits and underscores")
    return name


VariableName = Annotated[str, AfterValidator(_variable)]


def _small_and_harmless(variables: dict[str, SecretStr]) -> dict[str, SecretStr]:
    size = sum(len(value.get_secret_value().encode()) for value in variables.values())
    if size > MAX_VARIABLE_BYTES:
        raise ValueError(f"all values together can have at most {MAX_VARIABLE_BYTES} bytes")
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
        AfterValidator(_small_and_harmless),
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

    model_config = ConfigDict(title="CredentialSummary")
    kind: UpstreamCredentialKind
    updated_at: datetime


BearerToken = Annotated[SecretStr, Field(min_length=1, max_length=8192), AfterValidator(visible_ascii)]


class NoCredential(Strict):
    """No credential; for an identity, this overrides the server's own."""

    kind: Literal["none"]

    def contents(self) -> JsonValue:
        """The encrypted content: nothing to send."""
        return None


class BearerCredential(Strict):
    """``Authorization: Bearer <token>``."""

    model_config = example({"kind": "bearer", "token": "the-upstream's-own-token"})
    kind: Literal["bearer"]
    token: BearerToken = Field(
        description="The upstream's own token. It is stored encrypted and never shown."
    )

    def contents(self) -> JsonValue:
        """The encrypted content: the header to send."""
        return ["authorization", f"Bearer {self.token.get_secret_value()}"]


class HeaderCredential(Strict):
    """A header of the upstream's choice."""

    model_config = example({"kind": "header", "name": "X-Api-Key", "value": "..."})
    kind: Literal["header"]
    name: Annotated[
        str, StringConstraints(pattern=HEADER_NAME), AfterValidator(lambda name: check_free(name, "mcp-"))
    ] = Field(description="The header's name.")
    value: Annotated[SecretStr, Field(min_length=1, max_length=8192), AfterValidator(header_value)] = Field(
        description="The header's value. It is stored encrypted and never shown."
    )

    def contents(self) -> JsonValue:
        """The encrypted content: the header to send, with its name in lower case."""
        return [self.name.lower(), self.value.get_secret_value()]


class OAuthClientCredential(Strict):
    """Client credentials at the upstream's authorization server: calls carry an access token that is fetched with them
    and renewed before it expires."""

    model_config = example(
        {
            "kind": "oauth_client_credentials",
            "token_url": "https://login.example.com/oauth/token",
            "client_id": "scopegate",
            "client_secret": "...",
            "resource": "https://mcp.example.com/git",
        }
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

    model_config = example({"kind": "env", "variables": {"GIT_TOKEN": "..."}})
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


# No underscore in a slug: the first ``__`` of an aggregate name ``<slug>__<tool>`` is always the separator, so ``a`` +
# ``b__c`` and ``a__b`` + ``c`` cannot both exist.
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Command = Annotated[str, StringConstraints(min_length=1, max_length=500), CleanText]
Arguments = Annotated[
    list[Annotated[str, StringConstraints(max_length=2000), CleanText]], Field(max_length=100)
]
EnvNames = Annotated[list[VariableName], Field(max_length=50)]
LabelChanges = TypeAliasType(
    "LabelChanges",
    Annotated[
        dict[LabelKey, LabelValue | None],
        Field(max_length=MAX_LABELS),
        Field(
            description="Labels to set by key; null removes a label.",
            examples=[{"env": "prod", "team": None}],
        ),
    ],
)
Transport = TypeAliasType(
    "Transport",
    Annotated[
        Literal["streamable_http", "stdio"],
        Field(description="`streamable_http`: a server at a URL; `stdio`: a command on the gateway's host."),
    ],
)
ServerStatus = TypeAliasType(
    "ServerStatus",
    Annotated[
        Literal["active", "disabled"],
        Field(description="A `disabled` server is not listed and cannot be called."),
    ],
)
NewTools = TypeAliasType(
    "NewTools",
    Annotated[
        Literal["quarantine", "allow"],
        Field(
            description="The state of new tools in later syncs: `quarantine` holds them until they are approved."
        ),
    ],
)
KeepArguments = TypeAliasType(
    "KeepArguments",
    Annotated[
        Literal["off", "approvals", "all"],
        Field(
            description="Which arguments are recorded: none, those of calls that need an approval, or all."
        ),
    ],
)
Requestable = TypeAliasType(
    "Requestable",
    Annotated[
        StrictBool,
        Field(
            description="Whether every signed-in person sees the server and its tools by name, and may "
            "request access to it. The members of its `owner_group_id` decide such requests."
        ),
    ],
)
SyncState = TypeAliasType(
    "SyncState",
    Annotated[
        Literal["never", "running", "ok", "error"],
        Field(description="The result of the last sync; `running`: a requested one has not ended."),
    ],
)
Digest = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(description="SHA-256 of the text, in hexadecimal.", examples=["9f86d081" * 8]),
]
InstructionsState = TypeAliasType(
    "InstructionsState",
    Annotated[
        Literal["none", "approved", "pending"],
        Field(description="Whether the server has instructions, and whether clients get them."),
    ],
)
IncludeEnded = Annotated[
    Literal["ended"] | None, Field(description="`ended`: also ended ones; needs `audit.read`.")
]


def instructions_state(row: Server) -> InstructionsState:
    """Whether the latest instructions are the approved ones."""
    if row.instructions is None:
        return "none"
    return "approved" if row.instructions == row.approved_instructions else "pending"


class SyncView(Strict):
    """The last attempt to read the server's tools."""

    model_config = ConfigDict(title="ServerSync")
    state: SyncState
    at: datetime | None = Field(description="The start of the last completed attempt.")
    error: str | None = Field(
        examples=["connection refused"],
        description="The error; with state `ok`, the malformed tools that were left out.",
    )
    protocol_versions: list[str] = Field(
        examples=[["2025-11-25"]], description="The MCP versions at the last successful sync, newest first."
    )


class ServerView(Strict):
    """A registered MCP server."""

    id: ServerId
    slug: Slug = Field(
        description="Part of `/mcp/{slug}` and prefix of tool names; never changes.", examples=["git"]
    )
    name: str = Field(description="Its display name.", examples=["Git"])
    description: str | None = Field(description="What it is for.", examples=["Our repositories."])
    labels: Labels
    owner_group_id: GroupId | None = Field(description="The group whose members maintain it.")
    transport: Transport
    url: str | None = Field(
        description="The streamable HTTP endpoint.", examples=["https://mcp.example.com/git"]
    )
    command: str | None = Field(
        description="The program of a `stdio` server, by its absolute path.",
        examples=["/opt/mcp/bin/mcp-server-git"],
    )
    args: list[str] | None = Field(description="Its arguments.", examples=[["--repository", "/srv/repo"]])
    env_names: list[str] | None = Field(
        description="The names of its environment variables.", examples=[["GIT_TOKEN"]]
    )
    status: ServerStatus
    new_tools: NewTools
    keep_arguments: KeepArguments
    requestable: Requestable
    sync: SyncView
    instructions: InstructionsState
    tool_count: int = Field(description="Tools that are active or quarantined.")
    credential: CredentialMark | None = Field(
        description="The server's own credential, without those of identities."
    )
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    revision: int

    @classmethod
    def from_row(cls, row: Server, tool_count: int, credential: ServerCredential | None) -> "ServerView":
        """Build the view of a row; ``credential`` is the one without an identity."""
        sync = {
            "state": "running" if row.sync_started_at is not None else row.sync_state,
            "at": row.sync_at,
            "error": row.sync_error,
            "protocol_versions": row.protocol_versions,
        }
        summary = credential and {"kind": credential.kind, "updated_at": credential.updated_at}
        own = row.model_dump(include=set(cls.model_fields))
        own |= {"sync": sync, "instructions": instructions_state(row), "tool_count": tool_count}
        return cls.model_validate({**own, "credential": summary})


class ServerInstructions(Strict):
    """The instructions of a server. Clients get only the approved text."""

    server_id: ServerId
    state: InstructionsState
    approved: str | None = Field(description="The text that clients get.", examples=["Ask before you write."])
    latest: str | None = Field(
        description="The latest text of the server.", examples=["Ask before you write."]
    )
    digest: Digest | None = Field(description="SHA-256 of `latest`, in hexadecimal.")

    @classmethod
    def from_row(cls, row: Server) -> "ServerInstructions":
        """Build the view of a row."""
        return cls(
            server_id=row.id,
            state=instructions_state(row),
            approved=row.approved_instructions,
            latest=row.instructions,
            digest=None if row.instructions is None else text_digest(row.instructions).hex(),
        )


class InstructionsApprove(Strict):
    """Approve instructions: only the text with this digest, and no later one."""

    model_config = example({"digest": "9f86d081" * 8})
    digest: Digest


class ServerCreate(Strict):
    """A server to register. Nothing is sent to it until its first sync."""

    model_config = example(
        {"slug": "git", "name": "Git", "url": "https://mcp.example.com/git", "labels": {"env": "prod"}},
        allOf=[
            {
                "oneOf": [
                    {
                        "allOf": [
                            {"properties": {"transport": {"const": "streamable_http"}}},
                            rule(given=["url"], without=["command", "args", "env_names"]),
                        ]
                    },
                    {
                        "allOf": [
                            {"properties": {"transport": {"const": "stdio"}}},
                            rule(given=["transport", "command"], without=["url"]),
                        ]
                    },
                ]
            }
        ],
    )
    slug: Slug = Field(description="Part of `/mcp/{slug}` and prefix of tool names; never changes.")
    name: Name | None = Field(default=None, description="By default the slug.")
    description: LongText | None = None
    labels: Labels = Field(default_factory=dict)
    owner_group_id: GroupId | None = None
    transport: Transport = "streamable_http"
    url: Url | None = Field(default=None, description="The streamable HTTP endpoint.")
    command: Command | None = Field(
        default=None,
        description="The program of a `stdio` server, by its absolute path. The operator decides which may run.",
        examples=["/opt/mcp/bin/mcp-server-git"],
    )
    args: Arguments | None = Field(
        default=None,
        description="Its arguments. Do not put a secret here: process lists of the host show them.",
        examples=[["--repository", "/srv/repo"]],
    )
    env_names: EnvNames | None = Field(
        default=None,
        description="The names of its environment variables; a credential of the kind `env` has the values. The "
        "operator decides which names.",
        examples=[["GIT_TOKEN"]],
    )
    status: ServerStatus = "active"
    new_tools: NewTools = Field(
        default="quarantine", description="The state of new tools after the first sync."
    )
    keep_arguments: KeepArguments = "approvals"
    requestable: Requestable = False


class ServerPatch(Patch):
    """The fields of a server that can change; its slug and transport cannot. Null removes a label."""

    model_config = example({"status": "disabled", "labels": {"env": None}}, title="ServerUpdate")
    name: Name = absent()
    description: LongText | None = None
    labels: LabelChanges = absent()
    owner_group_id: GroupId | None = None
    url: Url = absent("The origin can change only while no credential is stored.")
    command: Command = absent("For a `stdio` server; only while no credential is stored.")
    args: Arguments = absent("The same.")
    env_names: EnvNames = absent("The same.")
    status: ServerStatus = absent()
    new_tools: NewTools = absent()
    keep_arguments: KeepArguments = absent()
    requestable: Requestable = absent()


ServerOrder = TypeAliasType(
    "ServerOrder", Annotated[Literal["-created_at", "created_at", "-slug", "slug", "-name", "name"], ORDER]
)


class ServerQuery(ListQuery):
    """Filters of the list of servers; each can be repeated, and then any of its values matches."""

    status: list[ServerStatus] = Field(default_factory=list)
    transport: list[Transport] = Field(default_factory=list)
    sync_state: list[SyncState] = Field(default_factory=list)
    slug: list[Slug] = Field(default_factory=list)
    owner_group_id: list[GroupId] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in slug, name or description.")
    include: IncludeEnded = None
    sort: ServerOrder = Field(default="-created_at", description="The sort order of the list.")
