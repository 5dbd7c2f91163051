"""Store the arguments of calls with pending approvals for new servers, so that approvers see what they approve.

Existing servers keep their setting: no administrator has decided that their arguments may be kept.

Revision ID: 0033
Revises: 0032
"""

from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE servers ALTER COLUMN keep_arguments SET DEFAULT 'approvals'")
