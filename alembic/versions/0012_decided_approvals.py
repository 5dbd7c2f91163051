"""Store who decided an approval, and add indexes for searching approvals.

Backward compatible. The table is empty before, so the indexes are created quickly.

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
