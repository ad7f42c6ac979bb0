"""Benchmarks run: small, and without the peers that a machine may not have."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.visits import Sizes
from tests.benchmarks import (
    bench_counters,
    bench_events,
    bench_events_load,
    bench_history,
    bench_ids,
    bench_log,
    bench_visits,
)
from tests.benchmarks.bench_prefilter import Effort, measure
from tests.benchmarks.prefilter_peers import debian_redis

# One world, just large enough for circles of 500 m.
SMALL = Effort((4_000,), points=2, passes=1)


@pytest.fixture
def _thawed() -> Iterator[None]:
    """A benchmark keeps what it has made from being searched for garbage, for the rest of its process."""
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_thawed")
async def test_the_read_of_a_neighbourhood_is_right_and_timed_without_peers(
    server_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    last = await measure(SMALL, server_dsn, None, None)
    printed = capsys.readouterr().out
    for peer in ("PostGIS", "Redis"):
        assert f"{peer} is left out: Debian's package" in printed
    words = last.split()
    told = dict(zip(words[::2], words[1::2], strict=True))
    assert told["prefilter_vs_postgis"] == told["prefilter_vs_redis"] == "-"
    assert float(told["density_ratio"]) > 0 and float(told["cut_ratio"]) > 0


@pytest.mark.usefixtures("_thawed")
async def test_redis_finds_the_same_restaurants(
    server_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with debian_redis(tmp_path) as redis:
        if redis is None:
            pytest.skip("Debian's package redis-server is not installed")
        last = await measure(SMALL, server_dsn, None, redis)
    assert "Redis over ours" in capsys.readouterr().out
    assert "prefilter_vs_postgis - prefilter_vs_redis -" not in last


@pytest.mark.slow
def test_text_candidates_are_asked_for_beside_integers(fresh_database: str, tmp_path: Path) -> None:
    bench_ids.fill(fresh_database, 2_000)
    with bench_ids.served(fresh_database, tmp_path, workers=1) as urls:
        found = bench_ids.in_turn(urls, 2_000, candidates=100, pairs=2, seconds=0.2)
    assert {kind: len(rates) for kind, rates in found.items()} == {"integer": 2, "text": 2}
    assert all(rate > 0 for rates in found.values() for rate in rates)


@pytest.mark.slow
def test_counters_are_timed_beside_a_model_without_them(fresh_database: str, tmp_path: Path) -> None:
    told = bench_counters.measure(fresh_database, tmp_path, count=500, pairs=1, seconds=0.2, workers=1).split()
    figures = dict(zip(told[::2], map(float, told[1::2]), strict=True))
    assert len(figures) == 4
    assert min(figures.values()) > 0


@pytest.mark.slow
def test_events_are_told_and_timed_beside_recommendations(fresh_database: str, tmp_path: Path) -> None:
    told = bench_events.measure(fresh_database, tmp_path, restaurants=500, seconds=0.5, workers=1).split()
    figures = dict(zip(told[::2], map(float, told[1::2]), strict=True))
    assert figures["events"] > 100
    assert min(figures.values()) > 0


def test_an_import_is_timed_beside_the_same_joins_in_duckdb_which_finds_the_same_rows() -> None:
    figures = bench_log.measure(20_000, users=500, restaurants=100, pairs=1).split()
    told = dict(zip(figures[::2], map(float, figures[1::2]), strict=True))
    assert told["events"] > 19_000
    assert min(told.values()) > 0


@pytest.mark.slow
def test_a_drawn_past_is_learned_nearly_as_well_as_it_can_be(tmp_path: Path) -> None:
    figures = bench_visits.measure(Sizes(people=100, places=120, visits=8_000, days=60), tmp_path).split()
    told = dict(zip(figures[::2], map(float, figures[1::2]), strict=True))
    assert told["visits"] > 1_000
    # Less is to be learned from than at full size, where it is 0.02.
    assert told["lost_hit@10"] < 0.05
    assert told["hit@10"] > max(told["most_visited_hit@10"], told["nearest_hit@10"]) + 0.05


def test_a_backfill_is_timed_and_finds_all_of_it_known_the_second_time(fresh_database: str, tmp_path: Path) -> None:
    figures = bench_events_load.measure(fresh_database, tmp_path, events=5_000, users=200, restaurants=50).split()
    told = dict(zip(figures[::2], map(float, figures[1::2]), strict=True))
    assert told["events"] == 5_000
    assert min(told.values()) > 0


def test_the_past_is_told_beside_the_same_figures_in_duckdb_which_finds_the_same() -> None:
    town = bench_history.Town(events=20_000, users=500, restaurants=100)
    figures = bench_history.measure(town, 40_000, threads=2, compared=20_000, pairs=1).split()
    told = dict(zip(figures[::2], map(float, figures[1::2]), strict=True))
    assert told["rows"] == 40_000 and told["compared_rows"] == 20_000
    assert min(told["rows_per_s"], told["peak_gib"], told["duckdb_ratio"]) > 0
    assert told["farthest_apart"] < 1e-3
