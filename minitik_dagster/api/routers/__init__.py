"""The routers in the order in which their paths are matched."""

from fastapi import APIRouter

ROUTERS: tuple[APIRouter, ...] = ()
