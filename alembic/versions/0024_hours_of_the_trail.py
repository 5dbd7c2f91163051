"""Add the number of audit events per hour, action and decision, and the position up to which they are counted.

Backward compatible: earlier code can still use this schema. The service counts earlier events in the
background.

Revision ID: 0024
Revises: 0023
"""

from alembic import op

revision = "0024"
down_revision = "0023"

STATEMENTS = (
    # The positions bound what has to be read of the log for a span of time, by which it has no index.
    """
    CREATE TABLE audit_hours (
        hour TIMESTAMP WITH TIME ZONE NOT NULL,
        action VARCHAR NOT NULL,
        decision VARCHAR NOT NULL,
        events BIGINT NOT NULL,
        things BIGINT NOT NULL,
        first_epoch INTEGER NOT NULL,
        first_xact BIGINT NOT NULL,
        first_seq BIGINT NOT NULL,
        last_epoch INTEGER NOT NULL,
        last_xact BIGINT NOT NULL,
        last_seq BIGINT NOT NULL,
        CONSTRAINT pk_audit_hours PRIMARY KEY (hour, action, decision)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE audit_rollup (
        id SMALLINT NOT NULL,
        epoch INTEGER NOT NULL,
        xact BIGINT NOT NULL,
        seq BIGINT NOT NULL,
        CONSTRAINT pk_audit_rollup PRIMARY KEY (id),
        CONSTRAINT ck_audit_rollup_one_row CHECK (id = 1)
    )
    """,
    "INSERT INTO audit_rollup (id, epoch, xact, seq) VALUES (1, 0, 0, 0)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
