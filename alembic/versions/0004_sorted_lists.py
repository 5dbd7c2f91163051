"""Add indexes for the sort orders of lists.

Backward compatible: earlier code can still use this schema.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    "CREATE INDEX ix_servers_slug_id ON servers (slug, id)",
    "CREATE INDEX ix_servers_lower_name_id ON servers (lower(name), id)",
    "CREATE INDEX ix_tools_name_id ON tools (name, id)",
    "CREATE INDEX ix_identities_lower_user_name_id ON identities (lower(user_name), id)",
    "CREATE INDEX ix_groups_lower_name_id ON groups (lower(name), id)",
    "CREATE INDEX ix_grants_expiry_id ON grants (coalesce(expires_at, 'infinity'::timestamptz), id)",
    "CREATE INDEX ix_tokens_lower_name_id ON tokens (lower(name), id)",
    "CREATE INDEX ix_tokens_expires_at_id ON tokens (expires_at, id)",
    "CREATE INDEX ix_service_accounts_lower_name_id ON service_accounts (lower(name), id)",
    """
    CREATE INDEX ix_administrators_sign_in_id ON administrators
    (coalesce(last_sign_in_at, '-infinity'::timestamptz), id)
    """,
    "CREATE INDEX ix_identity_providers_lower_name_id ON identity_providers (lower(name), id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
