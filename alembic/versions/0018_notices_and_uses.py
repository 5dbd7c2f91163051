"""Add expiry notices, each sent once, and the uses of grants.

Backward compatible: earlier code can still use this schema.

Revision ID: 0018
Revises: 0017
"""

from alembic import op

revision = "0018"
down_revision = "0017"

STATEMENTS = (
    """
    CREATE TABLE expiry_notices (
        object_id UUID NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        told_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT pk_expiry_notices PRIMARY KEY (expires_at, object_id)
    )
    """,
    # By grant and thing used, and by grant and who used it: of a large group, each tool with each member would be
    # millions of rows that nobody asks for.
    """
    CREATE TABLE grant_uses (
        grant_id UUID NOT NULL,
        server_id UUID NOT NULL,
        part VARCHAR NOT NULL,
        tool VARCHAR NOT NULL,
        last_used_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_grant_uses PRIMARY KEY (grant_id, server_id, part, tool)
    )
    """,
    """
    CREATE TABLE grant_users (
        grant_id UUID NOT NULL,
        identity_id UUID NOT NULL,
        last_used_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_grant_users PRIMARY KEY (grant_id, identity_id)
    )
    """,
    # Since when it is written down: what was used before is not known.
    """
    CREATE TABLE use_watches (
        subject VARCHAR NOT NULL,
        since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT pk_use_watches PRIMARY KEY (subject)
    )
    """,
    "INSERT INTO use_watches (subject) VALUES ('grants')",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
