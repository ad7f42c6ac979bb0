"""The drawn past: people return, places rise and fall, hours differ, and the best ranking is what it is said to be."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.log.mapfile import read_map
from data.log.write import write_log
from data.visits import REACH_M, TIME_ZONE, Sizes, best_figures, write_visits
from hexbite.errors import DataError
from hexbite.geo import distances_m

SIZES = Sizes(people=80, places=150, visits=6_000, days=60, until=date(2026, 5, 1))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("past") / "town"
    write_visits(folder, SIZES, seed=3)
    return folder


@pytest.fixture(scope="module")
def visits(town: Path) -> pl.DataFrame:
    visits = pl.read_parquet(town / "visits.parquet")
    places = pl.read_parquet(town / "places.parquet").rename({"latitude": "lat", "longitude": "lng"})
    return visits.join(places, on="place", how="left", maintain_order="left")


def test_everybody_goes_to_a_place_in_reach_in_the_order_of_time(visits: pl.DataFrame) -> None:
    metres = distances_m(*(visits[name].to_numpy() for name in ("latitude", "longitude", "lat", "lng")))
    assert metres.max() <= REACH_M
    assert visits["cuisine"].null_count() == 0
    assert visits["time"].is_sorted()
    days = visits["time"].dt.date()
    assert days.min() == SIZES.until - timedelta(days=SIZES.days)
    assert days.max() == SIZES.until - timedelta(days=1)


def test_people_return_more_often_than_chance_has_it(visits: pl.DataFrame) -> None:
    returned = visits.select(~pl.struct("person", "place").is_first_distinct()).to_series()
    # The same places for the same people, but whoever goes there drawn anew.
    shuffled = visits.with_columns(pl.col("person").shuffle(seed=1))
    by_chance = shuffled.select(~pl.struct("person", "place").is_first_distinct()).to_series()
    assert returned.mean() > by_chance.mean() + 0.2


def test_places_rise_and_fall_more_than_by_chance(visits: pl.DataFrame) -> None:
    is_late = (visits["time"].dt.date() >= SIZES.until - timedelta(days=SIZES.days // 2)).alias("is_late")

    def spread(late: pl.Series) -> float:
        shares = visits.with_columns(late).group_by("place").agg(pl.col("is_late").mean(), pl.len())
        return float(shares.filter(pl.col("len") >= 20)["is_late"].std())

    assert spread(is_late) > 1.5 * spread(is_late.shuffle(seed=1))


def test_places_have_their_hours(visits: pl.DataFrame) -> None:
    hour = visits["time"].dt.convert_time_zone(TIME_ZONE).dt.hour()
    evening = hour.is_between(19, 23).cast(pl.Float64)
    shares = visits.with_columns(evening=evening).group_by("place").agg(pl.col("evening").mean(), pl.len())
    often = shares.filter(pl.col("len") >= 50)
    assert often["evening"].max() > evening.mean() + 0.2
    assert often["evening"].min() < evening.mean() - 0.2


def test_the_best_ranking_beats_what_can_be_counted_and_is_told_of_the_test_time(
    town: Path, visits: pl.DataFrame
) -> None:
    told = json.loads((town / "visits.json").read_text())
    best = told["best"]
    test = visits.filter(pl.col("time").dt.date() >= SIZES.until - timedelta(days=SIZES.test_days))
    assert best["visits"] == len(test) > 500
    places = pl.read_parquet(town / "places.parquet")
    metres = distances_m(
        test["latitude"].to_numpy()[:, None],
        test["longitude"].to_numpy()[:, None],
        places["latitude"].to_numpy()[None, :],
        places["longitude"].to_numpy()[None, :],
    )
    visited = metres[np.arange(len(test)), test["place"].to_numpy()]
    nearest = ((metres < visited[:, None]).sum(axis=1) < 10).mean()
    assert best["hit@10"] > nearest + 0.1
    assert 0 < best["hit@1"] < best["hit@5"] < best["hit@10"] < 1
    assert best["hit@10 new"] < best["hit@10"]


def test_figures_of_no_visits_are_none() -> None:
    nothing = best_figures(np.array([3, 20]), np.array([False, False]))
    assert nothing["hit@10"] == 0.5
    assert nothing["hit@10 new"] is None


def test_a_seed_gives_the_same_files_and_another_gives_others(town: Path, tmp_path: Path) -> None:
    write_visits(tmp_path / "town", SIZES, seed=3)
    write_visits(tmp_path / "other", SIZES, seed=4)
    for path in town.iterdir():
        assert (tmp_path / "town" / path.name).read_bytes() == path.read_bytes(), path
    assert (tmp_path / "other" / "visits.parquet").read_bytes() != (town / "visits.parquet").read_bytes()


def test_its_map_imports_it_as_it_is(town: Path, tmp_path: Path) -> None:
    path = town / "map.toml"
    source = write_log(read_map(path), tmp_path / "data", path=path)
    told = json.loads((town / "visits.json").read_text())
    assert source["dirty"] == {}
    requests = pl.read_parquet(tmp_path / "data" / "requests.parquet")
    assert len(requests) == told["best"]["visits"]
    assert source["events"] == told["drawn"]["visits"]


def test_sizes_out_of_range_are_refused(tmp_path: Path) -> None:
    for size in ({"people": 0}, {"places": 0}, {"visits": 0}, {"days": 1}):
        (name,) = size
        with pytest.raises(DataError, match=f"{name} must be"):
            write_visits(tmp_path / "town", replace(SIZES, **size), seed=0)
    assert not (tmp_path / "town").exists()


def test_a_past_of_one_place_is_known_or_out_of_reach(tmp_path: Path) -> None:
    sizes, outcomes = Sizes(people=1, places=1, visits=10, days=2), set()
    for seed in range(20):
        try:
            best = write_visits(tmp_path / "hamlet", sizes, seed=seed)["best"]
            outcomes.add(best["hit@1"])
        except DataError as error:
            outcomes.add(str(error).rpartition(": ")[2])
    # None where the place closed before the test time.
    assert (
        {1.0, "nobody has a place in reach; draw more of either"}
        <= outcomes
        <= {
            1.0,
            None,
            "nobody has a place in reach; draw more of either",
        }
    )


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="not empty"):
        write_visits(tmp_path, SIZES, seed=1)
