"""Add indexes of large tables: failed deliveries, groups by directory name, and identities by HR attributes.

Backward compatible: earlier code can still use this schema.

Revision ID: 0019
Revises: 0018
"""

from alembic import op

revision = "0019"
down_revision = "0018"

INDEXES = {
    "ix_webhook_deliveries_failed": "webhook_deliveries (webhook_id, id) WHERE state = 'failed'",
    "ix_identities_external_id": "identities (external_id) WHERE external_id IS NOT NULL",
    "ix_groups_provider_id_external_id": (
        "groups (provider_id, external_id) WHERE ended_at IS NULL AND provider_id IS NOT NULL"
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
        finally:
            connection.exec_driver_sql("RESET lock_timeout")
