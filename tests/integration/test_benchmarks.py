"""Benchmarks run: small, and without the peers that a machine may not have."""

from contextlib import AsyncExitStack

from tests.benchmarks.bench_log import measure
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


def test_an_import_is_timed_beside_the_same_joins_in_duckdb_which_finds_the_same_rows() -> None:
    figures = measure(20_000, users=500, restaurants=100, pairs=1).split()
    told = dict(zip(figures[::2], map(float, figures[1::2]), strict=True))
    assert told["events"] > 19_000
    assert min(told.values()) > 0
