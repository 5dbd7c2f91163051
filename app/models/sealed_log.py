"""Tables of the sealed audit log: signed checkpoints and the hashes of the tree. Append-only."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Index, LargeBinary, SmallInteger, text
from sqlmodel import Field, SQLModel

from app.models.base import metadata

__all__ = ["AuditCheckpoint", "AuditTile", "LogName", "metadata"]


class AuditCheckpoint(SQLModel, table=True):
    """A signed checkpoint of the audit log (C2SP checkpoint text, RFC 9162 hashing)."""

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
    """A name of the audit log. The one with the largest id is current."""

    __tablename__ = "log_names"

    id: UUID = Field(primary_key=True)
    name: str
    named_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )


class AuditTile(SQLModel, table=True):
    """A complete tile: 256 adjacent hashes of the tree, 32 bytes each.

    On level 0 these are hashes of leaves; on each higher level, hashes of whole tiles.
    """

    __tablename__ = "audit_tiles"
    __table_args__ = (CheckConstraint("octet_length(hashes) = 8192", name="whole"),)

    level: int = Field(primary_key=True, sa_type=SmallInteger)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    hashes: bytes = Field(sa_type=LargeBinary)
