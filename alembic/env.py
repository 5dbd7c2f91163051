"""Alembic's entry: runs on the connection that ``app.db.migrations`` hands over."""

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    transaction_per_migration=True,
    on_version_apply=attributes["before_commit"],
)
with context.begin_transaction():
    context.run_migrations()
