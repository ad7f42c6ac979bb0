"""How values are written in a map: texts as they are in the company's files."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ConfigDict

#: Of every table of a map: no key that it does not know.
STRICT: Final = ConfigDict(extra="forbid", frozen=True)


def _to_text(value: Any) -> Any:
    """What a value is called in a file: a TOML true is the text ``true``, a 1 and a 1.0 the text ``1``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else value


def _to_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def to_kinds(value: Any) -> list[Any]:
    """One value or several, as they are called in a file."""
    return [_to_text(one) for one in _to_list(value)]


Text = Annotated[str, BeforeValidator(_to_text)]
Kinds = Annotated[tuple[Text, ...], BeforeValidator(_to_list)]
