"""Checksums of what is stored of a photo, so that no answer is built on bytes that have changed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; photos that are there have no checksums until they are described again."""
    op.add_column("region_codes", sa.Column("sums", sa.LargeBinary()))
