"""Query and answer models of audit events.

Query and answer models of the counts of audit events.

Answer models of checkpoints of the sealed log, and of proofs.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator
from typing_extensions import TypeAliasType

from app.http.pagination import DEFAULT_LIMIT, MAXIMUM_LIMIT
from app.http.schemas import ShortText, Strict, Time
from app.lib import ids
from app.lib.ids import (
    ApprovalId,
    EventId,
    GrantId,
    IdentityId,
    PolicyId,
    ServerId,
    TokenId,
    format_id,
    parse_id,
)

WIDEST_RANGE = timedelta(days=31)
AuditDecision = TypeAliasType(
    "AuditDecision",
    Annotated[
        Literal["allow", "deny", "require_approval"],
        Field(description="What was decided about a call before it ran."),
    ],
)
AuditOutcome = TypeAliasType(
    "AuditOutcome",
    Annotated[
        Literal["in_flight", "success", "error", "denied", "cancelled", "not_forwarded", "unknown"],
        Field(description="What became of it. `unknown`: the service stopped while the call ran."),
    ],
)
AuditExportFormat = TypeAliasType(
    "AuditExportFormat",
    Annotated[Literal["ndjson", "csv", "ocsf", "leaves"], Field(description="How the events are written.")],
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


# The prefix of an id by the type that stands beside it in an event.
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
    """The TypeID of an object of this type; a plain UUID where the type has no ids of its own at the API."""
    if id is None:
        return None
    prefix = PREFIXES.get(kind or "")
    return str(id) if prefix is None else format_id(prefix, id)


def _any_of(*kinds: str) -> tuple[BeforeValidator, WithJsonSchema]:
    prefixes = [PREFIXES[kind] for kind in kinds]

    def read(value: object) -> UUID:
        if isinstance(value, UUID):
            return value
        prefix = str(value).partition("_")[0]
        if prefix not in prefixes:
            raise ValueError("expected an id that starts with " + ", ".join(f"{one}_" for one in prefixes))
        return parse_id(prefix, str(value))

    pattern = f"^({'|'.join(dict.fromkeys(prefixes))})_[0-7][0-9a-hjkmnp-tv-z]{{25}}$"
    return BeforeValidator(read), WithJsonSchema({"type": "string", "pattern": pattern})


ActorId = Annotated[UUID, *_any_of(*_ACTORS)]
ObjectId = Annotated[UUID, *_any_of(*PREFIXES)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


_LONGEST_MS = 2**31 - 1
_INDEXED = ("id", "token_id", "actor_id", "actor_name", "server_id", "server_slug", "request_id")


class AuditFilters(Strict):
    """Filters of the audit trail; each may be repeated, and then any of its values matches.

    ``id``, ``token_id``, ``actor_id``, ``actor_name``, ``server_id``, ``server_slug``, ``request_id`` and what was not
    allowed are indexed. In lists, other filters work beside one of these or within ``since``/``until`` of at most 31
    days.
    """

    since: Time | None = Field(default=None, description="Only events at this time or later.")
    until: Time | None = Field(default=None, description="Only events before this time.")
    id: list[EventId] = Field(default_factory=list)
    action: list[ShortText] = Field(default_factory=list)
    decision: list[AuditDecision] = Field(default_factory=list)
    reason_code: list[ShortText] = Field(default_factory=list)
    outcome: list[AuditOutcome] = Field(default_factory=list, description="Needs `since`.")
    actor_id: list[ActorId] = Field(default_factory=list)
    actor_type: list[ShortText] = Field(default_factory=list)
    actor_name: list[ShortText] = Field(
        default_factory=list, description="The whole name that `actor` shows, in upper or lower case."
    )
    on_behalf_of: list[IdentityId] = Field(default_factory=list)
    token_id: list[TokenId] = Field(default_factory=list)
    server_id: list[ServerId] = Field(default_factory=list)
    server_slug: list[ShortText] = Field(default_factory=list)
    tool: list[ShortText] = Field(default_factory=list)
    object_id: list[ObjectId] = Field(default_factory=list)
    policy_id: list[PolicyId] = Field(default_factory=list, description="Policies that decided.")
    observed_policy_id: list[PolicyId] = Field(
        default_factory=list,
        description="Policies in the mode `observe` that would have decided otherwise.",
    )
    client_ip: list[ShortText] = Field(default_factory=list)
    client_name: list[ShortText] = Field(default_factory=list)
    client_version: list[ShortText] = Field(default_factory=list)
    client_user_agent: list[ShortText] = Field(default_factory=list)
    arguments_digest: list[Digest] = Field(default_factory=list)
    changes: list[ShortText] = Field(
        default_factory=list,
        description="Names of fields, one of which `changes` has.",
        examples=[["labels"]],
    )
    duration_ms_min: int | None = Field(
        default=None, ge=0, le=_LONGEST_MS, description="So many milliseconds or more. Needs `since`."
    )
    duration_ms_max: int | None = Field(
        default=None, ge=0, le=_LONGEST_MS, description="So many milliseconds or fewer. Needs `since`."
    )
    request_id: list[ShortText] = Field(default_factory=list)
    trace_id: list[ShortText] = Field(default_factory=list)
    q: Annotated[ShortText, StringConstraints(min_length=1)] | None = Field(
        default=None, description="Text in the names of identities, service accounts and servers."
    )

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since must be before until")
        return self

    def filters(self) -> dict[str, Any]:
        """What narrows the list, to bind cursors to."""
        return self.model_dump(include=set(AuditFilters.model_fields))

    @property
    def reads_results(self) -> bool:
        """Whether it takes the result of a call to tell if the call matches."""
        return bool(self.outcome) or self.duration_ms_min is not None or self.duration_ms_max is not None

    @property
    def is_indexed(self) -> bool:
        """Whether an index other than the order narrows the search."""
        refused = bool(self.decision) and "allow" not in self.decision
        return refused or any(getattr(self, name) for name in _INDEXED)

    @property
    def narrows_refused(self) -> bool:
        """Whether of what was refused, which has an index, it is about something that has one of its own."""
        refused = bool(self.decision) and "allow" not in self.decision
        about = self.actor_id or self.token_id or self.server_id
        return refused and bool(about) and not (self.id or self.request_id or self.q)

    @property
    def needs_range(self) -> bool:
        """Whether a filter is used that no index serves."""
        unserved = set(self.filters()) - {"since", "until", *_INDEXED}
        return any(getattr(self, name) not in (None, []) for name in unserved)

    @property
    def is_walked(self) -> bool:
        """Whether the log is gone through, event by event, for what matches."""
        return self.needs_range and not self.is_indexed


class AuditQuery(AuditFilters):
    """A list of the audit trail: by pages from the newest, or polled."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAXIMUM_LIMIT, description="Items a page.")
    cursor: str | None = Field(default=None, max_length=2000, description="`next_cursor` of the page before.")
    after: str | None = Field(
        default=None,
        max_length=2000,
        description="Polls in the order of commits and never skips an event: empty to begin, then the `next_cursor`"
        " of the answer before, which is never null and stays the same while there is nothing new.",
    )

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        if self.cursor is not None and self.after is not None:
            raise ValueError("give cursor or after, not both")
        return self


