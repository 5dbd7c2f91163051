"""Who decided an approval, and the ways in which people look for approvals.

Expands alone; nothing wrote approvals before, so the indexes are made on an empty table.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"

STATEMENTS = (
    "ALTER TABLE approvals ADD COLUMN decided_by_type VARCHAR",
    "CREATE INDEX ix_approvals_approver_group_id ON approvals (approver_group_id, id)",
    "CREATE INDEX ix_approvals_open ON approvals (id) WHERE state = 'pending'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
