"""What people did: events by month, states of counters, and a state in each restaurant's packed row."""

from db.migrations.plain_sql import run_beside

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__, "up")


def downgrade() -> None:
    run_beside(__file__, "down")
