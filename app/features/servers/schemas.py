"""Request and answer models of servers."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool, StringConstraints
from typing_extensions import TypeAliasType

from app.domain.definitions import text_digest
from app.features.servers.credential_schemas import CredentialMark, Url, VariableName
from app.http.pagination import ListQuery
from app.http.schemas import CleanText, LongText, Name, Patch, ShortText, Strict, absent, rule
from app.http.selectors import MAX_LABELS, LabelKey, Labels, LabelValue
from app.lib.ids import GroupId, ServerId
from app.models.servers import Server, ServerCredential

# No underscore in a slug: the first ``__`` of an aggregate name ``<slug>__<tool>`` is always the seam, so
# ``a`` + ``b__c`` and ``a__b`` + ``c`` cannot both exist.
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
            description="Labels to set by key; a null takes the label away.",
            examples=[{"env": "prod", "team": None}],
        ),
    ],
)
Transport = TypeAliasType(
    "Transport",
    Annotated[
        Literal["streamable_http", "stdio"],
        Field(
            description="`streamable_http` is a server at a URL; `stdio` is a command that the gateway's host runs."
        ),
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
Requestable = TypeAliasType(
    "Requestable",
    Annotated[
        StrictBool,
        Field(
            description="Whether everybody who can sign in sees the server and its tools by their names, and may ask "
            "for access to it. The members of its `owner_group_id` then decide such requests.",
        ),
    ],
)
SyncState = TypeAliasType(
    "SyncState",
    Annotated[
        Literal["never", "running", "ok", "error"],
        Field(description="How the last sync went; `running`: one that was asked for has not ended."),
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
    Literal["ended"] | None, Field(description="`ended`: those that have ended too; needs `audit.read`.")
]


def instructions_state(row: Server) -> InstructionsState:
    """Whether what the server says of its use is what was approved."""
    if row.instructions is None:
        return "none"
    return "approved" if row.instructions == row.approved_instructions else "pending"


class SyncView(Strict):
    """How reading the server's tools went, the last time it was tried."""

    model_config = ConfigDict(extra="forbid", title="ServerSync")

    state: SyncState
    at: datetime | None = Field(description="When the last attempt that has ended began.")
    error: str | None = Field(
        examples=["connection refused"],
        description="Why it failed; with state `ok`, which tools were left out for being malformed.",
    )
    protocol_versions: list[str] = Field(
        examples=[["2025-11-25"]],
        description="MCP versions it spoke when a sync last went well, newest first.",
    )


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
        """The answer for a row; ``credential`` is the one that belongs to no identity."""
        sync = SyncView(
            state="running" if row.sync_started_at is not None else row.sync_state,  # type: ignore[arg-type]
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
    """The instructions of a server. Clients get only the approved text."""

    server_id: ServerId
    state: InstructionsState
    approved: str | None = Field(description="The text that clients get.", examples=["Ask before you write."])
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
            ],
            "allOf": [
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
        },
    )

    slug: Slug = Field(description="Stands in `/mcp/{slug}` and before tool names; never changes.")
    name: Name | None = Field(default=None, description="The slug when absent.")
    description: LongText | None = None
    labels: Labels = Field(default_factory=dict)
    owner_group_id: GroupId | None = None
    transport: Transport = "streamable_http"
    url: Url | None = Field(default=None, description="The streamable HTTP endpoint.")
    command: Command | None = Field(
        default=None,
        description="The program of a `stdio` server, by its absolute path. The operator says which may run.",
        examples=["/opt/mcp/bin/mcp-server-git"],
    )
    args: Arguments | None = Field(
        default=None,
        description="Its arguments. Do not put a secret here: process lists of the host show them.",
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
    keep_arguments: KeepArguments = "approvals"
    requestable: Requestable = False


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
    requestable: Requestable = absent()


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
    transport: list[Transport] = Field(default_factory=list)
    sync_state: list[SyncState] = Field(default_factory=list)
    slug: list[Slug] = Field(default_factory=list)
    owner_group_id: list[GroupId] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in slug, name or description.")
    include: IncludeEnded = None
    sort: ServerOrder = Field(default="-created_at", description="What the list is sorted by.")
