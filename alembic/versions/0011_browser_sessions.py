"""Add browser sessions of people.

Backward compatible.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"

STATEMENTS = (
    """
    CREATE TABLE browser_sessions (
        id UUID NOT NULL,
        digest BYTEA NOT NULL,
        pepper_key_id VARCHAR NOT NULL,
        identity_id UUID NOT NULL,
        provider_id UUID NOT NULL,
        link VARCHAR NOT NULL,
        subject VARCHAR NOT NULL,
        provider_session VARCHAR,
        role_values VARCHAR[] NOT NULL,
        id_token BYTEA NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_browser_sessions PRIMARY KEY (id),
        CONSTRAINT fk_browser_sessions_identity_id FOREIGN KEY (identity_id) REFERENCES identities (id),
        CONSTRAINT fk_browser_sessions_provider_id FOREIGN KEY (provider_id) REFERENCES identity_providers (id)
    )
    """,
    "CREATE INDEX ix_browser_sessions_identity_id ON browser_sessions (identity_id)",
    "CREATE INDEX ix_browser_sessions_expires_at ON browser_sessions (expires_at)",
    "CREATE INDEX ix_browser_sessions_subject ON browser_sessions (provider_id, subject)",
    "CREATE INDEX ix_browser_sessions_provider_session ON browser_sessions (provider_id, provider_session)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
