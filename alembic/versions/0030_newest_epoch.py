"""Use the newest epoch of the log, and only where this system and timeline opened it.

A database that was dumped, restored elsewhere, and moved back finds its own system and timeline in an older row. That
epoch has ended: later ones follow it in the order of commits. Several epochs may therefore have the same system and
timeline. Earlier code uses the same function, and inserts no epoch if the function finds one.

Revision ID: 0030
Revises: 0029
"""

from alembic import op

revision = "0030"
down_revision = "0029"

STATEMENTS = (
    "ALTER TABLE log_epochs DROP CONSTRAINT uq_log_epochs_system_identifier_timeline",
    """
    CREATE OR REPLACE FUNCTION scopegate_epoch() RETURNS integer LANGUAGE sql STABLE AS $$
        SELECT epoch FROM (SELECT * FROM log_epochs ORDER BY epoch DESC LIMIT 1) AS newest
        WHERE system_identifier = (SELECT system_identifier FROM pg_control_system())
          AND timeline = ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
    $$
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
