"""The chunk plan, for every size, under both readings of the vendor's "MB"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitik_dagster.local.sandbox.tiktok.plan import ChunkPlan as VendorPlan
from minitik_dagster.platforms.chunks import plan_chunks

_ONE_CHUNK_BELOW = 10_485_760
_MOST = 4_000_000_000

sizes = st.one_of(
    st.integers(1, _MOST),
    st.integers(1, 800).map(lambda n: n * 5_242_880),
    st.integers(1, 800).map(lambda n: n * 5_242_880 - 1),
)


@given(sizes)
def test_every_plan_is_one_that_tiktok_takes(size: int) -> None:
    """The vendor's own checks, as the sandbox has them, refuse none of ours."""
    plan = plan_chunks(size)
    assert VendorPlan(plan.size, plan.chunk_size, plan.count).problem() is None


@given(sizes)
def test_chunks_follow_on_each_other_and_cover_the_file(size: int) -> None:
    """No byte is missing or sent twice."""
    plan = plan_chunks(size)
    position = 0
    for index in range(plan.count):
        start, length = plan.span(index)
        assert (start, length > 0) == (position, True)
        position += length
    assert position == size


@given(sizes)
def test_the_held_chunk_stays_small(size: int) -> None:
    """5.2 to 7.9 MB above the bound, the whole file below it."""
    plan = plan_chunks(size)
    held = plan.span(plan.count - 1)[1]
    if size < _ONE_CHUNK_BELOW:
        assert (plan.count, held) == (1, size)
    else:
        assert plan.count > 1
        assert 5_242_880 <= held < 7_900_000


@given(sizes, st.data())
def test_progress_is_understood_as_a_count_or_as_a_last_offset(
    size: int, data: st.DataObject
) -> None:
    """The vendor's Content-Range leaves both readings open."""
    plan = plan_chunks(size)
    done = data.draw(st.integers(0, plan.count))
    stored = size if done == plan.count else plan.chunk_size * done
    assert plan.chunks_stored(stored) == done
    if stored > 1:
        assert plan.chunks_stored(stored - 1) == done


@pytest.mark.parametrize("reported", [1, 5_000_000, 11_534_336 - 2, 99_999_999])
def test_progress_that_is_no_boundary_of_ours_is_not_guessed(reported: int) -> None:
    """Bytes that we never announced are nobody's progress."""
    assert plan_chunks(11_534_336).chunks_stored(reported) is None
