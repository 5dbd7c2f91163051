"""Add indexes for approvals of access to a server, for the servers that a group owns, and for text in server names.

Backward compatible: earlier code can still use this schema.

Revision ID: 0028
Revises: 0027
"""

from alembic import op

revision = "0028"
down_revision = "0027"

INDEXES = {
    "ix_approvals_access": "approvals (server_id, id) WHERE kind = 'access'",
    "ix_servers_owner_group_id": "servers (owner_group_id) WHERE owner_group_id IS NOT NULL",
    "ix_servers_texts": (
        "servers USING gin (scopegate_trigrams(slug || ' ' || name || ' ' || coalesce(description, '')))"
    ),
}


def upgrade() -> None:
    # Nobody waits for this, and it may wait for everybody.
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        connection.exec_driver_sql("SET lock_timeout = 0")
        try:
            for name, what in INDEXES.items():
                # What was broken off leaves an index that is of no use.
                connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
                connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY {name} ON {what}")
            # What is indexed has to be known for an index to be chosen for what is rare alone.
            connection.exec_driver_sql("ANALYZE servers")
        finally:
            connection.exec_driver_sql("RESET lock_timeout")
