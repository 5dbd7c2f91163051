"""Store when to sync a server's tools again.

Backward compatible: earlier code can still use this schema.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    "ALTER TABLE servers ADD COLUMN sync_due_at TIMESTAMP WITH TIME ZONE",
    "ALTER TABLE servers ADD COLUMN sync_failures INTEGER DEFAULT 0 NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
