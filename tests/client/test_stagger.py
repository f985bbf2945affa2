"""How far parts may be ahead of what is confirmed."""

import random

import pytest

from minitik_dagster.client.stagger import Stagger, Stoppage


@pytest.mark.parametrize("lanes", [1, 2, 4, 16])
def test_what_a_kill_can_cost_is_less_than_half_of_the_lanes_and_a_half(lanes: int) -> None:
    """Whatever the parts' speeds: sent and not confirmed is at most (n + 1) / 2 parts."""
    draw = random.Random(lanes)
    stagger, pieces = Stagger(lanes), 32
    sent: dict[int, int] = {}
    flights = {}
    most = 0.0
    for number in range(lanes):
        flights[number] = stagger.flight(number)
        flights[number].__enter__()
        sent[number] = 0
    for _ in range(20_000):
        number = draw.choice(list(sent))
        if sent[number] == pieces:  # it is confirmed, and the next one begins
            flights.pop(number).__exit__(None, None, None)
            del sent[number]
            new = number + lanes
            flights[new] = stagger.flight(new)
            flights[new].__enter__()
            sent[new] = 0
        elif stagger.may(number, (sent[number] + 1) / pieces):
            sent[number] += 1
        most = max(most, sum(sent.values()) / pieces)
    assert max(flights) > 10 * lanes
    assert most <= (lanes + 1) / 2
    assert most < (lanes + 1) / 2 or lanes == 1


def test_a_stop_ends_every_wait() -> None:
    """Nobody waits for a part that will not be confirmed any more."""
    stagger = Stagger(2)
    stagger.stop()
    with stagger.flight(1), pytest.raises(Stoppage):
        stagger.wait(1, 0.5)
