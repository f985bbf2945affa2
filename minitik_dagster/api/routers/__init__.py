"""The routers in the order in which their paths are matched."""

from fastapi import APIRouter

from minitik_dagster.api.routers import (
    accounts,
    auth,
    connections,
    content,
    dead_letters,
    direct_upload,
    disconnections,
    health,
    keys,
    library,
    platforms,
    publishing,
    queues,
    refreshes,
    scheduling,
)

ROUTERS: tuple[APIRouter, ...] = (
    content.router,
    direct_upload.router,
    library.router,
    scheduling.router,
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
    health.router,
)
