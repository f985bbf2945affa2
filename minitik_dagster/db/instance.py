"""Whose database is it? A preview or a copy works beside the deployment that it belongs to.

The first dispatcher binds a database to its MINITIK_INSTANCE (publishing.admission). Who is switched off
or has another name publishes nothing, sends nothing and clears nothing away of its own accord.
"""

from sqlalchemy import Connection, text

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.settings import Settings

BOUND_TO = text("SELECT value #>> '{}' FROM settings WHERE key = 'instance'")


def instance_of(settings: Settings) -> str:
    """Return this deployment's name."""
    return settings.minitik_instance or "default"


def not_ours(connection: Connection, settings: Settings) -> str | None:
    """Why this deployment does nothing of its own accord; None where the database is its own.

    A database that no dispatcher has been at yet is everybody's.
    """
    if settings.minitik_dispatch == "off":
        return "MINITIK_DISPATCH is off"
    owner = connection.execute(BOUND_TO).scalar_one_or_none()
    name = instance_of(settings)
    if owner is None or owner == name:
        return None
    return f"MINITIK_INSTANCE is {name!r}, but this database is bound to {owner!r}"


def is_ours(connection: Connection, settings: Settings) -> bool:
    """Whether this deployment publishes and sends from the database."""
    return not_ours(connection, settings) is None


def require_ours(connection: Connection, settings: Settings) -> None:
    """Raise ConfigurationError, with the reason, where the database is another deployment's."""
    reason = not_ours(connection, settings)
    if reason is not None:
        raise ConfigurationError([f"{reason}: another deployment maintains this database"])
