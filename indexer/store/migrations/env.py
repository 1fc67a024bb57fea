"""What alembic runs around the steps; the connection comes from `migrations.upgrade`."""

from alembic import context

from indexer.store.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
)
context.run_migrations()
