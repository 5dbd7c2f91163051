"""Add invitations for people that no directory provisions.

Backward compatible: earlier code does not use the table.

Revision ID: 0037
Revises: 0036
"""

from alembic import op

revision = "0037"
down_revision = "0036"

STATEMENTS = (
    """
    CREATE TABLE invitations (
        id UUID NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        revision INTEGER DEFAULT 1 NOT NULL,
        identity_id UUID NOT NULL,
        provider_id UUID NOT NULL,
        email VARCHAR,
        subject VARCHAR,
        digest BYTEA NOT NULL,
        pepper_key_id VARCHAR NOT NULL,
        status VARCHAR DEFAULT 'pending' NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        claimed_link VARCHAR,
        claimed_email VARCHAR,
        claimed_email_verified BOOLEAN,
        claimed_at TIMESTAMP WITH TIME ZONE,
        confirmed_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_invitations PRIMARY KEY (id),
        CONSTRAINT fk_invitations_identity_id FOREIGN KEY (identity_id) REFERENCES identities (id),
        CONSTRAINT fk_invitations_provider_id FOREIGN KEY (provider_id) REFERENCES identity_providers (id)
    )
    """,
    "CREATE INDEX ix_invitations_identity_id ON invitations (identity_id)",
    """
    CREATE UNIQUE INDEX uq_invitations_open ON invitations (identity_id, provider_id)
    WHERE status IN ('pending', 'claimed')
    """,
    "CREATE INDEX ix_invitations_subject ON invitations (provider_id, subject) WHERE status = 'pending'",
    "CREATE INDEX ix_invitations_email ON invitations (provider_id, lower(email)) WHERE status = 'pending'",
    "CREATE INDEX ix_invitations_claimed ON invitations (provider_id, claimed_link) WHERE status = 'claimed'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
