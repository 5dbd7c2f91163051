"""Rename stored values as in the contract: transports, pickup links and scheduled offboardings.

Not backward compatible: earlier code does not know the new values, so it must not use this database. The partial
indexes of pickup links name the state. They are built in this transaction: the table has one row per link, and links
last at most a week.

Revision ID: 0038
Revises: 0037
"""

from alembic import op

revision = "0038"
down_revision = "0037"

STATEMENTS = (
    "UPDATE compatibility SET oldest_generation = 3 WHERE id = 1",
    "ALTER TABLE servers ALTER COLUMN transport SET DEFAULT 'streamable_http'",
    "UPDATE servers SET transport = 'streamable_http' WHERE transport = 'http'",
    "DROP INDEX uq_token_pickups_waiting",
    "DROP INDEX ix_token_pickups_recipient_id",
    "ALTER TABLE token_pickups ALTER COLUMN state SET DEFAULT 'pending'",
    "UPDATE token_pickups SET state = 'pending' WHERE state = 'waiting'",
    "CREATE UNIQUE INDEX uq_token_pickups_pending ON token_pickups (token_id) WHERE state = 'pending'",
    "CREATE INDEX ix_token_pickups_recipient_id ON token_pickups (recipient_id) WHERE state = 'pending'",
    "UPDATE scheduled_offboardings SET status = 'completed' WHERE status = 'done'",
    "UPDATE webhook_deliveries SET error = 'decryption_failed' WHERE error = 'unsealed'",
    "UPDATE audit_sinks SET error = 'decryption_failed' WHERE error = 'unsealed'",
    "UPDATE signal_streams SET error = 'decryption_failed' WHERE error = 'unsealed'",
    "UPDATE signal_streams SET error = 'keys_unavailable' WHERE error = 'keys'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
