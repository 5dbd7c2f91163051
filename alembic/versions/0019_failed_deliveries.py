"""An index of the deliveries that failed: they are few among the many that went well, and looked for when it matters.

Expands alone: what code before it reads and writes stays as it was.

Revision ID: 0019
Revises: 0018
"""

from alembic import op

revision = "0019"
down_revision = "0018"

NAME = "ix_webhook_deliveries_failed"


def upgrade() -> None:
    # Deliveries may be many, and every message is one: nobody waits for this, and it may wait for everybody.
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        connection.exec_driver_sql("SET lock_timeout = 0")
        try:
            # What was broken off leaves an index that is of no use.
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")
            connection.exec_driver_sql(
                f"CREATE INDEX CONCURRENTLY {NAME} ON webhook_deliveries (webhook_id, id) WHERE state = 'failed'"
            )
        finally:
            connection.exec_driver_sql("RESET lock_timeout")
