"""Add the sealed log: tiles of its hash tree, which grow and never change, and checkpoints by position.

Drops the unused table of single nodes. Earlier code uses none of these tables.

Revision ID: 0025
Revises: 0024
"""

from alembic import op

revision = "0025"
down_revision = "0024"

STATEMENTS = (
    """
    CREATE TABLE audit_tiles (
        level SMALLINT NOT NULL,
        number BIGINT NOT NULL,
        hashes BYTEA NOT NULL,
        CONSTRAINT pk_audit_tiles PRIMARY KEY (level, number),
        CONSTRAINT ck_audit_tiles_whole CHECK (octet_length(hashes) = 8192)
    )
    """,
    # Hashes do not compress, and parts of a tile are read by themselves.
    "ALTER TABLE audit_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL",
    """
    CREATE TRIGGER audit_tiles_append_only BEFORE UPDATE OR DELETE ON audit_tiles
        FOR EACH ROW EXECUTE FUNCTION scopegate_refuse_change()
    """,
    """
    CREATE TRIGGER audit_tiles_no_truncate BEFORE TRUNCATE ON audit_tiles
        FOR EACH STATEMENT EXECUTE FUNCTION scopegate_refuse_change()
    """,
    """
    CREATE TRIGGER audit_checkpoints_no_truncate BEFORE TRUNCATE ON audit_checkpoints
        FOR EACH STATEMENT EXECUTE FUNCTION scopegate_refuse_change()
    """,
    "CREATE UNIQUE INDEX uq_audit_checkpoints_place ON audit_checkpoints (epoch, last_xact, last_seq)",
    "DROP TABLE audit_tree_nodes",
    # The trigger of the whole trail does not fire for one of its months.
    """
    DO $$
    DECLARE
        month regclass;
    BEGIN
        FOR month IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'audit_events'::regclass LOOP
            EXECUTE format(
                'CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON %s '
                'FOR EACH STATEMENT EXECUTE FUNCTION scopegate_refuse_change()', month
            );
        END LOOP;
    END
    $$
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
