"""The routers in the order in which their paths are matched."""

from fastapi import APIRouter

from minitik_dagster.api.routers import (
    accounts,
    analytics,
    auth,
    bulk,
    connections,
    content,
    dead_letters,
    disconnections,
    events,
    health,
    keys,
    metrics,
    nudges,
    platform_events,
    platforms,
    publishing,
    queues,
    refreshes,
    scheduling,
    webhooks,
)

ROUTERS: tuple[APIRouter, ...] = (
    content.router,
    nudges.router,
    scheduling.router,
    bulk.router,
    publishing.router,
    dead_letters.router,
    queues.router,
    accounts.router,
    connections.router,
    auth.router,
    keys.router,
    webhooks.router,
    events.router,
    refreshes.router,
    disconnections.router,
    analytics.router,
    platforms.router,
    platform_events.router,
    health.router,
    metrics.router,
)
