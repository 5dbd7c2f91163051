"""What servers say of their use, as it was read last and as it was approved.

Expands alone: what code before it reads and writes stays as it was.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = (
    "ALTER TABLE servers ADD COLUMN instructions VARCHAR",
    "ALTER TABLE servers ADD COLUMN approved_instructions VARCHAR",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
