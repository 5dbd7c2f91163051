"""Request and answer models of servers and their upstream credentials."""

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, RootModel, SecretStr, StringConstraints, WrapValidator
from typing_extensions import TypeAliasType

from app.domain.definitions import text_digest
from app.features.servers.models import Server, ServerCredential
from app.kit.ids import GroupId, IdentityId, ServerId
from app.kit.pagination import ListQuery
from app.kit.schemas import CleanSecret, CleanText, LongText, Name, Patch, ShortText, Strict, absent
from app.kit.selectors import MOST_LABELS, LabelKey, Labels, LabelValue, without_tag
from app.kit.stdio import is_variable_name
from app.kit.strict_json import JsonValue

# No underscore in a slug: the first ``__`` of an aggregate name ``<slug>__<tool>`` is always the seam, so
# ``a`` + ``b__c`` and ``a__b`` + ``c`` cannot both exist.
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2048), CleanText]


def _variable(name: str) -> str:
    if not is_variable_name(name):
        raise ValueError("this variable is the gateway's to set, or chooses what runs; use another")
    return name


Command = Annotated[str, StringConstraints(min_length=1, max_length=500), CleanText]
Arguments = Annotated[
    list[Annotated[str, StringConstraints(max_length=2000), CleanText]], Field(max_length=100)
]
EnvNames = Annotated[list[Annotated[str, AfterValidator(_variable)]], Field(max_length=50)]
MOST_VARIABLE_BYTES = 32 * 1024
LabelChanges = TypeAliasType(
    "LabelChanges",
    Annotated[
        dict[LabelKey, LabelValue | None],
        Field(max_length=MOST_LABELS),
        Field(
            description="Labels to set by key; a null takes the label away.",
            examples=[{"env": "prod", "team": None}],
        ),
    ],
)
Transport = TypeAliasType(
    "Transport",
    Annotated[
        Literal["http", "stdio"],
        Field(description="`http` is streamable HTTP; `stdio` is a command that the gateway's host runs."),
    ],
)


def _not_too_large(variables: dict[str, SecretStr]) -> dict[str, SecretStr]:
    size = sum(len(value.get_secret_value().encode()) for value in variables.values())
    if size > MOST_VARIABLE_BYTES:
        raise ValueError(f"all values together may have {MOST_VARIABLE_BYTES} bytes")
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
    ],
)
ServerStatus = TypeAliasType(
    "ServerStatus",
    Annotated[
        Literal["active", "disabled"],
        Field(description="A `disabled` server is listed to nobody and called by nobody."),
    ],
)
NewTools = TypeAliasType(
    "NewTools",
    Annotated[
        Literal["quarantine", "allow"],
        Field(
            description="What becomes of tools that a later sync finds: `quarantine` holds them until approved."
        ),
    ],
)
KeepArguments = TypeAliasType(
    "KeepArguments",
    Annotated[
        Literal["off", "approvals", "all"],
        Field(
            description="Which calls' arguments are kept on record: none, those that wait for an approval, or all."
        ),
    ],
)
SyncState = TypeAliasType(
    "SyncState", Annotated[Literal["never", "ok", "error"], Field(description="How the last sync went.")]
)
Digest = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(description="SHA-256 of the text, in hexadecimal.", examples=["9f86d081" * 8]),
]
InstructionsState = TypeAliasType(
    "InstructionsState",
    Annotated[
        Literal["none", "approved", "waiting"],
        Field(description="Whether the server says how it is to be used, and whether clients are told."),
    ],
)
IncludeEnded = Annotated[
    Literal["ended"] | None, Field(description="`ended`: those that have ended too; needs `audit.read`.")
]
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

_HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
# What the outbound client and the MCP transport write themselves, and what would change how a request is read.
_RESERVED_HEADERS = frozenset(
    "accept accept-encoding connection content-encoding content-length content-type expect host keep-alive "
    "last-event-id proxy-authorization proxy-connection te trailer transfer-encoding upgrade".split()
)


def instructions_state(row: Server) -> InstructionsState:
    """Whether what the server says of its use is what was approved."""
    if row.instructions is None:
        return "none"
    return "approved" if row.instructions == row.approved_instructions else "waiting"


class SyncView(Strict):
    """How reading the server's tools went, the last time it was tried."""

    model_config = ConfigDict(extra="forbid", title="ServerSync")

    state: SyncState
    at: datetime | None = Field(description="When the last attempt began.")
    error: str | None = Field(
        examples=["connection refused"],
        description="Why it failed; with state `ok`, which tools were left out for being malformed.",
    )
    protocol_versions: list[str] = Field(
        examples=[["2025-11-25"]],
        description="MCP versions it spoke when a sync last went well, newest first.",
    )


class CredentialMark(Strict):
    """That there is a credential, and nothing of what it is."""

    model_config = ConfigDict(extra="forbid", title="CredentialSummary")

    kind: UpstreamCredentialKind
    updated_at: datetime


