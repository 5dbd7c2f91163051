"""Add policies, the binding of approvals, attributes of identities, and results of observed policies.

Not backward compatible: earlier code does not evaluate policies, so it must not use this database.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    """
    CREATE TABLE policies (
        id UUID NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        revision INTEGER DEFAULT 1 NOT NULL,
        name VARCHAR NOT NULL,
        description VARCHAR,
        text VARCHAR NOT NULL,
        mode VARCHAR DEFAULT 'enforce' NOT NULL,
        tests JSONB DEFAULT '[]' NOT NULL,
        status VARCHAR DEFAULT 'draft' NOT NULL,
        version INTEGER,
        published_text VARCHAR,
        published_mode VARCHAR,
        published_at TIMESTAMP WITH TIME ZONE,
        ended_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_policies PRIMARY KEY (id)
    )
    """,
    "CREATE UNIQUE INDEX uq_policies_name ON policies (lower(name)) WHERE ended_at IS NULL",
    "CREATE INDEX ix_policies_published ON policies (id) WHERE status = 'published'",
    "ALTER TABLE identities ADD COLUMN attributes JSONB DEFAULT '{}' NOT NULL",
    "ALTER TABLE audit_events ADD COLUMN observed_policy_ids UUID[]",
    "ALTER TABLE approvals ADD COLUMN policy_versions INTEGER[]",
    "ALTER TABLE approvals ADD COLUMN approver_group VARCHAR",
    "ALTER TABLE approvals ADD COLUMN binding BYTEA",
    "ALTER TABLE approvals ADD COLUMN event_id UUID",
    "ALTER TABLE approvals ADD COLUMN decided_at TIMESTAMP WITH TIME ZONE",
    "ALTER TABLE approvals ADD COLUMN decision_reason VARCHAR",
    "ALTER TABLE approvals ADD COLUMN consumed_at TIMESTAMP WITH TIME ZONE",
    # Nothing wrote approvals before: the indexes are made on an empty table.
    "CREATE UNIQUE INDEX uq_approvals_pending ON approvals (binding) WHERE state = 'pending'",
    "CREATE INDEX ix_approvals_approved ON approvals (binding) WHERE state = 'approved'",
    "CREATE INDEX ix_approvals_event_id ON approvals (event_id)",
    "CREATE INDEX ix_approvals_consumed_by ON approvals (consumed_by) WHERE consumed_by IS NOT NULL",
    "UPDATE compatibility SET oldest_generation = 2 WHERE id = 1",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
