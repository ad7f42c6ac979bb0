import h3.api.basic_int as h3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexbite.geo import (
    EARTH_RADIUS_M,
    cell_to_interval,
    circle_to_cells,
    circle_to_intervals,
    degrees_to_cell,
    degrees_to_cells,
    distances_m,
)

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


def destination(lat_deg: float, lng_deg: float, bearing_rad: float, distance_m: float) -> tuple[float, float]:
    """The point that lies so far in that direction, by spherical trigonometry."""
    angle = distance_m / EARTH_RADIUS_M
    lat, lng = np.radians(lat_deg), np.radians(lng_deg)
    sine = np.sin(lat) * np.cos(angle) + np.cos(lat) * np.sin(angle) * np.cos(bearing_rad)
    to_lat = np.arcsin(np.clip(sine, -1, 1))
    east = np.sin(bearing_rad) * np.sin(angle) * np.cos(lat)
    to_lng = lng + np.arctan2(east, np.cos(angle) - np.sin(lat) * np.sin(to_lat))
    return float(np.degrees(to_lat)), float((np.degrees(to_lng) + 540) % 360 - 180)


def covers(place: tuple[float, float], radius_m: float, points: list[tuple[float, float]]) -> bool:
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


@pytest.mark.parametrize("place", sorted(HARD_PLACES))
def test_a_cover_reads_little_more_than_its_circle(place: str) -> None:
    for radius_m in (100.0, 2_000.0, 7_500.0, 50_000.0):
        cells = circle_to_cells(*HARD_PLACES[place], radius_m)
        assert len(cells) < 250
        area_m2 = sum(h3.cell_area(cell, "m^2") for cell in cells)
        assert area_m2 < 2.6 * np.pi * radius_m**2


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


@pytest.mark.parametrize(("lat", "lng"), [(91, 0), (-90.01, 0), (0, 180.5), (float("nan"), 0), (0, float("inf"))])
def test_a_position_off_the_globe_has_no_cell(lat: float, lng: float) -> None:
    with pytest.raises(ValueError, match="out of range"):
        degrees_to_cell(lat, lng)
    with pytest.raises(ValueError, match="out of range"):
        degrees_to_cells(np.array([0.0, lat]), np.array([0.0, lng]))


def test_distances_agree_with_known_ones() -> None:
    quarter_m = np.pi / 2 * EARTH_RADIUS_M
    lats, lngs = np.array([0.0, 90.0, 0.0, 0.0]), np.array([0.0, 0.0, 180.0, -179.0])
    expected = [0.0, quarter_m, 2 * quarter_m, quarter_m * 2 * 179 / 180]
    np.testing.assert_allclose(distances_m(0.0, 0.0, lats, lngs), expected, rtol=1e-12)
    # Times Square to the Empire State Building, on this sphere.
    assert distances_m(40.758, -73.9855, np.array([40.748817]), np.array([-73.985428]))[0] == pytest.approx(1021, abs=1)
