"""Request and response models of audit events, their counts, checkpoints and proofs."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator
from typing_extensions import TypeAliasType

from app.http.pagination import DEFAULT_LIMIT, MAXIMUM_LIMIT
from app.http.schemas import ShortText, Strict, Time
from app.lib import ids

MAX_RANGE = timedelta(days=31)
AuditDecision = TypeAliasType(
    "AuditDecision",
    Annotated[
        Literal["allow", "deny", "require_approval"],
        Field(description="The decision about a call before it ran."),
    ],
)
AuditOutcome = TypeAliasType(
    "AuditOutcome",
    Annotated[
        Literal["in_flight", "success", "error", "denied", "cancelled", "not_forwarded", "unknown"],
        Field(description="The outcome. `unknown`: the service stopped while the call ran."),
    ],
)
AuditExportFormat = TypeAliasType(
    "AuditExportFormat",
    Annotated[Literal["ndjson", "csv", "ocsf", "leaves"], Field(description="The format of the file.")],
)
AuditChanges = TypeAliasType(
    "AuditChanges",
    Annotated[
        dict[str, Any],
        Field(
            description="What changed: field by field for objects, in numbers and ids for larger changes.",
            examples=[{"name": {"from": "Git", "to": "Git (old)"}}],
        ),
    ],
)

# The prefix of an id by the object type in an event.
PREFIXES = {
    "administrator": ids.ADMINISTRATOR,
    "approval": ids.APPROVAL,
    "audit_event": ids.EVENT,
    "audit_sink": ids.AUDIT_SINK,
    "break_glass": ids.KEY,
    "grant": ids.GRANT,
    "group": ids.GROUP,
    "identity": ids.IDENTITY,
    "identity_provider": ids.IDENTITY_PROVIDER,
    "policy": ids.POLICY,
    "server": ids.SERVER,
    "invitation": ids.INVITATION,
    "service_account": ids.SERVICE_ACCOUNT,
    "token": ids.TOKEN,
    "tool": ids.TOOL,
}
_ACTORS = ("administrator", "break_glass", "identity", "service_account")


def show_id(kind: str | None, id: UUID | None) -> str | None:
    """The TypeID of an object of this type; a plain UUID if the API has no ids for the type."""
    if id is None:
        return None
    prefix = PREFIXES.get(kind or "")
    return str(id) if prefix is None else ids.format_id(prefix, id)


def _any_of(*kinds: str) -> tuple[BeforeValidator, WithJsonSchema]:
    prefixes = [PREFIXES[kind] for kind in kinds]

    def read(value: object) -> UUID:
        if isinstance(value, UUID):
            return value
        prefix = str(value).partition("_")[0]
        if prefix not in prefixes:
            raise ValueError("expected an id that starts with " + ", ".join(f"{one}_" for one in prefixes))
        return ids.parse_id(prefix, str(value))

    pattern = f"^({'|'.join(dict.fromkeys(prefixes))})_[0-7][0-9a-hjkmnp-tv-z]{{25}}$"
    return BeforeValidator(read), WithJsonSchema({"type": "string", "pattern": pattern})


ActorId = Annotated[UUID, *_any_of(*_ACTORS)]
ObjectId = Annotated[UUID, *_any_of(*PREFIXES)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

_MAX_MS = 2**31 - 1
_INDEXED = ("id", "token_id", "actor_id", "actor_name", "server_id", "server_slug", "request_id")


class _Span(Strict):
    """A span of time, open at either end."""

    since: Time | None = None
    until: Time | None = None

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since must be before until")
        return self


class AuditFilters(_Span):
    """Filters of the audit log; each can be repeated, and then any of its values matches.

    ``id``, ``token_id``, ``actor_id``, ``actor_name``, ``server_id``, ``server_slug``, ``request_id`` and decisions
    other than allow are indexed. In lists, other filters need one of these, or ``since``/``until`` of at most 31 days.
    """

    since: Time | None = Field(default=None, description="Only events at this time or later.")
    until: Time | None = Field(default=None, description="Only events before this time.")
    id: list[ids.EventId] = Field(default_factory=list)
    action: list[ShortText] = Field(default_factory=list)
    decision: list[AuditDecision] = Field(default_factory=list)
    reason_code: list[ShortText] = Field(default_factory=list)
    outcome: list[AuditOutcome] = Field(default_factory=list, description="Needs `since`.")
    actor_id: list[ActorId] = Field(default_factory=list)
    actor_type: list[ShortText] = Field(default_factory=list)
    actor_name: list[ShortText] = Field(
        default_factory=list, description="The full name of `actor`, case-insensitive."
    )
    on_behalf_of: list[ids.IdentityId] = Field(default_factory=list)
    token_id: list[ids.TokenId] = Field(default_factory=list)
    server_id: list[ids.ServerId] = Field(default_factory=list)
    server_slug: list[ShortText] = Field(default_factory=list)
    tool: list[ShortText] = Field(default_factory=list)
    object_id: list[ObjectId] = Field(default_factory=list)
    policy_id: list[ids.PolicyId] = Field(default_factory=list, description="Policies that decided.")
    observed_policy_id: list[ids.PolicyId] = Field(
        default_factory=list,
        description="Policies in the mode `observe` that would have changed the decision.",
    )
    client_ip: list[ShortText] = Field(default_factory=list)
    client_name: list[ShortText] = Field(default_factory=list)
    client_version: list[ShortText] = Field(default_factory=list)
    client_user_agent: list[ShortText] = Field(default_factory=list)
    arguments_digest: list[Digest] = Field(default_factory=list)
    changes: list[ShortText] = Field(
        default_factory=list,
        description="Names of changed fields; `changes` has one of them.",
        examples=[["labels"]],
    )
    duration_ms_min: int | None = Field(
        default=None, ge=0, le=_MAX_MS, description="Minimum in milliseconds. Needs `since`."
    )
    duration_ms_max: int | None = Field(
        default=None, ge=0, le=_MAX_MS, description="Maximum in milliseconds. Needs `since`."
    )
    request_id: list[ShortText] = Field(default_factory=list)
    trace_id: list[ShortText] = Field(default_factory=list)
    q: Annotated[ShortText, StringConstraints(min_length=1)] | None = Field(
        default=None, description="Text in the names of identities, service accounts and servers."
    )

    def filters(self) -> dict[str, Any]:
        """The active filters, to bind cursors to."""
        return self.model_dump(include=set(AuditFilters.model_fields))

    @property
    def reads_results(self) -> bool:
        """Whether a call's result is needed to tell if the call matches."""
        return bool(self.outcome) or self.duration_ms_min is not None or self.duration_ms_max is not None

    @property
    def narrows_refused(self) -> bool:
        """Whether the filter for refused events, which has an index, is combined with another indexed field."""
        refused = bool(self.decision) and "allow" not in self.decision
        about = self.actor_id or self.token_id or self.server_id
        return refused and bool(about) and not (self.id or self.request_id or self.q)

    @property
    def is_walked(self) -> bool:
        """Whether the search reads the log event by event: no index other than the commit order narrows it."""
        given = {name for name, value in self.filters().items() if value not in (None, [])} - {
            "since",
            "until",
        }
        refused = bool(self.decision) and "allow" not in self.decision
        return bool(given) and given.isdisjoint(_INDEXED) and not refused


