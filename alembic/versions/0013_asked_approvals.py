"""Count how often an approval was requested, and add indexes for locking the approvals of a call.

Revision ID: 0013
Revises: 0012
"""

from alembic import op

revision = "0013"
down_revision = "0012"

STATEMENTS = (
    "ALTER TABLE approvals ADD COLUMN asked INTEGER DEFAULT 1 NOT NULL",
    # Nothing wrote approvals before: the indexes are made on an empty table.
    "DROP INDEX ix_approvals_approved",
    "CREATE INDEX ix_approvals_binding ON approvals (binding)",
    "CREATE INDEX ix_approvals_waiting ON approvals (identity_id, token_id) WHERE state = 'pending'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
