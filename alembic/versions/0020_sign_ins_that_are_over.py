"""Store until when an identity's sign-ins have ended, as its provider reported.

Backward compatible: earlier code can still use this schema.

Revision ID: 0020
Revises: 0019
"""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE identities ADD COLUMN sign_ins_after TIMESTAMP WITH TIME ZONE")
