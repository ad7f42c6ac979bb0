"""Move a restaurant: position and cell together, which plain SQL cannot do."""

from __future__ import annotations

from db.access.driver import opened
from db.access.session import SCHEMA
from db.statements import SQL
from hexbite.errors import StoreError
from hexbite.geo import degrees_to_cell


def move(dsn: str, restaurant_id: int, lat_deg: float, lng_deg: float, *, schema: str = SCHEMA) -> int:
    """Put a restaurant where it now is, in every schema that has features of it; in how many that is.

    Raises StoreError where a coordinate is out of range or no such restaurant is stored, StoreUnavailable.
    """
    try:
        cell = degrees_to_cell(lat_deg, lng_deg)
    except ValueError as error:
        raise StoreError(f"restaurant {restaurant_id} cannot be moved: {error}") from error
    position = {"restaurant_id": restaurant_id, "latitude": lat_deg, "longitude": lng_deg, "h3_cell": cell}
    with opened(dsn, schema) as connection:
        # A move of half a metre may keep the cell.
        connection.execute("SET LOCAL hexbite.cells_are_computed = 'on'")
        moved = connection.execute(SQL["move"], position).rowcount
    if not moved:
        raise StoreError(f"no restaurant {restaurant_id} is stored")
    return moved
