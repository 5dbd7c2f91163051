"""Add audit sinks: destination, position, and health of their endpoints.

Backward compatible: earlier code can still use this schema.

Revision ID: 0027
Revises: 0026
"""

from alembic import op

revision = "0027"
down_revision = "0026"

STATEMENTS = (
    # What moves with each batch stands in no index, so that rows are written over in place.
    """
    CREATE TABLE audit_sinks (
        id UUID NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        revision INTEGER DEFAULT 1 NOT NULL,
        name VARCHAR NOT NULL,
        description VARCHAR,
        url VARCHAR NOT NULL,
        format VARCHAR NOT NULL,
        status VARCHAR DEFAULT 'active' NOT NULL,
        credential_kind VARCHAR DEFAULT 'none' NOT NULL,
        key_id VARCHAR,
        sealed BYTEA,
        ended_at TIMESTAMP WITH TIME ZONE,
        epoch INTEGER NOT NULL,
        xact BIGINT NOT NULL,
        seq BIGINT NOT NULL,
        batch_epoch INTEGER,
        batch_xact BIGINT,
        batch_seq BIGINT,
        batch_checkpoint BIGINT,
        batch_events INTEGER DEFAULT 500 NOT NULL,
        checkpoint BIGINT,
        checkpoint_at TIMESTAMP WITH TIME ZONE,
        lease UUID,
        leased_until TIMESTAMP WITH TIME ZONE,
        due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        failures INTEGER DEFAULT 0 NOT NULL,
        failing_since TIMESTAMP WITH TIME ZONE,
        status_code INTEGER,
        error VARCHAR,
        delivered_at TIMESTAMP WITH TIME ZONE,
        missed_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_audit_sinks PRIMARY KEY (id)
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX ix_audit_sinks_lower_name_id ON audit_sinks (lower(name), id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
