"""What the absence of each part means: told by `/readyz` and by the alerts in the same words."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

LOSSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "postgresql": "nothing is taken in and nothing new is sent; what is prepared is held",
        "dispatcher": "nothing is sent: posts wait, and are late, until one is alive",
        "dagster": "no new runs: tokens, analytics and checks wait; a resident dispatcher publishes",
        "redis": "all calls are allowed: breakers and limits count per process only",
        "mongodb": "analytics are unavailable; publishing is not affected",
        "s3": "uploads and preparations wait; what is prepared still goes out",
        "deployment": "this deployment publishes and sends nothing, but sign-in links asked for at it",
    }
)
