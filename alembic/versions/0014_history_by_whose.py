"""Indexes by which the history tells what was whose.

Expands alone: what code before it reads and writes stays as it was.

Revision ID: 0014
Revises: 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"

STATEMENTS = (
    """
    CREATE INDEX ix_object_versions_identity ON object_versions ((content ->> 'identity_id'))
    WHERE kind IN ('grant', 'membership')
    """,
    "CREATE INDEX ix_object_versions_group ON object_versions ((content ->> 'group_id')) WHERE kind = 'grant'",
    """
    CREATE INDEX ix_object_versions_server ON object_versions ((content ->> 'server_id'))
    WHERE kind = 'tool_definition'
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
