"""Write the current state as the first version of each identity and server, to start their history.

Only adds rows. Backward compatible: earlier code can still use this schema.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"

STATEMENTS = (
    """
    INSERT INTO object_versions (object_id, version, kind, content)
    SELECT id, 1, 'identity',
           jsonb_build_object('attributes', attributes, 'kind', kind, 'owner_id', owner_id, 'status', status)
    FROM identities WHERE NOT EXISTS (SELECT FROM object_versions WHERE object_id = identities.id)
    """,
    """
    INSERT INTO object_versions (object_id, version, kind, content)
    SELECT id, 1, 'server', jsonb_build_object('labels', labels, 'slug', slug, 'status', status)
    FROM servers
    WHERE ended_at IS NULL AND NOT EXISTS (SELECT FROM object_versions WHERE object_id = servers.id)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
