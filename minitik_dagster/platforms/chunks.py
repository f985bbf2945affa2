"""TikTok's chunk plan for FILE_UPLOAD (engine.md, TikTok): the held last chunk as small as allowed.

A file under 10,485,760 bytes is one chunk. Above, n = floor(size / 5,242,880) chunks of
floor(size / n), the last one bigger by the rest: right whether the vendor's "MB" is 10^6 or 2^20.
"""

from dataclasses import dataclass

CHUNK_FLOOR_BYTES = 5_242_880


@dataclass(frozen=True)
class ChunkPlan:
    """How a file of `size` bytes is cut: `count` chunks of `chunk_size`, the last takes the rest."""

    size: int
    chunk_size: int
    count: int

    def span(self, index: int) -> tuple[int, int]:
        """Return offset and length of chunk `index`, counted from 0."""
        start = self.chunk_size * index
        return start, (self.size - start if index == self.count - 1 else self.chunk_size)

    def chunks_stored(self, reported: int) -> int | None:
        """Return how many chunks a reported progress is, None where it is no boundary of ours.

        Progress may be a count of bytes or the offset of the last one: chunks are far apart, so a
        number fits at most one of the two readings.
        """
        for done in (reported, reported + 1):
            if done == self.size:
                return self.count
            if done >= 0 and done % self.chunk_size == 0 and done // self.chunk_size < self.count:
                return done // self.chunk_size
        return None


def plan_chunks(size: int) -> ChunkPlan:
    """Return the plan for a file of `size` bytes (at least 1)."""
    count = max(1, size // CHUNK_FLOOR_BYTES)
    return ChunkPlan(size, size // count, count)
