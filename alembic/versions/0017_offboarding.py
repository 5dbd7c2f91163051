"""Add scheduled offboardings and signed receipts.

Backward compatible: earlier code can still use this schema.

Revision ID: 0017
Revises: 0016
"""

from alembic import op

revision = "0017"
down_revision = "0016"

STATEMENTS = (
    """
    CREATE TABLE scheduled_offboardings (
        id UUID NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        revision INTEGER DEFAULT 1 NOT NULL,
        identity_id UUID NOT NULL,
        effective_at TIMESTAMP WITH TIME ZONE NOT NULL,
        reason VARCHAR,
        transfer_agents_to UUID,
        status VARCHAR DEFAULT 'pending' NOT NULL,
        requested_by_kind VARCHAR NOT NULL,
        requested_by_id UUID NOT NULL,
        on_behalf_of UUID,
        finished_at TIMESTAMP WITH TIME ZONE,
        receipt_id UUID,
        CONSTRAINT pk_scheduled_offboardings PRIMARY KEY (id),
        CONSTRAINT fk_scheduled_offboardings_identity_id FOREIGN KEY (identity_id) REFERENCES identities (id)
    )
    """,
    """
    CREATE UNIQUE INDEX uq_scheduled_offboardings_pending ON scheduled_offboardings (identity_id)
    WHERE status = 'pending'
    """,
    "CREATE INDEX ix_scheduled_offboardings_identity_id ON scheduled_offboardings (identity_id)",
    """
    CREATE INDEX ix_scheduled_offboardings_due ON scheduled_offboardings (effective_at)
    WHERE status = 'pending'
    """,
    "ALTER TABLE offboarding_receipts ADD COLUMN signed VARCHAR",
    "ALTER TABLE offboarding_receipts ADD COLUMN key_id VARCHAR",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
