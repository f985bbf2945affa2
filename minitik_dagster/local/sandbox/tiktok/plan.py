"""The chunk plan that `video/init` announces and every PUT must follow.

Rule: "Media Transfer Guide - Content Posting API". Whether its "MB" is 10^6 or 2^20 bytes is not
said there: a plan must be right under both readings.
"""

from dataclasses import dataclass
from typing import Final

CHUNK_MIN_BYTES: Final = 5_242_880
CHUNK_MAX_BYTES: Final = 64_000_000
LAST_CHUNK_MAX_BYTES: Final = 128_000_000
CHUNKS_MAX: Final = 1_000


@dataclass(frozen=True)
class ChunkPlan:
    """Sizes as announced: every chunk is `chunk_size` long, the last takes the rest."""

    video_size: int
    chunk_size: int
    count: int

    def problem(self) -> str | None:
        """Say why TikTok refuses this plan; None for a good one."""
        if self.video_size < 1 or self.chunk_size < 1:
            return "The video_size and chunk_size must be positive"
        if not 1 <= self.count <= CHUNKS_MAX:
            return f"The total_chunk_count must be between 1 and {CHUNKS_MAX}"
        if self.count != self.video_size // self.chunk_size:
            return "The total_chunk_count must equal video_size divided by chunk_size, rounded down"
        if self.video_size < CHUNK_MIN_BYTES:
            whole = self.chunk_size == self.video_size
            return None if whole else "A video below 5 MB must be uploaded as a whole"
        if self.chunk_size < CHUNK_MIN_BYTES:
            return "The chunk size must be at least 5 MB"
        if self.chunk_size > CHUNK_MAX_BYTES:
            return "The chunk size must not exceed 64 MB"
        if self.video_size > CHUNK_MAX_BYTES and self.count == 1:
            return "A video above 64 MB must be uploaded in several chunks"
        last = self.video_size - self.chunk_size * (self.count - 1)
        return "The final chunk must not exceed 128 MB" if last > LAST_CHUNK_MAX_BYTES else None

    def expected_end(self, first: int) -> int | None:
        """Return where the chunk that begins at byte `first` must end (exclusive)."""
        index, rest = divmod(first, self.chunk_size)
        if rest or index >= self.count:
            return None
        return self.video_size if index == self.count - 1 else first + self.chunk_size
