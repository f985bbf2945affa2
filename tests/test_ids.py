"""Ids look like the adopted schema's and do not meet."""

import re
from itertools import chain
from multiprocessing import get_context

import pytest

from minitik_dagster.ids import new_id

SHAPE = re.compile(r"c[0-9a-z]{24}")


def _many(count: int) -> list[str]:
    return [new_id() for _ in range(count)]


def test_an_id_has_the_shape_of_the_old_systems() -> None:
    """`c` and 24 characters of base 36: safe in URLs, keys of objects and SQL."""
    assert all(SHAPE.fullmatch(one) for one in _many(1000))


def test_ids_of_several_processes_do_not_meet() -> None:
    """Nothing is shared between them but the clock."""
    with get_context("spawn").Pool(3) as pool:
        made = list(chain.from_iterable(pool.map(_many, [20_000] * 3)))
    assert len(set(made)) == 60_000


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of milliseconds that moves one on at each reading."""
    start = 1_800_000_000_000
    readings = iter(range(start, start + 10_000))
    monkeypatch.setattr("minitik_dagster.ids.time.time_ns", lambda: next(readings) * 1_000_000)


def test_later_ids_sort_later(ticking: None) -> None:
    """New rows go to one end of an index, and lists by id are lists by time."""
    made = _many(5000)
    assert made == sorted(made)


def test_ids_of_one_millisecond_cannot_be_guessed_from_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """82 random bits after the time."""
    monkeypatch.setattr("minitik_dagster.ids.time.time_ns", lambda: 1_800_000_000_000 * 1_000_000)
    made = _many(2000)
    assert len({one[:9] for one in made}) == 1
    assert len({one[9:] for one in made}) == 2000
    assert len({one[-6:] for one in made}) > 1990


def test_the_time_fits_its_characters_for_as_long_as_it_matters() -> None:
    """Eight characters of base 36 hold milliseconds until the year 2059."""
    assert 36**8 / 1000 / 86_400 / 365.25 + 1970 > 2059
