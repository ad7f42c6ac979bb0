"""What people did in test lists is in no table, whatever their clocks say."""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.log.mapfile import read_map
from data.log.reading.buckets import Buckets
from data.log.write import write_log

START = datetime(2026, 1, 1, 8, tzinfo=UTC)
LISTS, TRAIN = 100, 80

MAP = f"""
history = true
[restaurants]
path = "restaurants.csv"
id = "id"
latitude = "lat"
longitude = "lng"
[events]
path = "events.parquet"
user = "user"
restaurant = "restaurant"
time = "ts"
kind = "kind"
label = ["order"]
shown = ["impression"]
list = "list"
[split]
history = 0.5
at = "{(START + timedelta(hours=TRAIN)).isoformat()}"
"""


@pytest.mark.parametrize("early_h", [0, 100])
@pytest.mark.parametrize("held_rows", [4_000_000, 50])
def test_a_choice_of_a_test_list_is_not_history_though_its_clock_ran_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early_h: int, held_rows: int
) -> None:
    monkeypatch.setattr("data.log.reading.events.Buckets", partial(Buckets, held_rows=held_rows))
    rows = []
    for number in range(LISTS):
        at, user = START + timedelta(hours=number), f"u{number % 7}"
        shown = [f"r{(number + place) % 9}" for place in range(3)]
        rows += [(user, one, at, "impression", str(number)) for one in shown]
        early = timedelta(hours=early_h if number >= TRAIN else 0)
        rows.append((user, shown[1], at + timedelta(minutes=5) - early, "order", str(number)))
    names = ("user", "restaurant", "ts", "kind", "list")
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(tmp_path / "events.parquet")
    places = {"id": [f"r{number}" for number in range(9)], "lat": [38.7] * 9, "lng": [-9.1] * 9}
    pl.DataFrame(places).write_csv(tmp_path / "restaurants.csv")
    (tmp_path / "map.toml").write_text(MAP)
    source = write_log(read_map(tmp_path / "map.toml"), tmp_path / "out", path=tmp_path / "map.toml")
    # Half of what was chosen before the split, by its clock; the next choice is of a list that was shown before it.
    known = {0: TRAIN // 2, 100: LISTS // 2 - (LISTS - TRAIN)}[early_h]
    assert source["clicks"] == {"train": 3 * (TRAIN - known - 1), "test": 3 * (LISTS - TRAIN)}
    for table in ("user", "restaurant"):
        visits = pl.read_parquet(tmp_path / "out" / f"{table}_features.parquet")["log_visits"].to_numpy()
        assert round(float(np.expm1(visits.astype(np.float64)).sum())) == known