class AuditStreamQuery(AuditFilters):
    """A live stream of the audit trail."""

    after: str | None = Field(
        default=None,
        max_length=2000,
        description="Where to go on: the `id` of the last event that was received, or a `next_cursor` of a poll with"
        " the same filters; empty for everything from the beginning. Without it, the stream begins now. The header"
        " `Last-Event-ID` counts before it.",
    )


class AuditExportQuery(AuditFilters):
    """An export of the audit trail."""

    format: AuditExportFormat = Field(
        default="ndjson",
        description="`ndjson`: one event a line. `csv`: a table. `ocsf`: one event a line, as OCSF 1.9 says it. "
        "`leaves`: what was sealed of each event, a line each, in the order of the log, to be held against its "
        "checkpoints; by `from` and `to` alone, since what is filtered proves nothing.",
    )
    first: int | None = Field(
        default=None, alias="from", ge=0, le=2**63 - 1, description="Of `leaves`, the first position."
    )
    end: int | None = Field(
        default=None,
        alias="to",
        ge=1,
        le=2**63 - 1,
        description="Of `leaves`, the position after the last one, as the `tree_size` of a checkpoint.",
    )

    @model_validator(mode="after")
    def _leaves_as_they_are(self) -> Self:
        if self.format != "leaves" and (self.first is not None or self.end is not None):
            raise ValueError("from and to are for format=leaves; give since and until")
        if self.format == "leaves" and any(value not in (None, []) for value in self.filters().values()):
            raise ValueError("leaves are exported by from and to alone: what is filtered proves nothing")
        return self


