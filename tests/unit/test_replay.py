"""A replay's order of things, its baselines, its figures, and what a folder must tell for one."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.log.mapfile import read_map
from data.log.write import write_log
from data.replay.baselines import BASELINES, OUT_OF_REACH, Baselines
from data.replay.figures import Replayed
from data.replay.journal import Asks, Happened, Journal, Places, read_journal
from data.replay.replay import steps, to_body
from data.visits import Sizes, write_visits
from hexbite.errors import DataError, FolderError
from hexbite.geo import distances_m

MOMENTS = st.lists(st.integers(0, 30), min_size=1, max_size=30).map(lambda times: np.sort(np.array(times)))


def asks_at(at_us: np.ndarray) -> Asks:
    size = len(at_us)
    here = np.zeros(size)
    return Asks([7] * size, np.full(size, 7), here, here, here + 1e6, np.zeros(size, dtype=np.int64), at_us)


def happened_at(time_us: np.ndarray) -> Happened:
    size = len(time_us)
    return Happened(
        pl.DataFrame({"at": time_us}),
        np.full(size, 7),
        np.zeros(size, dtype=np.int64),
        time_us,
        np.ones(size, dtype=np.bool_),
    )


ONE_PLACE = Places(np.array([1]), [1], np.zeros(1), np.zeros(1))


@given(MOMENTS, MOMENTS, st.integers(0, 30))
def test_what_happened_strictly_before_a_moment_is_told_before_it_is_asked_about(
    time_us: np.ndarray, at_us: np.ndarray, split_us: int
) -> None:
    split_us = min(split_us, int(at_us[0]))
    before = int(np.searchsorted(time_us, split_us))
    journal = Journal(asks_at(at_us), ONE_PLACE, happened_at(time_us), 0, split_us, before)
    told, asked = before, []
    for step in steps(journal):
        assert step.first == told  # nothing is left out, nothing told twice
        told = step.last
        if step.ask is None:
            break
        assert (time_us[:told] < at_us[step.ask]).all()
        assert (time_us[told:] >= at_us[step.ask]).all()
        asked.append(step.ask)
    assert asked == list(range(len(at_us)))
    # At last the visit that was asked about last, and nothing that came after it.
    assert told == np.count_nonzero(time_us <= at_us[-1])


def test_baselines_are_what_their_names_say_whatever_the_order_of_ids() -> None:
    draws = np.random.default_rng(5)
    places = Places(
        np.sort(draws.choice(10_000, 60, replace=False)),
        [],
        draws.uniform(52.50, 52.53, 60),
        draws.uniform(13.40, 13.45, 60),
    )
    size = 800
    users = draws.integers(4, size=size)
    visited = draws.integers(-1, 60, size=size)
    happened = Happened(pl.DataFrame(), users, visited, np.arange(size), draws.random(size) < 0.8)
    count = 40
    asks = Asks(
        [],
        draws.integers(5, size=count),
        draws.uniform(52.50, 52.53, count),
        draws.uniform(13.40, 13.45, count),
        np.full(count, 1_500.0),
        draws.integers(60, size=count),
        np.arange(count),
    )
    baselines = Baselines(places)
    told = 500
    baselines.learn(happened, 0, told, is_told=True)
    baselines.learn(happened, told, size, is_told=False)
    for ask in range(count):
        found = baselines.rank(asks, ask)
        metres = distances_m(asks.lats_deg[ask], asks.lngs_deg[ask], places.lats_deg, places.lngs_deg)
        is_known = happened.is_visit & (visited >= 0) & (np.arange(size) < told)
        is_own = is_known & (users == asks.user_ids[ask])
        everybody = np.bincount(visited[is_known], minlength=60)
        own = np.bincount(visited[is_own], minlength=60)
        scores = {
            "nearest": -metres,
            "most visited": everybody,
            "own history": own,
            "sum by hand": np.log(1 + everybody) - metres / 500 + 3 * np.log(1 + own),
        }
        in_reach = np.flatnonzero(metres <= 1_500)
        assert found.in_reach == len(in_reach)
        for name, rank in zip(BASELINES, found.ranks, strict=True):
            ranked = sorted(in_reach, key=lambda row: (-scores[name][row], metres[row], places.ids[row]))
            place = int(asks.visited[ask])
            assert rank == (ranked.index(place) + 1 if place in ranked else OUT_OF_REACH)
        # New is what the person never did, told or not.
        did = happened.is_visit & (users == asks.user_ids[ask]) & (visited == asks.visited[ask])
        assert found.is_new == (not did.any())


def test_figures_are_of_all_and_of_new_places_and_people_are_drawn_again() -> None:
    ranks = np.array([[1, 5, 10, 11, OUT_OF_REACH] * 40] + [[1] * 200] * len(BASELINES))
    found = Replayed(
        np.arange(200),
        ranks,
        np.arange(200) % 5 == 3,
        np.full(200, 12),
        unseen=40,
        truncated=0,
        failed=Counter(),
        left_out=0,
        told=9,
        refresh_s=60.0,
        asked_ms=np.arange(1.0, 101.0),
        told_ms=np.empty(0),
    )
    figures = found.figures()
    service = figures["all"]["service"]
    assert [service[f"hit@{k}"].value for k in (1, 5, 10)] == pytest.approx([0.2, 0.4, 0.6])
    assert service["NDCG@10"].value == pytest.approx((1 + 1 / np.log2(6) + 1 / np.log2(11)) / 5)
    assert service["hit@10"].low < 0.6 < service["hit@10"].high
    assert figures["new"]["service"]["hit@10"].value == 0.0
    assert figures["new"]["nearest"]["hit@1"].value == 1.0
    assert json.loads(json.dumps(found.to_json()))["unseen"] == 40
    printed = "\n".join(found.lines(1_000))
    assert "HEXBITE_REFRESH_S=0" in printed
    assert "p99" in printed
    assert "HEXBITE_REFRESH_S" not in "\n".join(replace(found, refresh_s=0.0).lines(1_000))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("replayed")
    write_visits(home / "log", Sizes(people=40, places=60, visits=800, days=20), seed=1)
    write_log(read_map(home / "log" / "map.toml"), home / "data", path=home / "log" / "map.toml")
    return home / "data"


def copied(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    for path in folder.rglob("*.*"):
        if path.is_file():
            target = copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return copy


def test_an_imported_folder_is_a_journal_from_its_split_on(folder: Path) -> None:
    journal = read_journal(folder)
    requests = pl.read_parquet(folder / "requests.parquet")
    events = pl.read_parquet(folder / "events" / "*.parquet")
    assert len(journal.asks.at_us) == len(requests)
    split = datetime.fromisoformat(json.loads((folder / "source.json").read_text())["split"])
    assert journal.before_split == (events["event_ts"] < split).sum()
    assert len(journal.happened.time_us) == len(events)
    names = [journal.places.names[row] for row in journal.asks.visited]
    assert names == requests.sort("at", maintain_order=True)["visited_restaurant_id"].to_list()
    body = to_body(journal.asks, 0)
    assert datetime.fromisoformat(body["at"]).tzinfo is not None
    assert datetime.fromisoformat(body["at"]) == requests["at"].min()
    (event,) = journal.happened.to_bodies(3, 4)
    assert set(event) == {"event_id", "user_id", "restaurant_id", "event", "event_ts", "latitude", "longitude"}
    assert event["event_ts"] == events["event_ts"].sort()[3].isoformat()
    assert len(event["event_id"]) <= 128
    # The same event has the same id, another one another.
    assert journal.happened.to_bodies(3, 4) == [event]
    assert len({one["event_id"] for one in journal.happened.to_bodies(0, 500)}) == 500


def test_a_limit_takes_the_first_visits(folder: Path) -> None:
    assert read_journal(folder, 5).asks.at_us.tolist() == read_journal(folder).asks.at_us[:5].tolist()


def test_an_event_that_stands_there_twice_happened_once(folder: Path, tmp_path: Path) -> None:
    copy = copied(folder, tmp_path)
    (first,) = (copy / "events").iterdir()
    events = pl.read_parquet(first)
    events.reverse().write_parquet(copy / "events" / "again.parquet")
    again = read_journal(copy)
    assert len(again.happened.time_us) == len(events)
    assert (np.diff(again.happened.time_us) >= 0).all()


def test_ids_that_are_text_are_told_as_they_are(folder: Path, tmp_path: Path) -> None:
    copy = copied(folder, tmp_path)
    schema = json.loads((copy / "schema.json").read_text())
    (copy / "schema.json").write_text(json.dumps(schema | {"ids": {"user": "text", "restaurant": "text"}}))
    for path in copy.rglob("*.parquet"):
        frame = pl.read_parquet(path)
        text = [
            ("Ü-" + pl.col(name).cast(pl.String)).alias(name)
            for name in ("user_id", "restaurant_id", "visited_restaurant_id")
            if name in frame.columns
        ]
        frame.with_columns(text).drop("candidate_restaurant_ids", strict=False).write_parquet(path)
    journal = read_journal(copy)
    requests = pl.read_parquet(copy / "requests.parquet").sort("at", maintain_order=True)
    assert [journal.places.names[row] for row in journal.asks.visited] == requests["visited_restaurant_id"].to_list()
    assert journal.asks.users == requests["user_id"].to_list()
    assert journal.happened.to_bodies(0, 1)[0]["user_id"].startswith("Ü-")


def test_a_visit_of_a_place_without_a_row_is_left_out_and_counted(folder: Path, tmp_path: Path) -> None:
    copy = copied(folder, tmp_path)
    requests = pl.read_parquet(copy / "requests.parquet")
    is_first = pl.int_range(pl.len()) == 0
    requests.with_columns(
        visited_restaurant_id=pl.when(is_first).then(987_654).otherwise("visited_restaurant_id")
    ).write_parquet(copy / "requests.parquet")
    journal = read_journal(copy)
    assert journal.left_out == 1
    assert len(journal.asks.at_us) == len(requests) - 1


def without(name: str, folder: Path) -> None:
    for path in folder.glob(name):
        path.unlink()


def drop(column: str, folder: Path) -> None:
    path = folder / "requests.parquet"
    pl.read_parquet(path).drop(*column.split()).write_parquet(path)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda folder: drop("visited_restaurant_id", folder), "tells no visits"),
        (lambda folder: drop("at visited_at", folder), "moments|no such column"),
        (lambda folder: without("requests.parquet", folder), "requests.parquet"),
        (lambda folder: without("events/*.parquet", folder), "events"),
        (lambda folder: (folder / "source.json").write_text("[]"), "source.json"),
        (lambda folder: (folder / "source.json").write_text('{"split": "tomorrow"}'), "source.json"),
    ],
)
def test_a_folder_that_cannot_be_replayed_says_why(folder: Path, tmp_path: Path, broken: object, said: str) -> None:
    copy = copied(folder, tmp_path)
    broken(copy)
    with pytest.raises((DataError, FolderError), match=said):
        read_journal(copy)


def test_a_folder_that_does_not_say_its_split_is_told_from_its_first_visit_on(folder: Path, tmp_path: Path) -> None:
    copy = copied(folder, tmp_path)
    (copy / "source.json").unlink()
    journal = read_journal(copy)
    assert journal.split_us == journal.asks.at_us[0]
    first = datetime.fromtimestamp(journal.split_us / 1e6, UTC)
    assert journal.before_split == (pl.read_parquet(copy / "events" / "*.parquet")["event_ts"] < first).sum()
