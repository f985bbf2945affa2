"""Alembic's entry: runs migrations on the connection that `db.migrate` hands over."""

from alembic import context

from minitik_dagster.db.migrate import VERSION_TABLE


def _run() -> None:
    connection = context.config.attributes.get("connection")
    if connection is None:
        context.configure(
            dialect_name="postgresql",
            version_table=VERSION_TABLE,
            literal_binds=True,
            transaction_per_migration=True,
        )
    else:
        context.configure(
            connection=connection,
            version_table=VERSION_TABLE,
            transaction_per_migration=True,
        )
    with context.begin_transaction():
        context.run_migrations()


_run()
