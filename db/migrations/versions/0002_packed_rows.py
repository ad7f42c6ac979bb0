"""Restaurants beside their wire form, so that a neighbourhood leaves the server in a few long strings of bytes."""

from alembic import op

from db.migrations.plain_sql import run_beside

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__, "up")
    # A rewritten table has neither statistics nor a map of what is visible to all: without it no scan is index-only.
    with op.get_context().autocommit_block():
        op.execute("VACUUM (ANALYZE) restaurants")


def downgrade() -> None:
    run_beside(__file__, "down")
