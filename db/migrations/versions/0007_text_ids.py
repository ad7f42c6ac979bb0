"""Ids that are text: the company's own beside the integer that stands for it."""

from db.migrations.plain_sql import run_online_beside

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_online_beside(__file__, "up")


def downgrade() -> None:
    run_online_beside(__file__, "down")
