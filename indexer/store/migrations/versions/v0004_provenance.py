"""Where a model comes from, kept in every index that it made."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; the model's row is filled in the next time that it indexes."""
    op.add_column("model", sa.Column("provenance", sa.JSON()))
