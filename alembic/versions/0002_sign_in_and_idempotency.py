"""Add sign-in with OpenID providers, break-glass sessions, and stored answers for idempotency keys.

Backward compatible: earlier code can still use this schema.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    "ALTER TABLE identity_providers ADD COLUMN status VARCHAR DEFAULT 'active' NOT NULL",
    "ALTER TABLE identity_providers ADD COLUMN source VARCHAR DEFAULT 'api' NOT NULL",
    "ALTER TABLE identity_providers ADD COLUMN ended_at TIMESTAMP WITH TIME ZONE",
    # An ended provider leaves its issuer free; the new rule stands before the old one goes.
    "CREATE UNIQUE INDEX uq_identity_providers_live_issuer ON identity_providers (issuer) WHERE ended_at IS NULL",
    "ALTER TABLE identity_providers DROP CONSTRAINT uq_identity_providers_issuer",
    "ALTER TABLE administrators ADD COLUMN last_sign_in_at TIMESTAMP WITH TIME ZONE",
    """
    CREATE TABLE break_glass_sessions (
        id UUID NOT NULL,
        digest BYTEA NOT NULL,
        pepper_key_id VARCHAR NOT NULL,
        password_key VARCHAR NOT NULL,
        reason VARCHAR NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_break_glass_sessions PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE idempotency_keys (
        caller_id UUID NOT NULL,
        route VARCHAR NOT NULL,
        key VARCHAR NOT NULL,
        request_digest BYTEA NOT NULL,
        status INTEGER NOT NULL,
        headers JSONB NOT NULL,
        body JSONB,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT pk_idempotency_keys PRIMARY KEY (caller_id, route, key)
    )
    """,
    "CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
