"""The first tables: models, photos, regions, codes, queries and their results."""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations import postgres

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Numbers of photos and queries outgrow 32 bits where there are many; SQLite's always have 64.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Paths are compared by their bytes, so that those below a folder are a range of the index.
_PATH = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Creates all tables."""
    op.create_table(
        "model",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.UniqueConstraint("sha256", name="uq_model_sha256"),
    )
    op.create_index(
        "uq_model_current",
        "model",
        ["current"],
        unique=True,
        sqlite_where=sa.text("current"),
        postgresql_where=sa.text("current"),
    )
    op.create_table(
        "photo",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("path", _PATH, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.String(64)),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("taken_at", sa.DateTime()),
        sa.Column("state", sa.String(7), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("model_id", _ID, sa.ForeignKey("model.id", name="fk_photo_model_id_model")),
        sa.Column("indexed_at", sa.DateTime()),
        sa.UniqueConstraint("path", name="uq_photo_path"),
        sa.CheckConstraint("state IN ('new', 'done', 'error', 'missing')", name="state"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "region",
        sa.Column("photo_id", _ID, primary_key=True),
        sa.Column("rank", sa.Integer(), primary_key=True),
        sa.Column("x0", sa.Float(), nullable=False),
        sa.Column("y0", sa.Float(), nullable=False),
        sa.Column("x1", sa.Float(), nullable=False),
        sa.Column("y1", sa.Float(), nullable=False),
        sa.Column("objectness", sa.Float(), nullable=False),
        sa.Column("caption", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photo.id"], ondelete="CASCADE", name="fk_region_photo_id_photo"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "region_codes",
        sa.Column("photo_id", _ID, primary_key=True),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("codes", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photo.id"], ondelete="CASCADE", name="fk_region_codes_photo_id_photo"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_region_codes_model_id_model"),
    )
    op.create_table(
        "query",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("asked_at", sa.DateTime(), nullable=False),
        sa.Column("phrases", sa.JSON(), nullable=False),
        sa.Column("unknown_words", sa.JSON(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("photos", sa.Integer(), nullable=False),
        sa.Column("regions", sa.Integer(), nullable=False),
        sa.Column("elapsed_ms", sa.Float(), nullable=False),
    )
    op.create_table(
        "result",
        sa.Column("query_id", _ID, primary_key=True),
        sa.Column("rank", sa.Integer(), primary_key=True),
        sa.Column("photo_id", _ID),
        sa.Column("path", _PATH, nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["query_id"], ["query.id"], ondelete="CASCADE", name="fk_result_query_id_query"
        ),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photo.id"], ondelete="SET NULL", name="fk_result_photo_id_photo"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_result_photo_id", "result", ["photo_id"])
    op.create_table(
        "result_region",
        sa.Column("query_id", _ID, primary_key=True),
        sa.Column("rank", sa.Integer(), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("phrase", sa.Integer(), nullable=False),
        sa.Column("x0", sa.Float(), nullable=False),
        sa.Column("y0", sa.Float(), nullable=False),
        sa.Column("x1", sa.Float(), nullable=False),
        sa.Column("y1", sa.Float(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("log_likelihood", sa.Float(), nullable=False),
        sa.Column("objectness", sa.Float(), nullable=False),
        sa.Column("caption", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["query_id", "rank"],
            ["result.query_id", "result.rank"],
            ondelete="CASCADE",
            name="fk_result_region_query_id_rank_result",
        ),
        sqlite_with_rowid=False,
    )
    if postgres.is_used():
        # Single codes are cut out of a photo's, which cannot be done in what is compressed.
        op.execute("ALTER TABLE region_codes ALTER COLUMN codes SET STORAGE EXTERNAL")
        postgres.create_claims()
