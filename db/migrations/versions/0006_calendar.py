"""Event times that the service can tell: from year 1 to year 9999; while others read and write."""

from db.migrations.plain_sql import run_online_beside

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_online_beside(__file__, "up")


def downgrade() -> None:
    run_online_beside(__file__, "down")
