"""Store the name of the sealed log for all replicas: that of its newest checkpoint, if there is one.

Backward compatible: earlier code still signs with the name of its own address.

Revision ID: 0036
Revises: 0035
"""

from alembic import op

revision = "0036"
down_revision = "0035"

STATEMENTS = (
    """
    CREATE TABLE log_names (
        id UUID NOT NULL,
        name VARCHAR NOT NULL,
        named_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT pk_log_names PRIMARY KEY (id)
    )
    """,
    """
    CREATE TRIGGER log_names_append_only BEFORE UPDATE OR DELETE ON log_names
        FOR EACH ROW EXECUTE FUNCTION scopegate_refuse_change()
    """,
    """
    CREATE TRIGGER log_names_no_truncate BEFORE TRUNCATE ON log_names
        FOR EACH STATEMENT EXECUTE FUNCTION scopegate_refuse_change()
    """,
    # The smallest of all ids: whatever name comes later is the newer one.
    """
    INSERT INTO log_names (id, name)
    SELECT '00000000-0000-7000-8000-000000000000', split_part(note, E'\\n', 1)
    FROM audit_checkpoints ORDER BY tree_size DESC LIMIT 1
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
