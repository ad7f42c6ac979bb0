from typing import Any

import h3.api.basic_int as h3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexbite import cover
from hexbite.cover import cell_to_interval, circle_to_cells, circle_to_interval, circle_to_intervals
from hexbite.geo import EARTH_RADIUS_M, degrees_to_cell, degrees_to_cells, distances_m

HARD_PLACES = {
    "Bangkok": (13.75, 100.5),
    "London": (51.5, -0.12),
    "Mumbai": (19.07, 72.87),
    "north pole": (90.0, 0.0),
    "near the south pole": (-89.9995, 12.0),
    "antimeridian": (-17.0, 179.9999),
    "west of the antimeridian": (52.0, -180.0),
    **{f"pentagon {i}": h3.cell_to_latlng(cell) for i, cell in enumerate(h3.get_pentagons(8))},
}

places = st.one_of(
    st.sampled_from(sorted(HARD_PLACES)).map(HARD_PLACES.__getitem__),
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
)
radii_m = st.one_of(st.just(0.0), st.floats(0.1, 500), st.floats(500, 50_000))


def destination(lat_deg: float, lng_deg: float, bearing_rad: Any, distance_m: Any) -> tuple[Any, Any]:
    """The point that lies so far in that direction, by spherical trigonometry; one, or an array of them."""
    angle = distance_m / EARTH_RADIUS_M
    lat, lng = np.radians(lat_deg), np.radians(lng_deg)
    sine = np.sin(lat) * np.cos(angle) + np.cos(lat) * np.sin(angle) * np.cos(bearing_rad)
    to_lat = np.arcsin(np.clip(sine, -1, 1))
    east = np.sin(bearing_rad) * np.sin(angle) * np.cos(lat)
    to_lng = lng + np.arctan2(east, np.cos(angle) - np.sin(lat) * np.sin(to_lat))
    return np.degrees(to_lat), (np.degrees(to_lng) + 540) % 360 - 180


def covers(place: tuple[float, float], radius_m: float, points: Any) -> bool:
    lows, highs = circle_to_intervals(*place, radius_m)
    lats, lngs = np.array(points).T
    inside = distances_m(*place, lats, lngs) <= radius_m
    cells = degrees_to_cells(lats, lngs)[inside]
    at = np.searchsorted(lows, cells, side="right") - 1
    return bool(np.all((at >= 0) & (cells <= highs[at])))


@settings(max_examples=300, deadline=None)
@given(places, radii_m, st.lists(st.tuples(st.floats(0, 2 * np.pi), st.floats(0, 1)), min_size=1, max_size=40))
def test_no_point_in_range_is_lost_anywhere(
    place: tuple[float, float], radius_m: float, spokes: list[tuple[float, float]]
) -> None:
    points = [destination(*place, bearing, radius_m * part) for bearing, part in spokes]
    rim = [destination(*place, bearing, radius_m * (1 - 1e-9)) for bearing, _ in spokes]
    assert covers(place, radius_m, [*points, *rim, place])


@settings(max_examples=60, deadline=None)
@given(places, st.floats(100, 20_000), st.integers(5, 10))
def test_no_cell_vertex_in_range_is_lost(place: tuple[float, float], radius_m: float, resolution: int) -> None:
    # Vertices are where a point is farthest from its cell's centre, and where rounding picks the cell.
    cells = {
        h3.latlng_to_cell(*destination(*place, bearing, radius_m), resolution) for bearing in np.arange(0, 6.3, 0.2)
    }
    vertices = [vertex for cell in cells for vertex in h3.cell_to_boundary(cell)]
    assert covers(place, radius_m, vertices)


def test_a_circle_centred_on_a_cell_vertex_with_its_rim_on_another_loses_nothing() -> None:
    for place in HARD_PLACES.values():
        for resolution in (7, 8, 9):
            boundary = h3.cell_to_boundary(h3.latlng_to_cell(*place, resolution))
            for corner in boundary:
                for other in boundary:
                    reach_m = float(distances_m(*corner, np.array([other[0]]), np.array([other[1]]))[0])
                    assert covers(corner, reach_m, [corner, other])


