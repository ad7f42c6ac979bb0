"""The door finds out how many to let in at once, and keeps within its bounds whatever happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bento.edge.admission import Admission, SideDoor

CROWDED_S = 0.25


class Clock:
    """`time.monotonic`, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def a_door(*, least: int, most: int) -> Iterator[tuple[Admission, Clock]]:
    clock = Clock()
    with patch("bento.edge.admission.time.monotonic", clock):
        yield Admission(least=least, most=most, crowded_s=CROWDED_S), clock


def full(admission: Admission) -> int:
    """Let in whoever may come in; how many there are then."""
    while admission.enter():
        pass
    return admission.in_flight


def emptied(admission: Admission, took_s: float) -> None:
    while admission.in_flight:
        admission.leave(took_s)


class TheDoor(RuleBasedStateMachine):
    """Requests come, go fast or slowly, and time passes, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.patch = patch("bento.edge.admission.time.monotonic", self.clock)
        self.patch.start()
        self.least, self.most = 4, 24
        self.door = Admission(least=self.least, most=self.most, crowded_s=CROWDED_S)
        self.inside = 0
        self.lowered_at: list[float] = []

    def teardown(self) -> None:
        self.patch.stop()

    @rule(how_many=st.integers(1, 40))
    def some_come(self, how_many: int) -> None:
        for _ in range(how_many):
            may = self.inside < self.door.limit
            assert self.door.enter() is may
            self.inside += may

    @precondition(lambda self: self.inside)
    @rule(how_many=st.integers(1, 40), took_s=st.sampled_from([0.001, CROWDED_S, CROWDED_S * 1.01, 9.0]))
    def some_go(self, how_many: int, took_s: float) -> None:
        for _ in range(min(how_many, self.inside)):
            before = self.door.limit
            self.door.leave(took_s)
            self.inside -= 1
            if took_s > CROWDED_S:
                assert self.door.limit <= before
            else:
                assert before <= self.door.limit <= before + 1 / before
            if self.door.limit < before:
                self.lowered_at.append(self.clock.now)

    @rule(passes_s=st.sampled_from([0.01, CROWDED_S / 2, CROWDED_S, 5.0]))
    def time_passes(self, passes_s: float) -> None:
        self.clock.now += passes_s

    @invariant()
    def it_counts_right_and_keeps_between_its_bounds(self) -> None:
        assert self.door.in_flight == self.inside
        assert 0 <= self.door.in_flight <= self.most
        assert self.least <= self.door.limit <= self.most

    @invariant()
    def it_is_lowered_once_for_all_who_were_in_the_same_crowd(self) -> None:
        for earlier, later in zip(self.lowered_at, self.lowered_at[1:], strict=False):
            assert later - earlier >= CROWDED_S


TestTheDoor = TheDoor.TestCase
TestTheDoor.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@settings(deadline=None)
@given(least=st.integers(1, 8), most=st.integers(1, 64), crowds=st.integers(0, 40))
def test_after_any_number_of_crowds_fast_answers_bring_it_back_to_most(least: int, most: int, crowds: int) -> None:
    with a_door(least=least, most=most) as (door, clock):
        for _ in range(crowds):
            full(door)
            clock.now += 1
            emptied(door, took_s=1)
        assert min(least, most) <= door.limit <= most
        full(door)
        answers = 0
        while door.limit < most:  # it is needed: who comes next is waiting already
            door.leave(took_s=0.001)
            assert door.enter()
            full(door)
            answers += 1
            assert answers <= most**2
        assert full(door) == most


def test_a_crowd_lets_fewer_in_and_another_fewer_still_but_never_fewer_than_least() -> None:
    with a_door(least=4, most=64) as (door, clock):
        seen = []
        for _ in range(20):
            seen.append(full(door))
            clock.now += 1
            emptied(door, took_s=1)
        assert seen[:3] == [64, 52, 41]
        assert seen[-1] == 4
        assert sorted(seen, reverse=True) == seen


def test_fast_answers_raise_nothing_while_the_door_is_never_full() -> None:
    with a_door(least=4, most=64) as (door, clock):
        clock.now += 1
        assert door.enter()
        door.leave(took_s=1)
        lowered = door.limit
        assert lowered < 64
        for _ in range(1_000):
            assert door.enter()
            door.leave(took_s=0.001)
        assert door.limit == lowered


def test_one_refused_leaves_nothing_behind() -> None:
    with a_door(least=1, most=2) as (door, _):
        assert [door.enter() for _ in range(5)] == [True, True, False, False, False]
        assert door.in_flight == 2
        door.leave(took_s=0.001)
        assert door.enter()


def let_in(door: Admission | SideDoor) -> int:
    """Let in whoever may come in; how many those were."""
    count = 0
    while door.enter():
        count += 1
    return count


def test_the_side_door_lets_in_a_share_and_takes_no_place_of_the_others() -> None:
    with a_door(least=4, most=32) as (door, _):
        side = SideDoor(door, 0.25)
        assert let_in(side) == 8
        assert let_in(door) == 32


def test_the_side_door_is_shut_before_the_main_one_is() -> None:
    with a_door(least=4, most=32) as (door, _):
        side = SideDoor(door, 0.25)
        full(door)
        assert not side.enter() and side.is_full()
        door.leave(0.001)
        assert side.enter() and door.enter()
        side.leave(9.0)
        assert side.in_flight == 0


def test_the_side_door_grows_narrow_with_the_main_one_but_never_shut() -> None:
    with a_door(least=1, most=32) as (door, clock):
        side = SideDoor(door, 0.25)
        widths = [side.limit]
        for _ in range(20):
            full(door)
            clock.now += 1
            emptied(door, took_s=1)
            widths.append(side.limit)
        assert widths[0] == 8 and widths[-1] == 1
        assert sorted(widths, reverse=True) == widths


def test_how_long_the_side_door_s_take_says_nothing_of_the_main_ones() -> None:
    with a_door(least=4, most=32) as (door, clock):
        side = SideDoor(door, 0.25)
        for _ in range(10):
            assert side.enter()
            clock.now += 1
            side.leave(9.0)
        assert door.limit == 32 and door.in_flight == 0
