"""Visits are ranked with hour and weekday by each restaurant's own clock, at the moment of the visit."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
import torch

from hexbite.artifact import Artifact
from hexbite.errors import FolderError
from hexbite.networks import LinearMap
from hexbite.ranker import Ranker
from tests.integration.trainer import REQUESTS, RESTAURANTS, USERS, change
from training.judging.ranking import rank_visits, read_visits
from training.judging.score import score
from training.reading.tables import Tables, read_tables

ZONES = ["Asia/Bangkok", "Europe/London", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati", "UTC"]
# Before and after clocks change in London and New York, and where a day begins somewhere.
MOMENTS = [
    datetime(2026, 3, 8, 6, 59, 59, tzinfo=UTC),
    datetime(2026, 3, 8, 7, 0, 0, tzinfo=UTC),
    datetime(2026, 3, 29, 0, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 0, 0, tzinfo=UTC),
    datetime(2026, 10, 25, 10, 0, 0, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
]
CONTEXT = ("distance_m", "hour", "weekday")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six restaurants at one place, in no order of their ids, a zone each; a visit to each of them at each moment."""
    folder = tmp_path / "clocks"
    (folder / "train").mkdir(parents=True)
    pl.DataFrame({"user_id": [1, 2], "u": [0.0, 1.0]}).write_parquet(folder / USERS)
    ids = [40, 10, 60, 30, 20, 50]
    here = {"latitude": [13.75] * 6, "longitude": [100.5] * 6, "r": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]}
    pl.DataFrame({"restaurant_id": ids, **here, "time_zone": ZONES}).write_parquet(folder / RESTAURANTS)
    row = {"user_id": [1, 2], "restaurant_id": [10, 10], "click": [1, 0], "distance_m": [0.0, 1.0]}
    clock = {"hour": [9.0, 8.0], "weekday": [6.0, 5.0]}
    pl.DataFrame(row | clock).write_parquet(folder / "train" / "0.parquet")
    visits = [(moment, id_) for moment in MOMENTS for id_ in ids]
    pl.DataFrame(
        {
            "user_id": [1] * len(visits),
            "latitude": [13.75] * len(visits),
            "longitude": [100.5] * len(visits),
            "size": [10] * len(visits),
            "max_dist": [1_000.0] * len(visits),
            "visited_restaurant_id": [id_ for _, id_ in visits],
            "at": [moment for moment, _ in visits],
        }
    ).write_parquet(folder / REQUESTS)
    return folder


def artifact_of(tables: Tables, name: str) -> Artifact:
    """A model whose logit is one context feature."""
    schema = tables.schema
    weight = torch.zeros((1, schema.width), dtype=torch.float64)
    weight[0, 2 + schema.names("context").index(name)] = 1.0
    ranker = Ranker((LinearMap(weight, torch.zeros(1, dtype=torch.float64)),))
    return Artifact(schema, ranker, np.zeros(1, np.float32), np.zeros(1, np.float32))


def expected_ranks(name: str) -> list[int]:
    ids = [40, 10, 60, 30, 20, 50]
    ranks = []
    for moment in MOMENTS:
        local = {id_: moment.astimezone(ZoneInfo(zone)) for id_, zone in zip(ids, ZONES, strict=True)}
        said = {id_: at.hour if name == "hour" else at.weekday() for id_, at in local.items()}
        order = sorted(ids, key=lambda id_: (-said[id_], id_))
        ranks += [order.index(id_) + 1 for id_ in ids]
    return ranks


def ranks_of(folder: Path, name: str) -> list[int]:
    tables = read_tables(folder)
    visits = read_visits(tables)
    assert visits is not None
    found = rank_visits(artifact_of(tables, name), tables, visits, np.zeros(6), None)
    return [int(rank) for rank in found.model]


@pytest.mark.parametrize("name", ["hour", "weekday"])
def test_a_visit_is_ranked_by_the_restaurants_clocks(folder: Path, name: str) -> None:
    assert ranks_of(folder, name) == expected_ranks(name)


@pytest.mark.parametrize(
    "moment",
    [
        pl.col("at").dt.convert_time_zone("Asia/Kathmandu"),
        pl.col("at").dt.replace_time_zone(None),
        pl.col("at").cast(pl.Datetime("ns", "UTC")),
        pl.col("at").dt.cast_time_unit("ns"),
    ],
)
def test_a_moment_is_the_same_however_it_is_written(folder: Path, moment: pl.Expr) -> None:
    change(folder / REQUESTS, at=moment)
    assert ranks_of(folder, "hour") == expected_ranks("hour")


