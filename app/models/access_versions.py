"""The versions that access decisions depend on (ADR 3)."""

from uuid import UUID

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class AccessVersion(SQLModel, table=True):
    """The version of an object that decisions depend on, in a narrow row. Only those of sessions are deleted."""

    __tablename__ = "access_versions"
    __table_args__ = ({"postgresql_with": {"fillfactor": 70}},)

    id: UUID = Field(primary_key=True)
    version: int = Field(sa_type=BigInteger)
