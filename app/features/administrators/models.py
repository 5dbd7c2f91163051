"""Tables of administrators and role assignments; signing in comes with the OIDC adapter."""

from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field

from app.kit.tables import ObjectRow


class Administrator(ObjectRow, table=True):
    """A human who manages the control plane."""

    __tablename__ = "administrators"

    identity_id: UUID = Field(foreign_key="identities.id", unique=True)
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})


class RoleAssignment(ObjectRow, table=True):
    """A role of an administrator, and within what (``all`` for now)."""

    __tablename__ = "role_assignments"
    __table_args__ = (Index("uq_role_assignments", "administrator_id", "role", "within", unique=True),)

    administrator_id: UUID = Field(foreign_key="administrators.id")
    role: str
    within: str = Field(default="all", sa_column_kwargs={"server_default": "all"})
