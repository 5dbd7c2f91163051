"""Tables of the sealed log: what was signed of the trail, and the hashes that it rests on. Append-only."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Index, LargeBinary, SmallInteger, text
from sqlmodel import Field, SQLModel

from app.models.base import metadata

__all__ = ["AuditCheckpoint", "AuditTile", "LogName", "metadata"]


class AuditCheckpoint(SQLModel, table=True):
    """A signed head of the sealed log (C2SP checkpoint text, RFC 9162 hashing)."""

    __tablename__ = "audit_checkpoints"
    __table_args__ = (Index("uq_audit_checkpoints_place", "epoch", "last_xact", "last_seq", unique=True),)

    tree_size: int = Field(primary_key=True, sa_type=BigInteger)
    epoch: int
    last_xact: int = Field(sa_type=BigInteger)
    last_seq: int = Field(sa_type=BigInteger)
    root_hash: bytes = Field(sa_type=LargeBinary)
    note: str
    created_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )


class LogName(SQLModel, table=True):
    """A name of the sealed log; the one with the largest id is its name."""

    __tablename__ = "log_names"

    id: UUID = Field(primary_key=True)
    name: str
    named_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )


class AuditTile(SQLModel, table=True):
    """256 hashes of the sealed log's tree that lie side by side, 32 bytes each, once all of them are known.

    On level 0 these are hashes of leaves; one level higher, each is that of a whole tile.
    """

    __tablename__ = "audit_tiles"
    __table_args__ = (CheckConstraint("octet_length(hashes) = 8192", name="whole"),)

    level: int = Field(primary_key=True, sa_type=SmallInteger)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    hashes: bytes = Field(sa_type=LargeBinary)
