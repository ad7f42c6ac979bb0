"""Check-ins to a data folder: no leak from after the split, no answer given away, no dirty row unnoticed."""

import gzip
import json
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.log.features.history import SCHEMA
from data.log.mapfile import CHECKINS_MAP, fill_checkins_map
from data.log.write import write_log
from hexbite.errors import DataError
from hexbite.features import Feature
from hexbite.geo import distances_m

START = datetime(2026, 1, 1, tzinfo=UTC)
TOWN = (40.75, -73.98)
TABLES = ("user_features.parquet", "restaurant_features.parquet")


def town(seed: int = 0, people: int = 40, places: int = 120, steps: int = 60) -> tuple[list[str], list[str]]:
    """Lines of check-ins and of venues: people wander, every three hours or so, between places a few km apart."""
    draws = np.random.default_rng(seed)
    lats = TOWN[0] + draws.uniform(-0.02, 0.02, places)
    lngs = TOWN[1] + draws.uniform(-0.02, 0.02, places)
    checkins = []
    for person in range(people):
        at = START + timedelta(hours=float(draws.uniform(0, 5)))
        for _ in range(steps):
            place = int(min(draws.geometric(0.03), places) - 1)
            at += timedelta(minutes=float(draws.uniform(30, 300)))
            checkins.append(line(person * 10, at, lats[place], lngs[place], 1_000 + place))
    venues = [f'{1_000 + place}\tBar "{place}"\t{lats[place]}\t{lngs[place]}' for place in range(places)]
    return checkins, venues


def line(person: object, at: datetime | str, lat: object, lng: object, venue: object) -> str:
    time = at.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(at, datetime) else at
    return f"{person}\t{time}\t{lat}\t{lng}\t{venue}"


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def imported(tmp_path: Path, checkins: list[str], venues: list[str] | None = None, **options: Any) -> Path:
    """``options``: ``split``, ``max_age_h``, ``radius_m``, ``negatives``, ``seed``, ``strict``."""
    source = write(tmp_path / "checkins.tsv", checkins)
    named = None if venues is None else write(tmp_path / "venues.tsv", venues)
    return import_files(source, tmp_path / "out", named, **options)


def import_files(checkins: Path, out: Path, venues: Path | None, **options: Any) -> Path:
    tables: dict[str, Any] = {"seed": options.get("seed", 0)}
    if "split" in options:
        tables["split"] = {"at": options["split"]}
    if "max_age_h" in options:
        tables["standing"] = {"max_age_h": options["max_age_h"]}
    drawn = {"count": options.get("negatives", 20), "radius_m": options.get("radius_m", 2_000)}
    asked = fill_checkins_map(checkins, venues, tables | {"negatives": drawn})
    write_log(asked, out, path=CHECKINS_MAP, strict=options.get("strict", False))
    return out


def test_the_five_artifacts_are_written_and_described(tmp_path: Path) -> None:
    checkins, venues = town()
    out = imported(tmp_path, checkins, venues)
    names = {path.name for path in out.iterdir()}
    assert {*TABLES, "train", "test", "events", "requests.parquet", "schema.json", "source.json"} == names
    schema = json.loads((out / "schema.json").read_text())
    for table, group in zip(TABLES, ("user", "restaurant"), strict=True):
        fixed = {feature.name: feature.fill for feature in SCHEMA.group(group)}
        for feature in schema[group]:
            assert feature["description"]
            assert not feature["name"].startswith("f0")
            values = pl.read_parquet(out / table)[feature["name"]]
            assert values.dtype == pl.Float32
            assert values.drop_nulls().is_finite().all()
            declared = fixed[feature["name"]]
            expected = values.mean() if declared is None else declared
            assert feature["fill"] == pytest.approx(expected, rel=1e-3, abs=1e-5)
    context = [(feature["name"], feature["fill"]) for feature in schema["context"]]
    log_distance = ("log_distance_m", pytest.approx(math.log(2_100)))
    assert context == [("distance_m", 2_000.0), log_distance, ("hour", None), ("weekday", None)]
    rows = pl.read_parquet(out / "train" / "*.parquet")
    assert (rows["log_distance_m"] - (100 + rows["distance_m"]).log()).abs().max() < 1e-6


def test_nothing_after_the_split_reaches_a_feature_or_a_train_row(tmp_path: Path) -> None:
    checkins, venues = town()
    split = START + timedelta(days=4)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = imported(tmp_path / "a", checkins, venues, split=split)
    draws = np.random.default_rng(9)
    # The same past, another future: other places, other times, other people.
    past = [row for row in checkins if row.split("\t")[1] < split.strftime("%Y-%m-%dT%H:%M:%SZ")]
    future = [
        line(int(draws.integers(50)) * 10, split + timedelta(minutes=i), TOWN[0] + 0.001, TOWN[1], 1_000 + i % 120)
        for i in range(1, 900)
    ]
    other = imported(tmp_path / "b", past + future, venues, split=split)
    for name in (*TABLES, "train/train_0000.parquet"):
        assert (whole / name).read_bytes() == (other / name).read_bytes()
    assert (whole / "requests.parquet").read_bytes() != (other / "requests.parquet").read_bytes()
    last = pl.read_parquet(whole / TABLES[0])["event_ts"].max()
    assert isinstance(last, datetime)
    assert last < split


