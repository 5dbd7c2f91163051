"""The risk of the tool when an approval of its call was asked for: a changed risk voids the approval.

Only adds a column that older code does not read.

Revision ID: 0032
Revises: 0031
"""

import sqlalchemy as sa

from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.add_column("approvals", sa.Column("tool_risk", sa.String(), nullable=True))