def test_the_moment_is_at_else_when_the_visit_was(folder: Path) -> None:
    change(folder / REQUESTS, visited_at=pl.col("at") + timedelta(hours=5))
    assert ranks_of(folder, "hour") == expected_ranks("hour")
    frame = pl.read_parquet(folder / REQUESTS)
    frame.with_columns(visited_at=pl.col("at")).drop("at").write_parquet(folder / REQUESTS)
    assert ranks_of(folder, "hour") == expected_ranks("hour")


def test_zones_may_be_of_a_category_and_rows_of_others(folder: Path) -> None:
    change(folder / RESTAURANTS, time_zone=pl.col("time_zone").cast(pl.Categorical))
    assert ranks_of(folder, "hour") == expected_ranks("hour")


FIRST = pl.int_range(pl.len()) == 0


@pytest.mark.parametrize(
    ("file", "column", "value", "said"),
    [
        (RESTAURANTS, "time_zone", None, "time_zone: no such column"),
        (RESTAURANTS, "time_zone", pl.lit(7), "time_zone: must hold names of time zones, not Int"),
        (RESTAURANTS, "time_zone", pl.lit(None), r"time_zone: null \(6 rows\)"),
        (RESTAURANTS, "time_zone", pl.when(~FIRST).then(pl.col("time_zone")), r"time_zone: null \(1 rows\)"),
        (RESTAURANTS, "time_zone", pl.lit("Asia/Bangkock"), r"no time zone of the IANA database.*\(6 rows\)"),
        (RESTAURANTS, "time_zone", pl.lit("+07:00"), "no time zone of the IANA database"),
        (RESTAURANTS, "time_zone", pl.lit(""), "no time zone of the IANA database"),
        (REQUESTS, "at", None, "column at: no such column"),
        (REQUESTS, "at", pl.lit(1_700_000_000), "at: must be a timestamp, not Int"),
        (REQUESTS, "at", pl.lit("2026-01-01T00:00:00Z"), "at: must be a timestamp, not String"),
        (REQUESTS, "at", pl.when(~FIRST).then(pl.col("at")), r"at: null \(1 rows\)"),
        (REQUESTS, "at", pl.lit(datetime(1, 1, 1, tzinfo=UTC)), "at: before year 2"),
        (REQUESTS, "at", pl.lit(datetime(9999, 12, 31, tzinfo=UTC)), "at: before year 2 or after"),
    ],
)
def test_what_does_not_tell_local_time_is_told(folder: Path, file: str, column: str, value: Any, said: str) -> None:
    if value is None:
        pl.read_parquet(folder / file).drop(column).write_parquet(folder / file)
    else:
        change(folder / file, **{column: value})
    with pytest.raises(FolderError, match=rf"{file}.*{said}"):
        read_tables(folder)


def test_a_schema_without_hour_and_weekday_wants_neither_zones_nor_moments(folder: Path) -> None:
    pl.read_parquet(folder / RESTAURANTS).drop("time_zone").write_parquet(folder / RESTAURANTS)
    pl.read_parquet(folder / REQUESTS).drop("at").write_parquet(folder / REQUESTS)
    path = folder / "train" / "0.parquet"
    pl.read_parquet(path).drop("hour", "weekday").write_parquet(path)
    assert ranks_of(folder, "distance_m") == 6 * [
        sorted([40, 10, 60, 30, 20, 50]).index(id_) + 1 for id_ in [40, 10, 60, 30, 20, 50]
    ]


def test_pairs_tell_hour_and_weekday_themselves_and_distance_by_either_name(folder: Path, tmp_path: Path) -> None:
    tables = read_tables(folder)
    pairs, out = tmp_path / "pairs.parquet", tmp_path / "scores.parquet"
    rows = {
        "weekday": [6, 0],
        "restaurant_id": [60, 10],
        "displacement": [5.0, 7.0],
        "hour": [23, 4],
        "user_id": [2, 1],
    }
    pl.DataFrame(rows).write_parquet(pairs)
    for name, logits in (("hour", [23.0, 4.0]), ("weekday", [6.0, 0.0]), ("distance_m", [5.0, 7.0])):
        assert score(artifact_of(tables, name), folder, pairs, out, unknown="error", max_rejected=0) == (2, 0)
        scored = pl.read_parquet(out)
        assert scored.columns == ["user_id", "restaurant_id", "logit", "score"]
        assert scored["restaurant_id"].to_list() == [60, 10] and scored["user_id"].to_list() == [2, 1]
        assert scored["logit"].to_list() == logits
    pl.DataFrame(rows).drop("weekday").write_parquet(pairs)
    with pytest.raises(FolderError, match="column weekday: no such column"):
        score(artifact_of(tables, "hour"), folder, pairs, out, unknown="error", max_rejected=0)