def test_of_a_million_places_in_range_none_is_lost() -> None:
    # Half of them within 1% of the rim; every circle anywhere, of any radius up to the limit.
    draw = np.random.default_rng(11)
    circles, each = 1_000, 1_000
    for number in range(circles):
        lat_deg, lng_deg = float(np.degrees(np.arcsin(draw.uniform(-1, 1)))), float(draw.uniform(-180, 180))
        if number % 5 == 0:  # cities, pentagons, poles and the antimeridian, from some way off
            lat_deg, lng_deg = sorted(HARD_PLACES.values())[number // 5 % len(HARD_PLACES)]
            lat_deg = float(np.clip(lat_deg + draw.normal(0, 0.05), -90, 90))
        radius_m = float(np.exp(draw.uniform(np.log(10), np.log(50_000))))
        part = np.concatenate((np.sqrt(draw.uniform(0, 1, each // 2)), draw.uniform(0.99, 1 - 1e-9, each // 2)))
        lats, lngs = destination(lat_deg, lng_deg, draw.uniform(0, 2 * np.pi, each), radius_m * part)
        assert covers((lat_deg, lng_deg), radius_m, np.stack((lats, lngs), axis=1)), (lat_deg, lng_deg, radius_m)


@pytest.mark.parametrize("radius_m", [50.0, 500.0, 2_000.0, 5_000.0, 7_000.0, 10_000.0, 25_000.0, 50_000.0])
def test_a_cover_reads_little_more_than_its_circle(radius_m: float) -> None:
    draw = np.random.default_rng(3)
    lats, lngs = np.degrees(np.arcsin(draw.uniform(-1, 1, 40))), draw.uniform(-180, 180, 40)
    anywhere = zip(lats.tolist(), lngs.tolist(), strict=True)
    for place in (*HARD_PLACES.values(), *anywhere):
        cells = circle_to_cells(*place, radius_m).tolist()
        area_m2 = sum(h3.cell_area(cell, "m^2") for cell in cells)
        assert area_m2 < 1.8 * np.pi * radius_m**2, (place, area_m2)


def test_the_quadratic_s_cover_holds_every_cell_that_needs_to_be_there() -> None:
    # Where it is trusted it keeps all that a search by every cell's own centre keeps, and hardly more.
    draw = np.random.default_rng(4)
    trusted = 0
    for place in [(float(draw.uniform(-80, 80)), float(draw.uniform(-180, 180))) for _ in range(200)]:
        radius_m = float(np.exp(draw.uniform(np.log(100), np.log(50_000))))
        resolution = cover._radius_to_resolution(radius_m)
        origin = h3.latlng_to_cell(*place, resolution)
        found = cover._by_lattice(origin, *place, radius_m, cover._EDGE_M[resolution])
        searched = set(cover._by_search(origin, *place, radius_m, cover._EDGE_M[resolution]).tolist())
        if found is not None:
            trusted += 1
            assert searched <= set(found.tolist())
            assert len(found) < 1.2 * len(searched) + 8
    assert trusted > 180


def test_near_a_pentagon_the_quadratic_is_not_trusted() -> None:
    for cell in h3.get_pentagons(8):
        assert cover._by_lattice(cell, *h3.cell_to_latlng(cell), 5_000.0, cover._EDGE_M[8]) is None


@pytest.mark.parametrize("radius_m", [0.0, 80.0, 5_000.0, 50_000.0])
def test_intervals_are_the_cells_of_the_cover_and_few(radius_m: float) -> None:
    for place in HARD_PLACES.values():
        cells = circle_to_cells(*place, radius_m)
        lows, highs = circle_to_intervals(*place, radius_m)
        resolution = h3.get_resolution(int(cells[0]))
        bounds = np.array([cell_to_interval(int(cell)) for cell in cells])
        at = np.searchsorted(lows, bounds[:, 0], side="right") - 1
        assert np.all(bounds[:, 1] <= highs[at])
        # What they hold beyond the cells are bit patterns that are no cell: the number of digits that count agrees.
        ends = {h3.cell_to_parent(int(end), resolution) for end in (*lows, *highs) if h3.is_valid_cell(int(end))}
        assert ends <= set(cells.tolist())
        held = sum(_cells_between(int(low), int(high), resolution) for low, high in zip(lows, highs, strict=True))
        assert held == len(set(cells.tolist()))
        assert len(cells) < 30 or len(lows) < 0.6 * len(cells)


def _cells_between(low: int, high: int, resolution: int) -> int:
    """How many cells of a resolution an interval of stored cells holds, counted in base 7."""

    def number(stored: int) -> int:
        digits = [(stored >> 3 * (15 - place)) & 7 for place in range(1, resolution + 1)]
        value = (stored >> 45) & 127
        for digit in digits:
            value = value * 7 + digit
        return value

    return number(high) - number(low) + 1


def test_where_few_are_expected_gaps_are_read_over_and_nothing_is_lost() -> None:
    for place in HARD_PLACES.values():
        exact = circle_to_intervals(*place, 2_000.0)
        for rows_expected in (0.0, 20.0, 300.0, 5_000.0):
            joined = circle_to_intervals(*place, 2_000.0, rows_expected)
            at = np.searchsorted(joined.lows, exact.lows, side="right") - 1
            assert np.all((at >= 0) & (exact.highs <= joined.highs[at]))
            assert np.all(joined.highs[:-1] < joined.lows[1:])
            assert len(joined.lows) <= len(exact.lows)
            # However few: never over more than 64 cells at once.
            ends = joined.highs - joined.lows
            assert ends.sum() <= (exact.highs - exact.lows).sum() + 65 * len(exact.lows) * (1 << 3 * (15 - 9))
        assert len(circle_to_intervals(*place, 2_000.0, 20.0).lows) < 0.7 * len(exact.lows)


@pytest.mark.parametrize("radius_m", [10.0, 500.0, 5_000.0, 50_000.0])
def test_the_cell_that_tells_the_density_of_a_circle_is_about_as_large(radius_m: float) -> None:
    for place in HARD_PLACES.values():
        low, high, share = circle_to_interval(*place, radius_m)
        assert 0.3 < share < 3.0
        resolution = next(r for r in range(16) if cell_to_interval(h3.cell_to_parent(low, r)) == (low, high))
        lat_deg, lng_deg = h3.cell_to_latlng(h3.cell_to_parent(low, resolution))
        away_m = distances_m(*place, np.array([lat_deg]), np.array([lng_deg]))[0]
        assert away_m <= 1.2 * h3.average_hexagon_edge_length(resolution, "m")


@given(places, st.integers(0, 15))
def test_an_interval_holds_exactly_the_descendants_of_its_cell(place: tuple[float, float], resolution: int) -> None:
    stored = degrees_to_cell(*place)
    low, high = cell_to_interval(h3.cell_to_parent(stored, resolution))
    assert low <= stored <= high
    neighbour = next(cell for cell in h3.grid_ring(h3.cell_to_parent(stored, 3), 1))
    low, high = cell_to_interval(h3.cell_to_parent(stored, 3))
    assert not low <= h3.cell_to_center_child(neighbour, 15) <= high


def test_intervals_are_ascending_and_disjoint() -> None:
    for place in HARD_PLACES.values():
        lows, highs = circle_to_intervals(*place, 5_000.0)
        assert np.all(lows <= highs)
        assert np.all(highs[:-1] < lows[1:])
        assert np.all(lows > 0)