class ServerView(Strict):
    """An MCP server as registered."""

    id: ServerId
    slug: Slug = Field(
        description="Stands in `/mcp/{slug}` and before tool names; never changes.", examples=["git"]
    )
    name: str = Field(description="What people call it.", examples=["Git"])
    description: str | None = Field(description="What it is for.", examples=["Our repositories."])
    labels: Labels
    owner_group_id: GroupId | None = Field(description="The group whose members look after it.")
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
        description="The environment variables that it is given, by name.", examples=[["GIT_TOKEN"]]
    )
    status: ServerStatus
    new_tools: NewTools
    keep_arguments: KeepArguments
    sync: SyncView
    instructions: InstructionsState
    tool_count: int = Field(description="Tools that are active or quarantined.")
    credential: CredentialMark | None = Field(
        description="The server's own credential; those of identities apart."
    )
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    revision: int

    @classmethod
    def from_row(cls, row: Server, tool_count: int, credential: ServerCredential | None) -> "ServerView":
        """The answer for a row; ``credential`` is the one that belongs to no identity."""
        sync = SyncView(
            state=row.sync_state,  # type: ignore[arg-type]  # the column holds these values alone
            at=row.sync_at,
            error=row.sync_error,
            protocol_versions=row.protocol_versions,
        )
        summary = credential and CredentialMark(
            kind=credential.kind,  # type: ignore[arg-type]
            updated_at=credential.updated_at,
        )
        own = row.model_dump(include=set(cls.model_fields))
        own |= {"sync": sync, "instructions": instructions_state(row), "tool_count": tool_count}
        return cls.model_validate({**own, "credential": summary})


class ServerInstructions(Strict):
    """What a server says of its use. Clients are told of what was approved, and of nothing else."""

    server_id: ServerId
    state: InstructionsState
    approved: str | None = Field(description="What clients may be told.", examples=["Ask before you write."])
    latest: str | None = Field(
        description="What the server said when it was read last.", examples=["Ask before you write."]
    )
    digest: Digest | None = Field(description="SHA-256 of `latest`, in hexadecimal.")

    @classmethod
    def from_row(cls, row: Server) -> "ServerInstructions":
        """The answer for a row."""
        return cls(
            server_id=row.id,
            state=instructions_state(row),
            approved=row.approved_instructions,
            latest=row.instructions,
            digest=None if row.instructions is None else text_digest(row.instructions).hex(),
        )


class InstructionsApprove(Strict):
    """Accept what a server says of its use: the text with this digest, and no other that came since."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"digest": "9f86d081" * 8}]})
    digest: Digest


class ServerCreate(Strict):
    """A server to register. Nothing is sent to it until its first sync."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "slug": "git",
                    "name": "Git",
                    "url": "https://mcp.example.com/git",
                    "labels": {"env": "prod"},
                }
            ]
        },
    )

    slug: Slug = Field(description="Stands in `/mcp/{slug}` and before tool names; never changes.")
    name: Name | None = Field(default=None, description="The slug when absent.")
    description: LongText | None = None
    labels: Labels = Field(default_factory=dict)
    owner_group_id: GroupId | None = None
    transport: Transport = "http"
    url: Url | None = Field(default=None, description="The streamable HTTP endpoint.")
    command: Command | None = Field(
        default=None,
        description="The program of a `stdio` server, by its absolute path. The operator says which may run.",
        examples=["/opt/mcp/bin/mcp-server-git"],
    )
    args: Arguments | None = Field(
        default=None,
        description="Its arguments. Whoever can list the host's processes sees them: no place for a secret.",
        examples=[["--repository", "/srv/repo"]],
    )
    env_names: EnvNames | None = Field(
        default=None,
        description="The environment variables that it is given; a credential of the kind `env` has the values.",
        examples=[["GIT_TOKEN"]],
    )
    status: ServerStatus = "active"
    new_tools: NewTools = Field(
        default="quarantine", description="What becomes of tools that are found after the first sync."
    )
    keep_arguments: KeepArguments = "off"


class ServerPatch(Patch):
    """What may change of a server; its slug and transport may not. A label set to null goes."""

    model_config = ConfigDict(
        title="ServerUpdate",
        extra="forbid",
        json_schema_extra={"examples": [{"status": "disabled", "labels": {"env": None}}]},
    )

    name: Name = absent()
    description: LongText | None = None
    labels: LabelChanges = absent()
    owner_group_id: GroupId | None = None
    url: Url = absent("To another origin only while no credential is stored.")
    command: Command = absent("Of a `stdio` server; only while no credential is stored.")
    args: Arguments = absent("The same.")
    env_names: EnvNames = absent("The same.")
    status: ServerStatus = absent()
    new_tools: NewTools = absent()
    keep_arguments: KeepArguments = absent()


ServerOrder = TypeAliasType(
    "ServerOrder",
    Annotated[
        Literal["-created_at", "created_at", "-slug", "slug", "-name", "name"],
        Field(
            description="What servers are sorted by; `-` before it is from the top. Newest first by default."
        ),
    ],
)


class ServerQuery(ListQuery):
    """Filters of the list of servers; each may be repeated, and then any of its values matches."""

    status: list[ServerStatus] = Field(default_factory=list)
    sync_state: list[SyncState] = Field(default_factory=list)
    slug: list[Slug] = Field(default_factory=list)
    owner_group_id: list[GroupId] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in slug, name or description.")
    include: IncludeEnded = None
    sort: ServerOrder = Field(default="-created_at", description="What the list is sorted by.")


def _visible_ascii(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("only visible ASCII characters, without spaces")
    return secret


def _header_value(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", secret.get_secret_value()):
        raise ValueError("only visible ASCII characters, with spaces inside at most")
    return secret


def _free_header(name: str) -> str:
    lower = name.lower()
    if lower in _RESERVED_HEADERS or lower.startswith("mcp-"):
        raise ValueError("this header belongs to the transport; choose another")
    return name


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
    token: Annotated[SecretStr, Field(min_length=1, max_length=8192), AfterValidator(_visible_ascii)] = Field(
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
    name: Annotated[str, StringConstraints(pattern=_HEADER_NAME), AfterValidator(_free_header)] = Field(
        description="The header's name."
    )
    value: Annotated[SecretStr, Field(min_length=1, max_length=8192), AfterValidator(_header_value)] = Field(
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
