"""Add search indexes: trigrams of names, exact names, suspended identities, revoked tokens, and deliveries by type.

Backward compatible: earlier code can still use this schema.

Revision ID: 0026
Revises: 0025
"""

from alembic import op

revision = "0026"
down_revision = "0025"

# As dear as it is, so that it is asked of what has the text alone. Arrays are read side by side: a window over the
# letters takes three times as long.
TRIGRAMS = """
CREATE OR REPLACE FUNCTION scopegate_trigrams(words text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
    SELECT array_agg(first || second || third)
    FROM (SELECT string_to_array(lower(words), NULL) AS letters) AS lowered,
        unnest(letters, letters[2:], letters[3:]) AS following(first, second, third)
    WHERE third IS NOT NULL
$$
"""
_TOOL = "name || ' ' || coalesce(title, '') || ' ' || coalesce(description, '')"
_IDENTITY = "user_name || ' ' || coalesce(display_name, '') || ' ' || coalesce(email, '')"
INDEXES = {
    "ix_tools_texts": f"tools USING gin (scopegate_trigrams({_TOOL}))",
    "ix_identities_names": f"identities USING gin (scopegate_trigrams({_IDENTITY}))",
    "ix_tokens_names": "tokens USING gin (scopegate_trigrams(name))",
    "ix_identities_lower_shown_name": "identities (lower(coalesce(display_name, user_name)))",
    "ix_identities_lower_email": "identities (lower(email)) WHERE email IS NOT NULL",
    "ix_identities_stopped": "identities (id) WHERE status <> 'active'",
    "ix_tokens_revoked": "tokens (id) WHERE revoked_at IS NOT NULL",
    "ix_webhook_deliveries_type": "webhook_deliveries (webhook_id, type, id)",
}
# What is indexed has to be known for an index to be chosen for what is rare, and not for what is everywhere.
_ANALYZED = ("tools", "identities", "tokens")


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TRIGRAMS)
    # Nobody waits for this, and it may wait for everybody.
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        connection.exec_driver_sql("SET lock_timeout = 0")
        try:
            for name, what in INDEXES.items():
                # What was broken off leaves an index that is of no use.
                connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
                connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY {name} ON {what}")
            for table in _ANALYZED:
                connection.exec_driver_sql(f"ANALYZE {table}")
        finally:
            connection.exec_driver_sql("RESET lock_timeout")
