"""Every row once an epoch, in an order of seed and epoch alone, however many ranks share it."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hexbite.errors import DataError
from training.reading.batches import Batches
from training.reading.clicks import Clicks
from training.reading.rows import FeatureRows
from training.reading.shuffle import Shuffle
from training.reading.survey import Split


class Parts:
    """Stands in for the files: row i of all has user number i."""

    def __init__(self, sizes: list[int]) -> None:
        self.files = SimpleNamespace(parts=[SimpleNamespace(path="train_00.parquet")] * len(sizes))
        self.starts = np.cumsum([0, *sizes])
        self.reads: list[int] = []

    def read(self, number: int) -> tuple[Clicks, Clicks, int]:
        self.reads.append(number)
        users = np.arange(self.starts[number], self.starts[number + 1], dtype=np.int32)
        clicks = Clicks(users, users, (users % 2).astype(np.float32), np.empty((len(users), 0), np.float32))
        return clicks, clicks.take(slice(0)), 0


class Rows:
    """Stands in for the tables: a row is its user number."""

    device, dtype, width = torch.device("cpu"), torch.float32, 1

    def empty(self, rows: int) -> torch.Tensor:
        return torch.ones(rows, 2)

    def gather(self, clicks: Clicks, out: torch.Tensor) -> None:
        out[:, 0] = torch.from_numpy(clicks.user)


def shuffle(sizes: list[int], window: int = 100, seed: int = 1, rank: int = 0, ranks: int = 1) -> Shuffle:
    return Shuffle(cast("Split", Parts(sizes)), np.array(sizes), window, seed, rank, ranks)


def order(of: Shuffle, epoch: int = 1, start: int = 0) -> list[int]:
    return [user for placed in of.epoch(epoch, start=start) for user in placed.clicks.user.tolist()]


SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(any)


@given(SIZES, st.integers(1, 200), st.integers(1, 4), st.data())
@settings(max_examples=60, deadline=None)
def test_ranks_hold_each_row_once_and_place_it_as_one_process_would(
    sizes: list[int], window: int, ranks: int, data: st.DataObject
) -> None:
    alone = order(shuffle(sizes, window))
    assert sorted(alone) == list(range(sum(sizes)))
    together: dict[int, int] = {}
    for rank in range(ranks):
        for placed in shuffle(sizes, window, rank=rank, ranks=ranks).epoch(1):
            assert placed.places.tolist() == sorted(placed.places.tolist())
            together |= dict(zip(placed.places.tolist(), placed.clicks.user.tolist(), strict=True))
    assert [together[place] for place in range(sum(sizes))] == alone
    start = data.draw(st.integers(0, sum(sizes)))
    assert order(shuffle(sizes, window), start=start) == alone[start:]


def test_seed_and_epoch_change_the_order_and_nothing_else_does() -> None:
    sizes = [50] * 10
    first = order(shuffle(sizes))
    assert order(shuffle(sizes)) == first
    assert len({tuple(order(shuffle(sizes, seed=seed), epoch)) for seed in (1, 2) for epoch in (1, 2)}) == 4


def test_rows_leave_their_part_and_parts_leave_their_place() -> None:
    sizes = [100] * 20
    found = np.array(order(shuffle(sizes, window=500))).reshape(4, 500)
    for window in found:
        # Five parts a window, from all over, each spread over the whole of it.
        parts = np.unique(window // 100)
        assert len(parts) == 5
        assert np.ptp(parts) > 5
        for part in parts:
            assert np.ptp(np.flatnonzero(window // 100 == part)) > 400


def test_a_resumed_epoch_reads_no_window_before_its_place() -> None:
    of = shuffle([100] * 20, window=500)
    order(of, start=1_500)
    assert len(cast("Parts", of.split).reads) == 5


@given(SIZES, st.integers(1, 40), st.integers(1, 200), st.integers(1, 3), st.data())
@settings(max_examples=60, deadline=None)
def test_batches_are_full_but_the_last_and_the_same_for_any_number_of_ranks(
    sizes: list[int], batch_size: int, window: int, ranks: int, data: st.DataObject
) -> None:
    alone = order(shuffle(sizes, window))
    expected = [alone[start : start + batch_size] for start in range(0, len(alone), batch_size)]
    first = data.draw(st.integers(0, len(expected)))
    ends = data.draw(st.lists(st.integers(0, len(expected))))
    held: list[list[float]] = [[] for _ in expected[first:]]
    for rank in range(ranks):
        batches = Batches(shuffle(sizes, window, 1, rank, ranks), cast("FeatureRows", Rows()), batch_size)
        assert batches.steps == len(expected)
        count = 0
        for chunk in batches.epoch(1, first=first, ends=ends):
            for batch in chunk.batches:
                assert batch.size == len(expected[first + count])
                assert batch.clicks.tolist() == (batch.rows[:, 0] % 2).tolist()
                held[count] += batch.rows[:, 0].tolist()
                count += 1
            assert len(chunk.clicks) == sum(len(batch.clicks) for batch in chunk.batches)
        assert count == len(held)
    assert [sorted(batch) for batch in held] == [sorted(batch) for batch in expected[first:]]
    if ranks == 1:
        assert held == expected[first:]


def test_a_chunk_ends_where_it_is_told_to() -> None:
    batches = Batches(shuffle([100, 100]), cast("FeatureRows", Rows()), 10)
    lengths = [len(chunk.batches) for chunk in batches.epoch(1, first=2, ends=[5, 6, 20])]
    assert lengths == [3, 1, 14]


def test_a_file_that_changes_meanwhile_is_an_error() -> None:
    changed = shuffle([10, 10])
    changed.rows_by_part[0] = 9
    with pytest.raises(DataError, match=r"train_00\.parquet: has changed while it was trained on"):
        order(changed)
