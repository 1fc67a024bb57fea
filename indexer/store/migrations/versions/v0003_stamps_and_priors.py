"""What tells a cache which photos it has as they are, and a result how likely its phrase was.

`photo.stamp` is a random number that changes with every writing of a photo's codes, so that no two
histories of an index give one number to different codes. `edition` has one row whose stamp changes
with any photo's codes or state; triggers see to that.
"""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations import postgres

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns and the table, and gives every photo a stamp."""
    op.add_column("photo", sa.Column("stamp", sa.BigInteger()))
    if not postgres.is_used():  # there, no photo is older than this step
        op.execute("UPDATE photo SET stamp = random()")
    op.add_column("result_region", sa.Column("log_prior", sa.Float()))
    op.create_table(
        "edition",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("stamp", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_edition"),
    )
    if postgres.is_used():
        postgres.create_editions()
        return
    op.execute("INSERT INTO edition (id, stamp) VALUES (1, random())")
    for event in ("INSERT", "DELETE", "UPDATE OF state, stamp"):
        op.execute(
            f"CREATE TRIGGER edition_{event.split()[0].lower()} AFTER {event} ON photo "
            "BEGIN UPDATE edition SET stamp = random(); END"
        )
