"""Tables of the audit log, its sealing and its sinks.

Append-only except for leases; the log itself has no foreign keys (ADR 4).
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import UUID as PgUuid
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from app.lib import strict_json
from app.models.base import ObjectRow, now_by_default, sql_default

_MAX_DEPTH = 64
"""Levels that are read; events of the service have only a few."""


class Changes(TypeDecorator[dict[str, Any]]):
    """A JSON object in a column.

    A role that can insert into the audit log can store JSON that the parser rejects, such as deep nesting or very long
    numbers. To keep the other rows of a page readable, it is read as an empty object. The event's leaf has all of it.
    """

    impl = JSONB(none_as_null=True)
    cache_ok = True

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        # Read as text, since the driver's own JSON parser would fail for the whole page.
        return sa.type_coerce(sa.cast(column, sa.Text), self)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> dict[str, Any] | None:
        if value is None:
            return None
        try:
            content = strict_json.loads(value.encode(), max_depth=_MAX_DEPTH)
        except strict_json.StrictJsonError:
            return {}
        return content if isinstance(content, dict) else {}


class AuditEvent(SQLModel, table=True):
    """An immutable audit event. (epoch, xact, seq) is its position in the order of commits; the id is only a name."""

    __tablename__ = "audit_events"
    __table_args__ = (
        sa.Index("ix_audit_events_order", "epoch", "xact", "seq"),
        sa.Index("ix_audit_events_call_id", "call_id", postgresql_where=sa.text("call_id IS NOT NULL")),
        sa.Index("ix_audit_events_token_id", "token_id", "xact", postgresql_where=sa.text("token_id IS NOT NULL")),
        sa.Index("ix_audit_events_actor_id", "actor_id", "xact"),
        sa.Index("ix_audit_events_server_tool", "server_id", "tool", "xact",
              postgresql_where=sa.text("server_id IS NOT NULL")),
        sa.Index("ix_audit_events_request_id", "request_id", postgresql_where=sa.text("request_id IS NOT NULL")),
        sa.Index("ix_audit_events_refused", "epoch", "xact", "seq", postgresql_where=sa.text("decision <> 'allow'")),
        {"postgresql_partition_by": "RANGE (time)"},
    )  # fmt: skip

    id: UUID = Field(primary_key=True)
    time: datetime = sql_default("clock_timestamp()", sa.DateTime(timezone=True), primary_key=True)
    epoch: int = Field(default=None, sa_column_kwargs={"server_default": sa.text("scopegate_epoch()")})
    xact: int = sql_default("(pg_current_xact_id()::text)::bigint", sa.BigInteger)
    seq: int = sql_default("nextval('audit_events_seq')", sa.BigInteger)
    action: str
    decision: str | None = None
    reason_code: str | None = None
    outcome: str | None = None
    actor_type: str
    actor_id: UUID | None = None
    on_behalf_of: UUID | None = None
    token_id: UUID | None = None
    server_id: UUID | None = None
    tool: str | None = None
    object_type: str | None = None
    object_id: UUID | None = None
    grant_id: UUID | None = None
    policy_ids: list[UUID] | None = Field(default=None, sa_type=ARRAY(PgUuid))
    policy_version: int | None = Field(default=None, sa_type=sa.BigInteger)
    approval_id: UUID | None = None
    client_id: UUID | None = None
    worker_id: UUID | None = None
    call_id: UUID | None = None
    method: str | None = None
    arguments_digest: bytes | None = Field(default=None, sa_type=sa.LargeBinary)
    definition_digest: bytes | None = Field(default=None, sa_type=sa.LargeBinary)
    digest_key_id: str | None = None
    changes: dict[str, Any] | None = Field(default=None, sa_type=Changes)
    duration_ms: int | None = None
    event_count: int | None = None
    request_id: str | None = None
    trace_id: str | None = None
    observed_policy_ids: list[UUID] | None = Field(default=None, sa_type=ARRAY(PgUuid))
    """Observed policies that would have decided differently."""


class AuditArguments(SQLModel, table=True):
    """Encrypted arguments of a call, kept if the server is configured so, with their own retention."""

    __tablename__ = "audit_arguments"
    __table_args__ = ({"postgresql_partition_by": "RANGE (time)"},)

    call_id: UUID = Field(primary_key=True)
    time: datetime = Field(primary_key=True, sa_type=sa.DateTime(timezone=True))
    key_id: str
    sealed: bytes = Field(sa_type=sa.LargeBinary)


class AuditClient(SQLModel, table=True):
    """Address, user agent and client name of a caller: personal data, in a separate table so that it can be erased.

    The id is a digest of the row (``client_ids``); rows of older code have no salt.
    """

    __tablename__ = "audit_clients"

    id: UUID = Field(primary_key=True)
    ip: str | None = None
    user_agent: str | None = None
    name: str | None = None
    version: str | None = None
    salt: bytes | None = Field(default=None, sa_type=sa.LargeBinary)
    first_seen_at: datetime = now_by_default()


class AuditHour(SQLModel, table=True):
    """The number of events of a kind in an hour, with outcomes of calls counted separately, and their positions.

    ``things`` is the number of occurrences: one event can represent many refusals.
    """

    __tablename__ = "audit_hours"

    hour: datetime = Field(primary_key=True, sa_type=sa.DateTime(timezone=True))
    action: str = Field(primary_key=True)
    decision: str = Field(primary_key=True)
    events: int = Field(sa_type=sa.BigInteger)
    things: int = Field(sa_type=sa.BigInteger)
    first_epoch: int
    first_xact: int = Field(sa_type=sa.BigInteger)
    first_seq: int = Field(sa_type=sa.BigInteger)
    last_epoch: int
    last_xact: int = Field(sa_type=sa.BigInteger)
    last_seq: int = Field(sa_type=sa.BigInteger)


class AuditRollup(SQLModel, table=True):
    """A single row with the event up to which the hours are counted."""

    __tablename__ = "audit_rollup"
    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)

    id: int = Field(primary_key=True, sa_type=sa.SmallInteger)
    epoch: int
    xact: int = Field(sa_type=sa.BigInteger)
    seq: int = Field(sa_type=sa.BigInteger)


class LogEpoch(SQLModel, table=True):
    """A period on one system identifier and timeline. Transaction ids order events only within an epoch."""

    __tablename__ = "log_epochs"

    epoch: int = Field(primary_key=True)
    system_identifier: int = Field(sa_type=sa.BigInteger)
    timeline: int
    opened_at: datetime = now_by_default()
    last_checkpoint: str | None = None


class AcceptedRestore(SQLModel, table=True):
    """A confirmed restore of the database to an older state. ``id`` orders them by time."""

    __tablename__ = "accepted_restores"

    id: UUID = Field(primary_key=True)
    epoch: int
    """The epoch that begins with it."""
    accepted_at: datetime = now_by_default()


class WorkerLease(SQLModel, table=True):
    """The lease of a running gateway worker. Calls of a worker with an expired lease have an unknown outcome."""

    __tablename__ = "worker_leases"

    worker_id: UUID = Field(primary_key=True)
    started_at: datetime = now_by_default()
    renewed_at: datetime = now_by_default()


class ObjectVersion(SQLModel, table=True):
    """A version in the history of a grant, membership, token scope or definition, current or past."""

    __tablename__ = "object_versions"
    __table_args__ = (
        sa.Index("ix_object_versions_kind_valid_from", "kind", "valid_from"),
        # Objects by identity, for queries about the past.
        sa.Index("ix_object_versions_identity", sa.text("(content ->> 'identity_id')"),
              postgresql_where=sa.text("kind IN ('grant', 'membership')")),
        sa.Index("ix_object_versions_group", sa.text("(content ->> 'group_id')"),
              postgresql_where=sa.text("kind = 'grant'")),
        sa.Index("ix_object_versions_server", sa.text("(content ->> 'server_id')"),
              postgresql_where=sa.text("kind = 'tool_definition'")),
    )  # fmt: skip

    object_id: UUID = Field(primary_key=True)
    version: int = Field(primary_key=True)
    kind: str
    valid_from: datetime = now_by_default()
    valid_to: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    content: dict[str, Any] = Field(sa_type=JSONB)


MAX_BATCH_EVENTS = 500
"""Events per batch."""


class AuditSink(ObjectRow, table=True):
    """A destination of the audit log. Delivery updates the fields after ``ended_at`` without a new revision."""

    __tablename__ = "audit_sinks"
    __table_args__ = (sa.Index("ix_audit_sinks_lower_name_id", sa.text("lower(name)"), "id"),)

    name: str
    description: str | None = None
    url: str
    format: str
    compression: str = Field(default="none", sa_column_kwargs={"server_default": "none"})
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})
    credential_kind: str = Field(default="none", sa_column_kwargs={"server_default": "none"})
    key_id: str | None = None
    sealed: bytes | None = Field(default=None, sa_type=sa.LargeBinary)
    """The header to send, encrypted and bound by associated data to this sink and the origin of its URL."""
    ended_at: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    epoch: int
    """With the next two fields: the position up to which all events were accepted."""
    xact: int = Field(sa_type=sa.BigInteger)
    seq: int = Field(sa_type=sa.BigInteger)
    batch_epoch: int | None = None
    """With the next three fields: the end of the current batch, so that a retry sends exactly the same batch."""
    batch_xact: int | None = Field(default=None, sa_type=sa.BigInteger)
    batch_seq: int | None = Field(default=None, sa_type=sa.BigInteger)
    batch_checkpoint: int | None = Field(default=None, sa_type=sa.BigInteger)
    batch_events: int = Field(default=MAX_BATCH_EVENTS, sa_column_kwargs={"server_default": sa.text("500")})
    """The maximum of events per batch, lowered when the endpoint rejects a batch as too large."""
    checkpoint: int | None = Field(default=None, sa_type=sa.BigInteger)
    """The tree size of the last accepted checkpoint."""
    checkpoint_at: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    lease: UUID | None = None
    """The worker that holds the lease. No other worker sends until ``leased_until``."""
    leased_until: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    due_at: datetime = now_by_default()
    failures: int = Field(default=0, sa_column_kwargs={"server_default": sa.text("0")})
    failing_since: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    status_code: int | None = None
    error: str | None = None
    delivered_at: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    missed_at: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    """When retention dropped events that were not delivered to this sink."""


class AuditCheckpoint(SQLModel, table=True):
    """A signed checkpoint of the audit log (C2SP checkpoint text, RFC 9162 hashing)."""

    __tablename__ = "audit_checkpoints"
    __table_args__ = (sa.Index("uq_audit_checkpoints_place", "epoch", "last_xact", "last_seq", unique=True),)

    tree_size: int = Field(primary_key=True, sa_type=sa.BigInteger)
    epoch: int
    last_xact: int = Field(sa_type=sa.BigInteger)
    last_seq: int = Field(sa_type=sa.BigInteger)
    root_hash: bytes = Field(sa_type=sa.LargeBinary)
    note: str
    created_at: datetime = now_by_default()


class LogName(SQLModel, table=True):
    """A name of the audit log. The one with the largest id is current."""

    __tablename__ = "log_names"

    id: UUID = Field(primary_key=True)
    name: str
    named_at: datetime = now_by_default()


class AuditTile(SQLModel, table=True):
    """A complete tile: 256 adjacent hashes of the tree, 32 bytes each.

    On level 0 these are hashes of leaves; on each higher level, hashes of whole tiles.
    """

    __tablename__ = "audit_tiles"
    __table_args__ = (sa.CheckConstraint("octet_length(hashes) = 8192", name="whole"),)

    level: int = Field(primary_key=True, sa_type=sa.SmallInteger)
    number: int = Field(primary_key=True, sa_type=sa.BigInteger)
    hashes: bytes = Field(sa_type=sa.LargeBinary)
