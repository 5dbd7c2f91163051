"""Whether a sink of the audit trail is given its batches compressed.

Expands alone: what code before it reads and writes stays as it was, and it gives all sinks batches as they are, which a
sink that wants them compressed takes too. The default is kept in the catalogue, so no row is written over.

Revision ID: 0029
Revises: 0028
"""

from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(
        "ALTER TABLE audit_sinks ADD COLUMN compression VARCHAR DEFAULT 'none' NOT NULL"
    )