class AuditQuery(AuditFilters):
    """A list of audit events: by pages from the newest, or polled."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAXIMUM_LIMIT, description="Items a page.")
    cursor: str | None = Field(
        default=None, max_length=2000, description="`next_cursor` of the previous page."
    )
    after: str | None = Field(
        default=None,
        max_length=2000,
        description="Polls in commit order and never skips an event: empty at first, then the `next_cursor` "
        "of the previous response, which is never null and stays the same while there is nothing "
        "new.",
    )

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        if self.cursor is not None and self.after is not None:
            raise ValueError("give cursor or after, not both")
        return self


class AuditStreamQuery(AuditFilters):
    """A live stream of the audit log."""

    after: str | None = Field(
        default=None,
        max_length=2000,
        description="Where to continue: the `id` of the last received event, or a `next_cursor` of a poll "
        "with the same filters; empty for everything from the beginning. By default, the stream "
        "begins now. The header `Last-Event-ID` takes precedence.",
    )


class AuditExportQuery(AuditFilters):
    """An export of the audit log."""

    format: AuditExportFormat = Field(
        default="ndjson",
        description="`ndjson`: one event per line. `csv`: a table. `ocsf`: one OCSF 1.9 event per line. "
        "`leaves`: the sealed content of each event, one per line, in log order, to verify with "
        "checkpoints; only with `from` and `to`, since filtered leaves prove nothing.",
    )
    first: int | None = Field(
        default=None, alias="from", ge=0, le=2**63 - 1, description="For `leaves`, the first position."
    )
    end: int | None = Field(
        default=None,
        alias="to",
        ge=1,
        le=2**63 - 1,
        description="For `leaves`, the position after the last one, such as the `tree_size` of a checkpoint.",
    )

    @model_validator(mode="after")
    def _leaves_as_they_are(self) -> Self:
        if self.format != "leaves" and (self.first is not None or self.end is not None):
            raise ValueError("from and to are for format=leaves; give since and until")
        if self.format == "leaves" and any(value not in (None, []) for value in self.filters().values()):
            raise ValueError("leaves are exported only by from and to: filtered leaves prove nothing")
        return self


class Actor(Strict):
    """The actor. ``id`` is None for the system, the gateway and unknown callers."""

    model_config = ConfigDict(extra="forbid", title="AuditActor")

    type: str = Field(
        description="`administrator`, `service_account`, `identity`, `break_glass`, `system`, `gateway` or `unknown`.",
        examples=["service_account"],
    )
    id: str | None = Field(
        description="Its id; null for the system, the gateway and unknown callers.",
        examples=["sa_01jdpnwz00e008000000000000"],
    )
    name: str | None = Field(description="Its current name.", examples=["deploy pipeline"])


class AuditedServer(Strict):
    """The server of the request."""

    id: ids.ServerId
    slug: str | None = Field(description="Its slug now.", examples=["git"])


class AuditedObject(Strict):
    """The changed object."""

    type: str = Field(description="The type of object.", examples=["token"])
    id: str | None = Field(description="Its id.", examples=["tok_01jdpnwz00e008000000000000"])


class AuditedClient(Strict):
    """The client program, as it described itself, and its address."""

    name: str | None = Field(description="The name that it sent.", examples=["claude-code"])
    version: str | None = Field(description="The version that it sent.", examples=["2.1.0"])
    ip: str | None = Field(description="The client address.", examples=["203.0.113.7"])
    user_agent: str | None = Field(description="Its `User-Agent`.", examples=["claude-code/2.1.0"])


KeptArguments = TypeAliasType(
    "KeptArguments",
    Annotated[
        dict[str, Any],
        Field(description="The arguments, by name.", examples=[{"amount": 250, "account": "4711"}]),
    ],
)


class AuditArgumentsView(Strict):
    """The arguments of a call."""

    model_config = ConfigDict(extra="forbid", title="AuditArguments")

    event_id: ids.EventId
    kept: bool = Field(
        description="Whether they are recorded. They are not if the server's `keep_arguments` excluded this "
        "call, or their retention is over."
    )
    arguments: KeptArguments | None = Field(description="Null when they are not kept.")


class AuditEventView(Strict):
    """An audit event: actor, action, decision and outcome. Only the outcome of a call is added later."""

    id: ids.EventId
    time: datetime = Field(description="When it happened.")
    action: str = Field(
        description="The action, such as `tool.call` or `token.issue`.", examples=["tool.call"]
    )
    decision: AuditDecision | None = Field(description="The decision, for calls.")
    reason_code: str | None = Field(description="The reason for the decision.", examples=["granted"])
    outcome: AuditOutcome | None = Field(description="The outcome, as far as known.")
    actor: Actor
    on_behalf_of: ids.IdentityId | None = Field(description="The owner of the agent or program.")
    token_id: ids.TokenId | None = Field(description="The token that was used.")
    server: AuditedServer | None = Field(description="The server that was called.")
    tool: str | None = Field(description="The tool, by its name on the server.", examples=["git_log"])
    object: AuditedObject | None = Field(description="The object that was changed.")
    grant_id: ids.GrantId | None = Field(description="The grant that allowed the call.")
    policy_ids: list[ids.PolicyId] | None = Field(description="The policies that decided.")
    observed_policy_ids: list[ids.PolicyId] | None = Field(
        description="Policies in the mode `observe` that would have changed the decision."
    )
    approval_id: ids.ApprovalId | None = Field(description="The approval that the call used or waits for.")
    client: AuditedClient | None = Field(description="The client program.")
    method: str | None = Field(
        description="The MCP method, or the method and route at this API.", examples=["tools/call"]
    )
    arguments_digest: str | None = Field(
        description="HMAC-SHA256 of the canonical arguments, in hex.",
        examples=["9f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d081"],
    )
    changes: AuditChanges | None = Field(description="What changed.")
    duration_ms: int | None = Field(description="How long the call took, in milliseconds.")
    count: int | None = Field(description="Number of refusals that this event summarizes.")
    call_id: ids.EventId | None = Field(description="For `tool.result`: the call with this outcome.")
    request_id: str | None = Field(
        description="The id of the request, as in `X-Request-ID`.",
        examples=["req_01936d5e7c0070008000000000000000"],
    )
    trace_id: str | None = Field(
        description="Its trace id (W3C Trace Context).", examples=["0af7651916cd43dd8448eb211c80319c"]
    )


class AuditStatsQuery(_Span):
    """The span of counted events: whole hours, at most 31 days."""

    since: Time | None = Field(
        default=None, description="Counts from the hour of this time; by default the last 24 hours."
    )
    until: Time | None = Field(
        default=None,
        description="Counts to the end of the hour before this time, or of its hour; by default now.",
    )
    action: list[ShortText] = Field(default_factory=list)
    decision: list[AuditDecision] = Field(default_factory=list)


class AuditCounts(Strict):
    """Counts of audit events."""

    events: int = Field(description="Number of events in a list.", examples=[1204])
    count: int = Field(
        description="Number of requests and changes. It is larger when one event summarizes many refusals.",
        examples=[1311],
    )
    allow: int = Field(description="Number of allowed requests.", examples=[1180])
    deny: int = Field(description="Number of denied requests.", examples=[119])
    require_approval: int = Field(description="Number of requests that needed an approval.", examples=[12])


class AuditHourCounts(AuditCounts):
    """Counts of one hour."""

    hour: datetime = Field(description="Start of the hour.")


class AuditStatsView(Strict):
    """Hourly counts. Outcomes of calls count as part of their call."""

    since: datetime = Field(description="Start of the first hour.")
    until: datetime = Field(description="End of the last hour.")
    hours: list[AuditHourCounts] = Field(
        description="Every hour in the span, in order, including empty ones."
    )
    total: AuditCounts
    is_complete: bool = Field(
        description="False while older events are still being counted, such as after an upgrade."
    )


_ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
_NOTE = (
    "gateway.example.com/audit\n8\nXcnaeacGWamtVZy3Ad7Zoqudgjqi9JYM/jcO/0YEMyg=\n\n"
    "— gateway.example.com/audit AJ3g9c0xm...\n"
)

TreeHash = TypeAliasType(
    "TreeHash",
    Annotated[
        str,
        StringConstraints(pattern="^[0-9a-f]{64}$"),
        Field(description="A hash of the log's tree (RFC 9162 section 2.1), in hex.", examples=[_ROOT]),
    ],
)
CheckpointNote = TypeAliasType(
    "CheckpointNote",
    Annotated[
        str,
        Field(
            description="The signed note of a checkpoint, in the format of C2SP's tlog-checkpoint.",
            examples=[_NOTE],
        ),
    ],
)


class AuditCheckpointView(Strict):
    """A signed root over all events sealed so far. Keep some checkpoints where no insider can change them."""

    model_config = ConfigDict(extra="forbid", title="AuditCheckpoint")

    tree_size: int = Field(
        description="Number of events that it seals: those at lower positions.", examples=[8]
    )
    epoch: int = Field(description="The epoch of the last of them.", examples=[1])
    root_hash: TreeHash
    note: CheckpointNote
    created_at: datetime = Field(description="When it was signed.")


class AuditLogKey(Strict):
    """A public key for checkpoint signatures."""

    vkey: str = Field(
        description="The key in the format of C2SP's signed-note: log name, key id, and key.",
        examples=["gateway.example.com/audit+4e7a9c21+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6"],
    )
    signs: bool = Field(description="Whether it signs new checkpoints; the others only verify older ones.")


class AuditLogKeys(Strict):
    """The name of the log in its checkpoints, and its keys."""

    origin: str = Field(description="The name of the log.", examples=["gateway.example.com/audit"])
    items: list[AuditLogKey] = Field(description="Its keys, newest first.")


class AuditConsistencyProof(Strict):
    """A proof that a log extends an older one (RFC 9162 section 2.1.4)."""

    old_size: int = Field(description="Number of events of the older log.", examples=[6])
    tree_size: int = Field(description="Number of events of the log.", examples=[8])
    checkpoint: CheckpointNote
    hashes: list[TreeHash] = Field(description="The proof, from the leaves up.")


class AuditRangeProof(Strict):
    """The hashes that connect the leaves of a range to the root of a checkpoint, left to right.

    Saved as a file, it is the input of `scopegate audit verify --proof` for exported leaves.
    """

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    first: int = Field(alias="from", description="The position of the first leaf.", examples=[2])
    end: int = Field(alias="to", description="The position after that of the last leaf.", examples=[6])
    checkpoint: CheckpointNote
    hashes: list[TreeHash] = Field(description="The proof, left to right.")


class AuditEventProof(Strict):
    """A proof that the log of a checkpoint contains an event (RFC 9162 section 2.1.3).

    Saved as a file, it is the input of `scopegate audit verify --proof`.
    """

    event_id: ids.EventId
    position: int = Field(description="The position of the event in the log, from 0.", examples=[5])
    leaf: str = Field(
        description="The sealed content: the stored row as one line of JSON, whose bytes are hashed.",
        examples=[
            '{"action":"token.issue","epoch":1,"id":"01936d5e-7c00-7000-8000-000000000000","seq":6,"xact":812}'
        ],
    )
    leaf_hash: TreeHash
    tree_size: int = Field(description="Number of events that the checkpoint seals.", examples=[8])
    checkpoint: CheckpointNote
    hashes: list[TreeHash] = Field(description="The proof, from the leaf up.")
