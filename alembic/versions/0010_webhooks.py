"""Add webhooks, their signing secrets, and the queue of messages.

Backward compatible: earlier code can still use this schema.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"

STATEMENTS = (
    """
    CREATE TABLE webhooks (
        id UUID NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        revision INTEGER DEFAULT 1 NOT NULL,
        name VARCHAR NOT NULL,
        description VARCHAR,
        url VARCHAR NOT NULL,
        events TEXT[] NOT NULL,
        status VARCHAR DEFAULT 'active' NOT NULL,
        disabled_reason VARCHAR,
        ended_at TIMESTAMP WITH TIME ZONE,
        failures INTEGER DEFAULT 0 NOT NULL,
        failing_since TIMESTAMP WITH TIME ZONE,
        held_until TIMESTAMP WITH TIME ZONE,
        delivered_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_webhooks PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX ix_webhooks_lower_name_id ON webhooks (lower(name), id)",
    """
    CREATE TABLE webhook_secrets (
        id UUID NOT NULL,
        webhook_id UUID NOT NULL,
        key_id VARCHAR NOT NULL,
        sealed BYTEA NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_webhook_secrets PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX ix_webhook_secrets_webhook_id ON webhook_secrets (webhook_id)",
    # No foreign keys: a message is written in the transaction of a call, which must wait for nobody's change.
    """
    CREATE TABLE webhook_deliveries (
        id UUID NOT NULL,
        webhook_id UUID NOT NULL,
        type VARCHAR NOT NULL,
        data JSONB NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        revision INTEGER DEFAULT 1 NOT NULL,
        state VARCHAR DEFAULT 'pending' NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        give_up_at TIMESTAMP WITH TIME ZONE DEFAULT now() + interval '3 days' NOT NULL,
        lease UUID,
        attempts INTEGER DEFAULT 0 NOT NULL,
        attempted_at TIMESTAMP WITH TIME ZONE,
        delivered_at TIMESTAMP WITH TIME ZONE,
        status_code INTEGER,
        error VARCHAR,
        CONSTRAINT pk_webhook_deliveries PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX ix_webhook_deliveries_webhook_id_id ON webhook_deliveries (webhook_id, id)",
    "CREATE INDEX ix_webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at) WHERE state = 'pending'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
