"""Restaurants beside their wire form, so that a neighbourhood leaves the server in a few long strings of bytes."""

from db.migrations.plain_sql import run_beside

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__, "up")


def downgrade() -> None:
    run_beside(__file__, "down")
