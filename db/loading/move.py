"""Move a restaurant: position and cell together, which plain SQL cannot do."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from db.access.driver import opened
from db.access.session import SCHEMA
from db.statements import SQL
from hexbite.errors import StoreError
from hexbite.geo import degrees_to_cell
from hexbite.ids import text_fault, text_to_id

_INTEGER: Final = re.compile(r"-?[0-9]{1,30}", re.ASCII)
_INT64: Final = range(-(2**63), 2**63)


class Moved(NamedTuple):
    """In how many schemas a restaurant was moved, by what its id is there."""

    as_integer: int
    as_text: int


def move(dsn: str, restaurant_id: int | str, lat_deg: float, lng_deg: float, *, schema: str = SCHEMA) -> Moved:
    """Put a restaurant where it now is, in every schema that has features of it.

    The id is text as it stands and, where it reads as a 64-bit integer, that integer too: ``42`` may be one in one
    schema and the other in another, and then both are moved. Raises StoreError where a coordinate is out of range or no
    such restaurant is stored, StoreUnavailable.
    """
    text = str(restaurant_id)
    if fault := text_fault(text):
        raise StoreError(f"restaurant {text!a} cannot be moved: its id {fault}")
    try:
        cell = degrees_to_cell(lat_deg, lng_deg)
    except ValueError as error:
        raise StoreError(f"restaurant {restaurant_id} cannot be moved: {error}") from error
    integer = int(text) if _INTEGER.fullmatch(text) else _INT64.stop
    parameters = {
        "restaurant_id": integer if integer in _INT64 else None,
        "hash": text_to_id(text),
        "restaurant_key": text,
        "latitude": lat_deg,
        "longitude": lng_deg,
        "h3_cell": cell,
    }
    with opened(dsn, schema) as connection:
        # A move of half a metre may keep the cell.
        connection.execute("SET LOCAL hexbite.cells_are_computed = 'on'")
        moved = [is_text for (is_text,) in connection.execute(SQL["move"], parameters)]
    if not moved:
        raise StoreError(f"no restaurant {restaurant_id} is stored")
    return Moved(moved.count(False), moved.count(True))
