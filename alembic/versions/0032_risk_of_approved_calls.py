"""Store the risk of the tool when approval of a call was requested: a changed risk voids the approval.

Backward compatible: earlier code does not read the new column.

Revision ID: 0032
Revises: 0031
"""

import sqlalchemy as sa

from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.add_column("approvals", sa.Column("tool_risk", sa.String(), nullable=True))
