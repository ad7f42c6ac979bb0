"""Two roles beside the owner: hexbite_reader for the service, hexbite_loader for loads."""

from db.migrations.plain_sql import run_beside

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__, "up")


def downgrade() -> None:
    run_beside(__file__, "down")
