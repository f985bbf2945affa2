"""How long to wait before the next attempt: exponential from 2 s, with full jitter above half."""

from datetime import timedelta
from random import Random

FIRST = timedelta(seconds=2)
MOST = timedelta(minutes=5)


def backoff_delay(attempts: int, random: Random) -> timedelta:
    """Return the wait after `attempts` earlier failures: 2, 4, 8 … 300 s, times 0.5 to 1.5."""
    base = min(FIRST * (1 << min(attempts, 16)), MOST)
    return base * (0.5 + random.random())
