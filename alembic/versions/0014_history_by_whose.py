"""Add indexes for the history of an owner.

Backward compatible: earlier code can still use this schema.

Revision ID: 0014
Revises: 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"

INDEXES = {
    "ix_object_versions_identity": "((content ->> 'identity_id')) WHERE kind IN ('grant', 'membership')",
    "ix_object_versions_group": "((content ->> 'group_id')) WHERE kind = 'grant'",
    "ix_object_versions_server": "((content ->> 'server_id')) WHERE kind = 'tool_definition'",
}


def upgrade() -> None:
    # The history may be long, and every change writes to it: nobody waits for this, and it may wait for everybody.
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        connection.exec_driver_sql("SET lock_timeout = 0")
        try:
            for name, what in INDEXES.items():
                # What was broken off leaves an index that is of no use.
                connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
                connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY {name} ON object_versions {what}")
        finally:
            connection.exec_driver_sql("RESET lock_timeout")
