"""Add approvals for access requests, the grants that they create, and the servers that people can request.

Backward compatible: earlier code can still use this schema, and creates no approvals of the new kind.

Revision ID: 0023
Revises: 0022
"""

from alembic import op

revision = "0023"
down_revision = "0022"

STATEMENTS = (
    "ALTER TABLE servers ADD COLUMN requestable BOOLEAN DEFAULT false NOT NULL",
    """
    ALTER TABLE approvals
        ADD COLUMN access_tools JSONB,
        ADD COLUMN access_expires_at TIMESTAMP WITH TIME ZONE,
        ADD COLUMN granted_tools JSONB,
        ADD COLUMN granted_expires_at TIMESTAMP WITH TIME ZONE,
        ADD COLUMN grant_id UUID
    """,
    "ALTER TABLE grants ADD COLUMN approval_id UUID",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
