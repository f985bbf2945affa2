"""The sandbox's own clock: the machine's, plus what a test has put it forward by."""

import time


class SandboxClock:
    """Epoch milliseconds that a test may move forward (token expiry, container expiry, quotas)."""

    def __init__(self, offset_ms: int = 0) -> None:
        self.offset_ms = offset_ms

    def now_ms(self) -> int:
        """Return the sandbox's present instant in epoch milliseconds."""
        return time.time_ns() // 1_000_000 + self.offset_ms

    def advance(self, milliseconds: int) -> None:
        """Put the clock forward."""
        self.offset_ms += milliseconds
