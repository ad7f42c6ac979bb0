"""When a dead worker is replaced."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from bento.process.supervisor import Pause


class Clocks:
    """Both clocks of a process, in step."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def time(self) -> float:
        return self.now + 1e9

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clocks() -> Iterator[Clocks]:
    clocks = Clocks()
    with patch("bento.process.supervisor.time", clocks):
        yield clocks


def waits_s(pause: Pause, clocks: Clocks, dead: dict[int, float], by: set[int]) -> float:
    """How long the dead wait until they are replaced."""
    began = clocks.now
    while pause.holds(dead):
        clocks.now += 0.25
    pause.replaced(dead, by)
    return clocks.now - began


def test_one_that_dies_at_once_again_and_again_is_replaced_after_a_growing_pause(clocks: Clocks) -> None:
    pause = Pause()
    waited = []
    for pid in range(8):
        started = clocks.time()
        clocks.now += 3
        waited.append(waits_s(pause, clocks, {pid: started}, {pid + 1}))
    assert waited == [0, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(("lived_s", "waited_s"), [(29.9, 1), (30.1, 0)])
def test_one_that_lived_for_a_while_is_replaced_at_once_and_all_is_forgotten(
    clocks: Clocks, lived_s: float, waited_s: float
) -> None:
    pause = Pause()
    started = clocks.time()
    assert waits_s(pause, clocks, {1: started}, {2}) == 0
    started = clocks.time()
    clocks.now += lived_s
    assert waits_s(pause, clocks, {2: started}, {3}) == waited_s
    started = clocks.time()
    assert waits_s(pause, clocks, {3: started}, {4}) == 2 * waited_s or waited_s == 0


def test_workers_of_the_start_are_replaced_at_once_however_many_die(clocks: Clocks) -> None:
    pause = Pause()
    started = clocks.time()
    assert waits_s(pause, clocks, {1: started}, {11}) == 0
    assert waits_s(pause, clocks, {2: started, 3: started}, {12, 13}) == 0


def test_all_that_die_in_one_pause_are_one_round(clocks: Clocks) -> None:
    pause = Pause()
    started = clocks.time()
    assert waits_s(pause, clocks, dict.fromkeys(range(4), started), {10, 11, 12, 13}) == 0
    again = clocks.time()
    for dead in ({10}, {10, 11}, {10, 11, 12}):
        assert pause.holds(dict.fromkeys(dead, again))
        clocks.now += 0.1
    assert waits_s(pause, clocks, dict.fromkeys((10, 11, 12, 13), again), {20, 21, 22, 23}) < 1
    assert waits_s(pause, clocks, {20: clocks.time()}, {30}) == 2


def test_one_death_is_one_however_often_it_is_looked_at_and_a_healthy_one_s_ends_the_pause(clocks: Clocks) -> None:
    pause = Pause()
    assert waits_s(pause, clocks, {1: clocks.time()}, {2}) == 0
    again = {2: clocks.time()}
    assert [pause.holds(again) for _ in range(5)] == [True] * 5
    assert not pause.holds(again | {9: clocks.time() - 3_600})
