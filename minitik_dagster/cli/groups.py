"""The groups of commands, in the order in which `minitik --help` lists them."""

from typing import Protocol

import typer

from minitik_dagster.cli import (
    adoption,
    alerts,
    analytics,
    audit,
    breaker,
    database,
    dead_letters,
    doctor,
    engine,
    forecast,
    incident,
    lateness,
    local,
    maintenance,
    people,
    probes,
    publications,
    queues,
    restores,
    schedule,
    tokens,
    upload,
)


class Group(Protocol):
    """A module that adds its commands."""

    def register(self, app: typer.Typer) -> None:
        """Add the commands to the application."""


GROUPS: tuple[Group, ...] = (
    local,
    engine,
    database,
    adoption,
    restores,
    people,
    schedule,
    publications,
    breaker,
    alerts,
    queues,
    dead_letters,
    tokens,
    probes,
    audit,
    doctor,
    forecast,
    lateness,
    incident,
    maintenance,
    analytics,
    upload,
)
