"""Add notes of sessions on the aggregate endpoint: log level and subscriptions.

Backward compatible: earlier code can still use this schema.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = (
    """
    CREATE TABLE session_notes (
        session_id UUID NOT NULL,
        token_id UUID NOT NULL,
        log_level VARCHAR,
        subscriptions JSONB NOT NULL,
        CONSTRAINT pk_session_notes PRIMARY KEY (session_id)
    )
    """,
    "CREATE INDEX ix_session_notes_token_id ON session_notes (token_id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
