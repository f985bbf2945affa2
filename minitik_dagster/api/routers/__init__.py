"""The routers in the order in which their paths are matched."""

from fastapi import APIRouter

from minitik_dagster.api.routers import (
    accounts,
    auth,
    bulk,
    connections,
    content,
    dead_letters,
    disconnections,
    health,
    keys,
    platform_events,
    platforms,
    publishing,
    queues,
    refreshes,
    scheduling,
)

ROUTERS: tuple[APIRouter, ...] = (
    content.router,
    scheduling.router,
    bulk.router,
    publishing.router,
    dead_letters.router,
    queues.router,
    accounts.router,
    connections.router,
    auth.router,
    keys.router,
    refreshes.router,
    disconnections.router,
    platforms.router,
    platform_events.router,
    health.router,
)
