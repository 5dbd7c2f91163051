"""Up to when the sign-ins of somebody are over, as their provider said.

Expands alone: what code before it reads and writes stays as it was.

Revision ID: 0020
Revises: 0019
"""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE identities ADD COLUMN sign_ins_after TIMESTAMP WITH TIME ZONE")