class Actor(Strict):
    """Who did it. ``id`` is None for the system, the gateway and unknown callers."""

    model_config = ConfigDict(extra="forbid", title="AuditActor")

    type: str = Field(
        description="`administrator`, `service_account`, `identity`, `break_glass`, `system`, `gateway` or `unknown`.",
        examples=["service_account"],
    )
    id: str | None = Field(
        description="Its id; null for the system, the gateway and unknown callers.",
        examples=["sa_01jdpnwz00e008000000000000"],
    )
    name: str | None = Field(description="The name that it has now.", examples=["deploy pipeline"])


class AuditedServer(Strict):
    """The server that was asked for."""

    id: ServerId
    slug: str | None = Field(description="Its slug now.", examples=["git"])


class AuditedObject(Strict):
    """What was changed."""

    type: str = Field(description="What kind of object it is.", examples=["token"])
    id: str | None = Field(description="Its id.", examples=["tok_01jdpnwz00e008000000000000"])


class AuditedClient(Strict):
    """The program that called, as it described itself, and where from."""

    name: str | None = Field(description="The name that it gave.", examples=["claude-code"])
    version: str | None = Field(description="The version that it gave.", examples=["2.1.0"])
    ip: str | None = Field(description="The address that it called from.", examples=["203.0.113.7"])
    user_agent: str | None = Field(description="Its `User-Agent`.", examples=["claude-code/2.1.0"])


KeptArguments = TypeAliasType(
    "KeptArguments",
    Annotated[
        dict[str, Any],
        Field(description="The arguments, by name.", examples=[{"amount": 250, "account": "4711"}]),
    ],
)


class AuditArgumentsView(Strict):
    """The arguments that a call came with."""

    model_config = ConfigDict(extra="forbid", title="AuditArguments")

    event_id: EventId
    kept: bool = Field(
        description="Whether they are on record. They are not when the server's `keep_arguments` left this call out, "
        "or their retention is over."
    )
    arguments: KeptArguments | None = Field(description="None when they are not kept.")


class AuditEventView(Strict):
    """Who did what, when, and what was decided. Never changes once written, but for a call's outcome."""

    id: EventId
    time: datetime = Field(description="When it happened.")
    action: str = Field(description="What was done, as `tool.call` or `token.issue`.", examples=["tool.call"])
    decision: AuditDecision | None = Field(description="What was decided, of calls.")
    reason_code: str | None = Field(description="Why it was decided so.", examples=["granted"])
    outcome: AuditOutcome | None = Field(description="What became of it, as far as is known.")
    actor: Actor
    on_behalf_of: IdentityId | None = Field(
        description="The person who answers for the agent or program that did it."
    )
    token_id: TokenId | None = Field(description="The scoped token that was used.")
    server: AuditedServer | None = Field(description="The server that was called.")
    tool: str | None = Field(description="The tool, under its name on the server.", examples=["git_log"])
    object: AuditedObject | None = Field(description="The object that was changed.")
    grant_id: GrantId | None = Field(description="The grant that allowed the call.")
    policy_ids: list[PolicyId] | None = Field(description="The policies that decided.")
    observed_policy_ids: list[PolicyId] | None = Field(
        description="Policies in the mode `observe` that would have decided otherwise."
    )
    approval_id: ApprovalId | None = Field(
        description="The approval that let the call through, or that it waits for."
    )
    client: AuditedClient | None = Field(description="The program that called.")
    method: str | None = Field(
        description="The MCP method, or the method and route at this API.", examples=["tools/call"]
    )
    arguments_digest: str | None = Field(
        description="HMAC-SHA256 of the canonical arguments, in hex.",
        examples=["9f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d081"],
    )
    changes: AuditChanges | None = Field(description="What changed.")
    duration_ms: int | None = Field(description="How long the call took, in milliseconds.")
    count: int | None = Field(description="How many refusals this event stands for.")
    call_id: EventId | None = Field(description="On `tool.result`: the call that it is the outcome of.")
    request_id: str | None = Field(
        description="The id of the request, as in `X-Request-ID`.",
        examples=["req_01936d5e7c0070008000000000000000"],
    )
    trace_id: str | None = Field(
        description="The trace that it belongs to (W3C Trace Context).",
        examples=["0af7651916cd43dd8448eb211c80319c"],
    )


