"""Add drafts of tokens that people issue in the console.

Backward compatible: earlier code can still use this schema.

Revision ID: 0021
Revises: 0020
"""

from alembic import op

revision = "0021"
down_revision = "0020"

STATEMENTS = (
    """
    CREATE TABLE token_drafts (
        id UUID NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        revision INTEGER DEFAULT 1 NOT NULL,
        person_id UUID NOT NULL,
        content JSONB NOT NULL,
        token_id UUID,
        CONSTRAINT pk_token_drafts PRIMARY KEY (id),
        CONSTRAINT fk_token_drafts_person_id FOREIGN KEY (person_id) REFERENCES identities (id),
        CONSTRAINT fk_token_drafts_token_id FOREIGN KEY (token_id) REFERENCES tokens (id)
    )
    """,
    "CREATE INDEX ix_token_drafts_person_id ON token_drafts (person_id, id)",
    "CREATE INDEX ix_token_drafts_created_at ON token_drafts (created_at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
