"""Store which workload tokens have signed in, so that each sign-in is recorded once.

Backward compatible: earlier code can still use this schema.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    """
    CREATE TABLE workload_sign_ins (
        digest BYTEA NOT NULL,
        service_account_id UUID NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_workload_sign_ins PRIMARY KEY (digest)
    )
    """,
    "CREATE INDEX ix_workload_sign_ins_expires_at ON workload_sign_ins (expires_at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
