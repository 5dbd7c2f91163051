"""Add pickup links for token secrets.

Backward compatible: earlier code can still use this schema. A token with a
pending first secret has none, which earlier code treats as a token that no secret opens.

Revision ID: 0022
Revises: 0021
"""

from alembic import op

revision = "0022"
down_revision = "0021"

STATEMENTS = (
    """
    CREATE TABLE token_pickups (
        id UUID NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        revision INTEGER DEFAULT 1 NOT NULL,
        token_id UUID NOT NULL,
        recipient_id UUID NOT NULL,
        overlap_s INTEGER DEFAULT 0 NOT NULL,
        state VARCHAR DEFAULT 'waiting' NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        picked_up_at TIMESTAMP WITH TIME ZONE,
        reopened_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_token_pickups PRIMARY KEY (id),
        CONSTRAINT fk_token_pickups_token_id FOREIGN KEY (token_id) REFERENCES tokens (id),
        CONSTRAINT fk_token_pickups_recipient_id FOREIGN KEY (recipient_id) REFERENCES identities (id)
    )
    """,
    "CREATE INDEX ix_token_pickups_token_id ON token_pickups (token_id, id)",
    "CREATE UNIQUE INDEX uq_token_pickups_waiting ON token_pickups (token_id) WHERE state = 'waiting'",
    "CREATE INDEX ix_token_pickups_recipient_id ON token_pickups (recipient_id) WHERE state = 'waiting'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
