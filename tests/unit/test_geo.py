import numpy as np
import pytest

from hexbite.geo import EARTH_RADIUS_M, degrees_to_cell, degrees_to_cells, distances_m


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
