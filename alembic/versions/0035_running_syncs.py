"""Store when a requested sync began, so that it can continue after its request was answered.

Revision ID: 0035
Revises: 0034
"""

from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE servers ADD COLUMN sync_started_at timestamptz")
