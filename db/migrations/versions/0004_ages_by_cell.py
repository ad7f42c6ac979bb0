"""Event times in the index by cell, so that ages are read index-only; while the service reads."""

from db.migrations.plain_sql import run_online_beside

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_online_beside(__file__, "up")


def downgrade() -> None:
    run_online_beside(__file__, "down")
