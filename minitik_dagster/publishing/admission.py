"""May this process act on this database? Its schema, the world it belongs to, the instance that owns it."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.db.instance import BOUND_TO
from minitik_dagster.db.migrate import require_schema, require_world
from minitik_dagster.errors import ConfigurationError
from minitik_dagster.settings import Settings

_BIND_INSTANCE = text(
    """
    INSERT INTO settings (key, value, "updatedAt")
    VALUES ('instance', to_jsonb(CAST(:instance AS text)), statement_timestamp() AT TIME ZONE 'UTC')
    ON CONFLICT (key) DO NOTHING
    """
)


async def admit(engine: AsyncEngine, settings: Settings, instance: str) -> None:
    """Refuse a database of another version, world or instance before anything is claimed.

    The first that is admitted binds the database to its instance. Raises SchemaVersionError, or
    ConfigurationError where the database belongs to another instance.
    """
    async with engine.begin() as connection:
        await connection.run_sync(require_schema)
        await connection.run_sync(require_world, settings.platform_world)
        await connection.execute(_BIND_INSTANCE, {"instance": instance})
        owner = (await connection.execute(BOUND_TO)).scalar_one()
    if owner != instance:
        raise ConfigurationError(
            [
                (
                    f"MINITIK_INSTANCE is {instance!r}, but this database is bound to {owner!r}: "
                    "a copy of a deployment must not publish from it"
                )
            ]
        )
