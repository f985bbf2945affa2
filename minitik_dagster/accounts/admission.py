"""Whether this deployment may ask the platforms about this database's accounts."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.db.migrate import require_schema, require_world
from minitik_dagster.errors import ConfigurationError
from minitik_dagster.settings import Settings


def may_ask(settings: Settings) -> None:
    """Raise ConfigurationError where MINITIK_DISPATCH is off."""
    if settings.minitik_dispatch == "off":
        raise ConfigurationError(["MINITIK_DISPATCH is off: this deployment asks no platform"])


async def admit(engine: AsyncEngine, settings: Settings) -> None:
    """Refuse another world's database: its tokens would be refused, and every account ended.

    Raises SchemaVersionError, and ConfigurationError for a database that is bound to another instance.
    """
    async with engine.connect() as connection:
        await connection.run_sync(require_schema)
        await connection.run_sync(require_world, settings.platform_world)
        owner = await connection.scalar(
            text("SELECT value #>> '{}' FROM settings WHERE key = 'instance'")
        )
    instance = settings.minitik_instance or "default"
    if owner not in {None, instance}:
        problem = (
            f"MINITIK_INSTANCE is {instance!r}, but this database is bound to {owner!r}: "
            "a copy of a deployment must not use up its refresh tokens"
        )
        raise ConfigurationError([problem])
