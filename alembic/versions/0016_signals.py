"""Add the received events of Shared Signals, and their streams.

Backward compatible: earlier code can still use this schema.

Revision ID: 0016
Revises: 0015
"""

from alembic import op

revision = "0016"
down_revision = "0015"

STATEMENTS = (
    """
    CREATE TABLE signal_events (
        provider_id UUID NOT NULL,
        issuer VARCHAR NOT NULL,
        jti VARCHAR NOT NULL,
        event_type VARCHAR NOT NULL,
        event_id UUID NOT NULL,
        received_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT pk_signal_events PRIMARY KEY (provider_id, issuer, jti)
    )
    """,
    """
    CREATE TABLE signal_streams (
        id UUID NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        revision INTEGER DEFAULT 1 NOT NULL,
        provider_id UUID NOT NULL,
        issuer VARCHAR NOT NULL,
        stream_id VARCHAR,
        delivery VARCHAR,
        poll_url VARCHAR,
        status VARCHAR DEFAULT 'unknown' NOT NULL,
        key_id VARCHAR,
        sealed BYTEA,
        verification_state VARCHAR,
        verification_asked_at TIMESTAMP WITH TIME ZONE,
        verified_at TIMESTAMP WITH TIME ZONE,
        received_at TIMESTAMP WITH TIME ZONE,
        polled_at TIMESTAMP WITH TIME ZONE,
        poll_at TIMESTAMP WITH TIME ZONE,
        failures INTEGER DEFAULT 0 NOT NULL,
        failing_since TIMESTAMP WITH TIME ZONE,
        error VARCHAR,
        CONSTRAINT pk_signal_streams PRIMARY KEY (id),
        CONSTRAINT fk_signal_streams_provider_id FOREIGN KEY (provider_id) REFERENCES identity_providers (id)
    )
    """,
    "CREATE UNIQUE INDEX uq_signal_streams_provider_id ON signal_streams (provider_id)",
    "CREATE INDEX ix_signal_streams_poll_at ON signal_streams (poll_at) WHERE poll_at IS NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
