"""The steps from each version of the tables to the next, run when an index is opened.

To change the tables: change `schema.py` and its REVISION, and add `versions/vNNNN_what.py` whose
`down_revision` is the newest one. Steps only go up. Use `op.batch_alter_table` for what SQLite
cannot alter: it copies the table, which is safe here because foreign keys are off meanwhile.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

if TYPE_CHECKING:
    from alembic.config import Config

HERE = Path(__file__).parent


def upgrade(connection: Connection, *, scripts: Path = HERE) -> None:
    """Brings the tables to the newest version, in the transaction of the connection.

    Args:
        connection: in a transaction, with foreign keys off.
        scripts: the folder of `env.py` and `versions`.
    """
    from alembic import command

    config = _config(scripts)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def revisions(*, scripts: Path = HERE) -> list[str]:
    """All versions of the tables, oldest first."""
    from alembic.script import ScriptDirectory

    walk = ScriptDirectory.from_config(_config(scripts)).walk_revisions()
    return [script.revision for script in walk][::-1]


def _config(scripts: Path) -> "Config":
    # Imported here because alembic takes a fifth of a second, and an index that is up to date
    # does not need it.
    from alembic.config import Config

    config = Config()
    # Config interpolates per cent signs, which a path may contain.
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
