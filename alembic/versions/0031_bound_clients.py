"""Make clients of the audit log append-only, and bind them to the events that name them.

A client's id is a digest of its row and of its salt, so that ``scopegate audit verify`` finds a row that was altered.
Rows without a salt were written by earlier code, whose id is a keyed digest; that code still writes such rows. The
owner of the tables deletes rows that no event names anymore.

Revision ID: 0031
Revises: 0030
"""

from alembic import op

revision = "0031"
down_revision = "0030"

STATEMENTS = (
    "ALTER TABLE audit_clients ADD COLUMN salt BYTEA",
    """
    CREATE TRIGGER audit_clients_append_only BEFORE UPDATE ON audit_clients
        FOR EACH ROW EXECUTE FUNCTION scopegate_refuse_change()
    """,
    """
    CREATE TRIGGER audit_clients_no_truncate BEFORE TRUNCATE ON audit_clients
        FOR EACH STATEMENT EXECUTE FUNCTION scopegate_refuse_change()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
