"""The camera of a photo, and the words of all captions as a full-text table.

A row of `caption_text` is a region's caption; its number holds all that ranking needs, so that
nothing else is read for it: photo id << 24 | words of the caption (at most 255) << 16 | rank.
The table keeps no text of its own (`content=''`): a row leaves by the text it came with. Triggers
see to that, also when a photo's deletion cascades to its regions. A later step that copies `region`
(batch_alter_table) drops the triggers with the old table and has to make them again.
"""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations import postgres

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NUMBER = (
    "({0}.photo_id << 24)"
    " | (min(length({0}.caption) - length(replace({0}.caption, ' ', '')) + 1, 255) << 16)"
    " | {0}.rank"
)
_ENTERS = f"INSERT INTO caption_text(rowid, caption) VALUES ({_NUMBER}, {{0}}.caption);"
_LEAVES = (
    "INSERT INTO caption_text(caption_text, rowid, caption) "
    f"VALUES ('delete', {_NUMBER}, {{0}}.caption);"
)
CAPTION_TABLE = (
    "CREATE VIRTUAL TABLE caption_text USING fts5(caption, content='', tokenize='porter unicode61')"
)
CAPTION_TRIGGERS = {
    f"caption_text_{event.lower()}": (
        f"CREATE TRIGGER caption_text_{event.lower()} AFTER {event} ON region "
        f"BEGIN {statements} END"
    )
    for event, statements in (
        ("INSERT", _ENTERS.format("new")),
        ("DELETE", _LEAVES.format("old")),
        ("UPDATE", _LEAVES.format("old") + " " + _ENTERS.format("new")),
    )
}
CAPTIONS_ENTER = (
    "INSERT INTO caption_text(rowid, caption) "
    f"SELECT {_NUMBER.format('region')}, caption FROM region"
)


def upgrade() -> None:
    """Adds the column, and the table filled from the regions that are there."""
    op.add_column("photo", sa.Column("camera", sa.Text()))
    if postgres.is_used():
        postgres.create_captions()
        return
    for statement in (CAPTION_TABLE, CAPTIONS_ENTER, *CAPTION_TRIGGERS.values()):
        op.execute(statement)
