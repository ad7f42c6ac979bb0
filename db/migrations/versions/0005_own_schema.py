"""A schema of its own for everything that is ours: what stood in another one moves."""

from db.migrations.plain_sql import run_beside

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__, "up")


def downgrade() -> None:
    run_beside(__file__, "down")
