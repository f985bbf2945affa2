"""What a question of health finds in the tables."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """How many rows a question names, and the ids of the first of them, as many as it asks for."""

    total: int
    ids: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.total > 0
