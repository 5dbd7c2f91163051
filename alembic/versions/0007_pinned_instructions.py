"""Store server instructions: the latest and the approved ones.

Backward compatible: earlier code can still use this schema.

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
