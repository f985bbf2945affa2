"""The routers in the order in which their paths are matched."""

from fastapi import APIRouter

from minitik_dagster.api.routers import accounts, content, health, platforms, publishing, scheduling

ROUTERS: tuple[APIRouter, ...] = (
    content.router,
    scheduling.router,
    publishing.router,
    accounts.router,
    platforms.router,
    health.router,
)