def test_a_person_stands_where_their_previous_check_in_was_and_never_at_the_visited_place(tmp_path: Path) -> None:
    checkins, venues = town()
    out = imported(tmp_path, checkins, venues)
    parsed = sorted(
        ((int(user), time, int(venue)) for user, time, _, _, venue in (row.split("\t") for row in checkins)),
    )
    before = {
        (user, time): (parsed[number - 1][2], parsed[number - 1][1])
        for number, (user, time, _) in enumerate(parsed)
        if number and parsed[number - 1][0] == user
    }
    spots = {int(id_): (float(lat), float(lng)) for id_, _, lat, lng in (row.split("\t") for row in venues)}
    requests = pl.read_parquet(out / "requests.parquet")
    assert len(requests) > 100
    for request in requests.iter_rows(named=True):
        previous, at = before[request["user_id"], request["visited_at"].strftime("%Y-%m-%dT%H:%M:%SZ")]
        assert previous != request["visited_restaurant_id"]
        assert (request["latitude"], request["longitude"]) == spots[previous]
        assert request["visited_at"] - datetime.fromisoformat(at) <= timedelta(hours=24)
        away = distances_m(
            request["latitude"], request["longitude"], *(np.array([x]) for x in spots[request["visited_restaurant_id"]])
        )
        assert away[0] <= 2_000


def test_a_check_in_that_is_too_old_tells_no_place(tmp_path: Path) -> None:
    checkins, venues = town()
    one_hour = pl.read_parquet(imported(tmp_path, checkins, venues, max_age_h=1.0) / "requests.parquet")
    day = pl.read_parquet(imported(tmp_path, checkins, venues, max_age_h=24.0) / "requests.parquet")
    assert 0 < len(one_hour) < len(day) / 2


def test_negatives_are_other_places_in_reach_and_distances_are_from_where_the_person_stood(tmp_path: Path) -> None:
    checkins, venues = town()
    out = imported(tmp_path, checkins, venues, negatives=5, radius_m=1_500)
    rows = pl.read_parquet(out / "test" / "*.parquet")
    requests = pl.read_parquet(out / "requests.parquet")
    assert rows["click"].sum() == len(requests)
    assert 3 < (rows["click"] == 0).sum() / rows["click"].sum() <= 5
    assert rows["distance_m"].max() <= 1_500
    places = pl.read_parquet(out / TABLES[1]).select("restaurant_id", "latitude", "longitude")
    at = requests.select("user_id", lat="latitude", lng="longitude")
    joined = rows.join(places, on="restaurant_id").join(at, on="user_id")
    away = distances_m(*(joined[name].to_numpy() for name in ("lat", "lng", "latitude", "longitude")))
    # Whoever has several requests stood at several spots: one of them is the row's.
    off = joined.with_columns(off=(pl.Series(away) - pl.col("distance_m")).abs())
    best = off.group_by("user_id", "restaurant_id", "click", "distance_m").agg(pl.col("off").min())
    assert best["off"].max() < 0.1


def test_the_same_seed_draws_the_same_negatives(tmp_path: Path) -> None:
    checkins, venues = town()

    def read(seed: int) -> bytes:
        return (imported(tmp_path, checkins, venues, seed=seed) / "train" / "train_0000.parquet").read_bytes()

    first = read(seed=1)
    assert read(seed=1) == first
    assert read(seed=2) != first


def test_gzip_windows_line_ends_and_no_venues_give_the_same_world(tmp_path: Path) -> None:
    checkins, _ = town()
    plain = imported(tmp_path, checkins)
    expected = [(plain / name).read_bytes() for name in (*TABLES, "requests.parquet")]
    packed = tmp_path / "packed.tsv.gz"
    packed.write_bytes(gzip.compress(("\ufeff" + "\r\n".join(checkins) + "\r\n\r\n").encode()))
    import_files(packed, tmp_path / "out", None)
    assert [(tmp_path / "out" / name).read_bytes() for name in (*TABLES, "requests.parquet")] == expected


DIRTY = {
    "null or unparsable times": [line(7, "yesterday", *TOWN, 1_001), line(7, "", *TOWN, 1_001)],
    "null or faulty user ids": [line("", START, *TOWN, 1_001)],
    "null or faulty restaurant ids": [line(7, START, *TOWN, ""), line(7, START, *TOWN, "0" * 32)],
    "at a time far from all others": [line(0, "2062-01-01T00:00:00Z", *TOWN, 1_001)],
    "the same as an earlier row": town()[0][:25],
}


