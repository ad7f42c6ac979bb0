"""Benchmarks run: small, and without the peers that a machine may not have."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.benchmarks import bench_ids
from tests.benchmarks.bench_prefilter import CUT, NARROW_M, Ours, check, drawn_points, in_turn
from tests.benchmarks.prefilter_peers import World


async def test_the_read_of_a_neighbourhood_is_right_and_timed(fresh_database: str) -> None:
    world = World.draw(2_000)
    points = drawn_points(3)
    async with AsyncExitStack() as stack:
        ours = await Ours.load(fresh_database, world)
        stack.push_async_callback(ours.close)
        ways = {"ours": (ours.finder(CUT), NARROW_M)}
        await check(ways, world, points, CUT)
        (timing,) = await in_turn(ways, points, passes=2)
    assert len(timing.ms) == 2 * len(points)
    assert timing.found > 0


@pytest.mark.slow
def test_text_candidates_are_asked_for_beside_integers(fresh_database: str, tmp_path: Path) -> None:
    bench_ids.fill(fresh_database, 2_000)
    with bench_ids.served(fresh_database, tmp_path, workers=1) as urls:
        found = bench_ids.in_turn(urls, 2_000, candidates=100, pairs=2, seconds=0.2)
    assert {kind: len(rates) for kind, rates in found.items()} == {"integer": 2, "text": 2}
    assert all(rate > 0 for rates in found.values() for rate in rates)