class AuditStatsQuery(Strict):
    """Which events are counted: whole hours, of at most 31 days."""

    since: Time | None = Field(
        default=None, description="Counts from the hour that this is in; by default the last 24 hours."
    )
    until: Time | None = Field(
        default=None,
        description="Counts to the end of the hour before this time, or that it is in; by default now.",
    )
    action: list[ShortText] = Field(default_factory=list)
    decision: list[AuditDecision] = Field(default_factory=list)

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since must be before until")
        return self


class AuditCounts(Strict):
    """How many events there are, and what they stand for."""

    events: int = Field(description="How many events a list shows.", examples=[1204])
    count: int = Field(
        description="How many things they tell of. It is more where one event stands for many refusals.",
        examples=[1311],
    )
    allow: int = Field(description="How many of these things were allowed.", examples=[1180])
    deny: int = Field(description="How many were denied.", examples=[119])
    require_approval: int = Field(description="How many had to be approved first.", examples=[12])


class AuditHourCounts(AuditCounts):
    """The same of one hour."""

    hour: datetime = Field(description="When the hour begins.")


class AuditStatsView(Strict):
    """Count audit events by hour. Outcomes of calls count as part of their call."""

    since: datetime = Field(description="When the first hour begins.")
    until: datetime = Field(description="When the last hour ends.")
    hours: list[AuditHourCounts] = Field(
        description="Every hour from then to then, in order, empty ones too."
    )
    total: AuditCounts
    is_complete: bool = Field(
        description="False while events that were recorded some time ago are still being counted, as after an upgrade."
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
            description="The signed note of a checkpoint, as C2SP's tlog-checkpoint has it.", examples=[_NOTE]
        ),
    ],
)


class AuditCheckpointView(Strict):
    """A signed root over all events that were sealed by then. Keep some where no insider can change them."""

    model_config = ConfigDict(extra="forbid", title="AuditCheckpoint")

    tree_size: int = Field(description="How many events it seals: those at positions below it.", examples=[8])
    epoch: int = Field(description="The epoch of the log that the last of them is of.", examples=[1])
    root_hash: TreeHash
    note: CheckpointNote
    created_at: datetime = Field(description="When it was signed.")


class AuditLogKey(Strict):
    """A public key to check signatures of checkpoints with."""

    vkey: str = Field(
        description="The key as C2SP's signed-note has it: the log's name, the key's id, and the key.",
        examples=["gateway.example.com/audit+4e7a9c21+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6"],
    )
    signs: bool = Field(
        description="Whether it is the one that signs now; others check what they once signed."
    )


class AuditLogKeys(Strict):
    """The name of the log in its checkpoints, and its keys."""

    origin: str = Field(description="What the log is called.", examples=["gateway.example.com/audit"])
    items: list[AuditLogKey] = Field(description="Its keys, newest first.")


class AuditConsistencyProof(Strict):
    """That a log begins with what it was (RFC 9162 section 2.1.4)."""

    old_size: int = Field(description="How many events it had.", examples=[6])
    tree_size: int = Field(description="How many it has.", examples=[8])
    checkpoint: CheckpointNote
    hashes: list[TreeHash] = Field(description="The proof, from the leaves up.")


class AuditRangeProof(Strict):
    """What leads from the leaves of a range to the root of a checkpoint: the hashes beside it, left to right.

    As a file it is what `scopegate audit verify --proof` takes for exported leaves.
    """

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    first: int = Field(alias="from", description="The position of the first leaf.", examples=[2])
    end: int = Field(alias="to", description="The position after that of the last leaf.", examples=[6])
    checkpoint: CheckpointNote
    hashes: list[TreeHash] = Field(description="The proof, left to right.")


class AuditEventProof(Strict):
    """That the log of a checkpoint has an event (RFC 9162 section 2.1.3).

    As a file it is what `scopegate audit verify --proof` takes.
    """

    event_id: EventId
    position: int = Field(description="Where the event is in the log, from 0.", examples=[5])
    leaf: str = Field(
        description="What was sealed of it: the stored row as one line of JSON, whose bytes are hashed.",
        examples=[
            '{"action":"token.issue","epoch":1,"id":"01936d5e-7c00-7000-8000-000000000000","seq":6,"xact":812}'
        ],
    )
    leaf_hash: TreeHash
    tree_size: int = Field(description="How many events the checkpoint seals.", examples=[8])
    checkpoint: CheckpointNote
    hashes: list[TreeHash] = Field(description="The proof, from the leaf up.")
