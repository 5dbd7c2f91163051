"""Store whether an audit sink receives compressed batches.

Backward compatible: earlier code sends uncompressed batches, which all sinks accept. The default is stored in the
catalog, so no row is rewritten.

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
