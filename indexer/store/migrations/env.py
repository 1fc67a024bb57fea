"""What alembic runs around the steps; the connection comes from `migrations.upgrade`."""

from alembic import context

from indexer.store.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
context.run_migrations()