@pytest.mark.parametrize("kind", DIRTY)
def test_dirty_rows_are_counted_by_kind_and_fatal_only_where_that_is_asked(tmp_path: Path, kind: str) -> None:
    checkins, venues = town()
    plain = (imported(tmp_path, checkins, venues) / TABLES[0]).read_bytes()
    out = imported(tmp_path, checkins + DIRTY[kind], venues)
    source = json.loads((out / "source.json").read_text())
    assert source["dirty"] == {f"events {kind}": len(DIRTY[kind])}
    assert sum(source["rows"].values()) == source["events"] == len(checkins) + len(DIRTY[kind])
    assert (out / TABLES[0]).read_bytes() == plain
    before = (out / "source.json").read_bytes()
    with pytest.raises(DataError, match="--strict"):
        imported(tmp_path, checkins + DIRTY[kind], venues, strict=True)
    assert (out / "source.json").read_bytes() == before


def test_short_and_long_lines_are_counted_and_the_short_ones_name_no_venue(tmp_path: Path) -> None:
    checkins, venues = town()
    long = checkins[5] + "\tmore"
    out = imported(tmp_path, [*checkins[:5], long, *checkins[6:], "7", "7\t2026-01-02T00:00:00Z"], venues)
    source = json.loads((out / "source.json").read_text())
    faults = {what.split("checkins.tsv ")[-1]: count for what, count in source["dirty"].items()}
    assert faults["with too few fields, which go on with nulls"] == 2
    assert faults["with too many fields, which are cut off"] == 1
    assert source["rows"]["null or faulty restaurant ids"] == 2
    assert sum(source["rows"].values()) == source["events"] == len(checkins) + 2


WANDERING = {
    "events whose restaurant_latitude, restaurant_longitude are none": [
        line(0, START, "north", 1, 1_001),
        line(0, START, 91, 0, 1_001),
        line(0, START, 0, 0, 1_001),
    ],
    "events more than 500 m from their restaurant's place": [line(0, START, TOWN[0] + 1, TOWN[1], 1_001)],
}


@pytest.mark.parametrize("note", WANDERING)
def test_coordinates_that_are_none_or_wander_are_told_and_the_venues_place_is_used(tmp_path: Path, note: str) -> None:
    checkins, venues = town()
    out = imported(tmp_path, checkins + WANDERING[note], venues)
    source = json.loads((out / "source.json").read_text())
    assert source["notes"][note] == source["dirty"][note] == len(WANDERING[note])
    placed = pl.read_parquet(out / TABLES[1]).filter(restaurant_id=1_001)
    assert placed["latitude"].item() == float(venues[1].split("\t")[2])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"nothing\n", "no usable|no row|can be used"),
        (gzip.compress(b"1\t2026-01-01T00:00:00Z\t1\t1\t1\n" * 1000)[:-20], "cut off"),
        (b"1\tyesterday\t1\t1\t1\n", "no usable|no row|can be used"),
    ],
)
def test_a_file_without_anything_to_use_is_an_error_that_names_it(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "checkins.tsv").write_bytes(content)
    with pytest.raises(DataError, match=rf"checkins\.tsv.*({said})"):
        import_files(tmp_path / "checkins.tsv", tmp_path / "out", None)
    assert [path.name for path in tmp_path.iterdir()] == ["checkins.tsv"]


def test_places_lie_at_the_lower_median_of_their_check_ins_where_no_venue_file_says(tmp_path: Path) -> None:
    checkins, _ = town()
    out = imported(tmp_path, [*checkins, line(0, START, TOWN[0] + 0.01, TOWN[1], 1_001)])
    rows = [row.split("\t") for row in checkins if row.endswith("\t1001")]
    placed = pl.read_parquet(out / TABLES[1]).filter(restaurant_id=1_001)
    assert placed["latitude"].item() == float(rows[0][2])


def test_rows_of_a_visit_lie_together_and_the_choice_is_nowhere_by_its_place(tmp_path: Path) -> None:
    out = imported(tmp_path, *town())
    rows = pl.read_parquet(out / "train" / "*.parquet")
    starts = rows["list"].rle()
    assert len(starts) == rows["list"].n_unique()
    first = rows.group_by("list", maintain_order=True).agg(pl.col("click").first(), pl.len()).filter(pl.col("len") > 10)
    assert 0.01 < first["click"].mean() < 0.2
    assert (rows.group_by("list").agg(pl.col("click").sum())["click"] == 1).all()


def test_the_documented_features_are_the_ones_that_are_written() -> None:
    document = (Path(__file__).parents[2] / "docs" / "features.md").read_text()
    rows = re.findall(r"^\| `(\w+)`(?: to `(\w+)`)? \| (\S+) \| (.+) \|$", document, re.MULTILINE)
    told = []
    for first, last, missing, description in rows:
        stem, number = first.rsplit("_", 1) if last else (first, "0")
        names = [f"{stem}_{n:02}" for n in range(int(number), int(last[-2:]) + 1)] if last else [first]
        told += [
            Feature(name, None if missing in ("mean", "radius", "none") else float(missing), description)
            for name in names
        ]
    assert told == [*SCHEMA.user, *SCHEMA.restaurant, *SCHEMA.context]
