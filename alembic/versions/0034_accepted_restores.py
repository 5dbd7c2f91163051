"""Store restores to an older state that an administrator has confirmed. Workers that detect one wait for it.

Backward compatible: earlier code does not detect restores.

Revision ID: 0034
Revises: 0033
"""

from alembic import op

revision = "0034"
down_revision = "0033"

STATEMENTS = (
    """
    CREATE TABLE accepted_restores (
        id UUID NOT NULL,
        epoch INTEGER NOT NULL,
        accepted_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT pk_accepted_restores PRIMARY KEY (id)
    )
    """,
    """
    CREATE TRIGGER accepted_restores_append_only BEFORE UPDATE OR DELETE ON accepted_restores
        FOR EACH ROW EXECUTE FUNCTION scopegate_refuse_change()
    """,
    """
    CREATE TRIGGER accepted_restores_no_truncate BEFORE TRUNCATE ON accepted_restores
        FOR EACH STATEMENT EXECUTE FUNCTION scopegate_refuse_change()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
