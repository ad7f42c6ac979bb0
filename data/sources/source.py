"""Where the rows of a table come from, as a map says it."""

from __future__ import annotations

import os
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hexbite.errors import SettingsError


class Source(BaseModel):
    """Files, or a query of Postgres.

    ``path``: a file, a folder, a pattern (``*``, ``**``), an address (``s3://``, ``gs://``, ``az://``, ``https://``),
    or a list of them; relative ones start at the map's folder. ``file_format`` is told by the files' content where it
    is absent, ``delimiter`` too; ``quote`` "" means that the files quote nothing. ``columns`` are the names of the
    columns of delimited text, wanted where there is no ``header``, and used in its place where there is one.
    ``ragged`` says what becomes of a row with more or fewer fields than there are columns: "refuse" ends the reading;
    "pad" lets short rows go on with nulls and cuts off what is too much, and both are counted.
    ``storage`` goes to Polars, which reads the addresses. ``database`` is an address of Postgres. Values of both that
    begin with ``$`` name a variable of the environment.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str | list[str] | None = None
    query: str | None = None
    database: str | None = None
    file_format: Literal["parquet", "csv", "jsonl"] | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    quote: str = Field(default='"', max_length=1)
    encoding: str = "utf-8"
    header: bool = True
    columns: list[str] | None = None
    ragged: Literal["refuse", "pad"] = "refuse"
    storage: dict[str, str] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        self.check_source()
        return self

    def check_source(self) -> None:
        """Raise ValueError where the keys do not say one source."""
        if (self.path is None) == (self.query is None):
            raise ValueError("give path or query, one of them")
        if (self.query is None) != (self.database is None):
            raise ValueError("query and database go together: the one is asked of the other")
        if self.path == [] or self.path == "":
            raise ValueError("path is empty: name a file")
        if self.columns is not None and len(set(self.columns)) < len(self.columns):
            raise ValueError("columns names one of them twice")

    @property
    def paths(self) -> list[str]:
        """``path`` as a list."""
        return [self.path] if isinstance(self.path, str) else list(self.path or ())

    def storage_options(self) -> dict[str, str] | None:
        """``storage``, with what the environment holds. Raises SettingsError where a variable is not set."""
        if self.storage is None:
            return None
        return {name: from_environment(value) for name, value in self.storage.items()}


def from_environment(text: str) -> str:
    """The variable that ``$NAME`` names; any other text as it is. Raises SettingsError where it is not set."""
    if not text.startswith("$"):
        return text
    value = os.environ.get(text[1:])
    if not value:
        raise SettingsError(f"the map names the variable {text[1:]}, and the environment does not set it")
    return value
