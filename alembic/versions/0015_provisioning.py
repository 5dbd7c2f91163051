"""Store the SCIM attributes of provisioned people.

Backward compatible: earlier code can still use this schema.

Revision ID: 0015
Revises: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"

STATEMENTS = (
    """
    CREATE TABLE scim_users (
        identity_id UUID NOT NULL,
        provider_id UUID NOT NULL,
        user_name VARCHAR NOT NULL,
        external_id VARCHAR,
        profile JSONB DEFAULT '{}' NOT NULL,
        deleted_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_scim_users PRIMARY KEY (identity_id),
        CONSTRAINT fk_scim_users_identity_id FOREIGN KEY (identity_id) REFERENCES identities (id),
        CONSTRAINT fk_scim_users_provider_id FOREIGN KEY (provider_id) REFERENCES identity_providers (id)
    )
    """,
    """
    CREATE UNIQUE INDEX uq_scim_users_user_name ON scim_users (provider_id, lower(user_name))
    WHERE deleted_at IS NULL
    """,
    """
    CREATE UNIQUE INDEX uq_scim_users_external_id ON scim_users (provider_id, external_id)
    WHERE deleted_at IS NULL AND external_id IS NOT NULL
    """,
    "CREATE INDEX ix_scim_users_provider_id_identity_id ON scim_users (provider_id, identity_id)",
    """
    CREATE INDEX ix_scim_users_display_name ON scim_users (provider_id, lower(profile ->> 'displayName'))
    WHERE deleted_at IS NULL
    """,
    """
    CREATE INDEX ix_scim_users_emails ON scim_users
    USING gin ((lower(jsonb_path_query_array(profile, '$.emails[*].value')::text)::jsonb) jsonb_path_ops)
    """,
    # Of a partial index none are used, and without any a name counts as one of many people.
    "CREATE STATISTICS st_scim_users_user_name ON (lower(user_name)) FROM scim_users",
    "CREATE STATISTICS st_scim_users_display_name ON (lower(profile ->> 'displayName')) FROM scim_users",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
