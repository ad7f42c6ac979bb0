"""A map is read whole or refused in words that name table, key and file."""

from dataclasses import fields
from pathlib import Path

import pytest

from data.log.counted import Counted
from data.log.map import (
    Boolean,
    Categories,
    Category,
    Events,
    Lists,
    Map,
    Negatives,
    Number,
    Restaurants,
    Split,
    Standing,
    Time,
    Users,
)
from data.log.mapfile import CHECKINS_MAP, read_map
from data.sources import Source
from hexbite.counters.definitions import Counter, default_counters
from hexbite.errors import DataError

GOOD = """
[users]
path = "customers.csv"
id = "customer_id"
[users.features]
age = { kind = "number", fill = "mean" }
[restaurants]
path = "merchants/"
id = "merchant_id"
latitude = "lat"
longitude = "lng"
[restaurants.features]
price = { kind = "number" }
[events]
path = "events/"
user = "customer_id"
restaurant = "merchant_id"
time = "ts"
"""


def own(entry: str, more: str = "") -> str:
    """The last lines of a map that counts."""
    return f'time = "ts"\n[counters]\n{more}[counters.features]\n{entry}'


def read(tmp_path: Path, text: str) -> Map:
    (tmp_path / "map.toml").write_text(text)
    return read_map(tmp_path / "map.toml")


def test_a_short_map_and_the_one_that_ships_are_read(tmp_path: Path) -> None:
    asked = read(tmp_path, GOOD)
    assert asked.split.test == 0.2
    assert not asked.events.shows
    assert read_map(CHECKINS_MAP).history


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('user = "customer_id"\n', "", r"\[events\] user: is wanted"),
        (
            'time = "ts"',
            'time = "ts"\nlabels = ["order"]',
            r"\[events\] labels: is no key of a map; did you mean label",
        ),
        ('time = "ts"', 'time = "ts"\n[splitt]\ntest = 0.1', r"splitt: is no key of a map; did you mean split"),
        ('time = "ts"', 'time = "ts"\nlabel = ["order"]', r"\[events\].*name it, as kind"),
        ('time = "ts"', 'time = "ts"\nkind = "k"', r"\[events\].*label is wanted"),
        ('time = "ts"', 'time = "ts"\nkind = "k"\nlabel = ["a"]\nshown = ["a"]', r"a is named twice"),
        ('time = "ts"', 'time = "ts"\nchosen = "c"\nkind = "k"\nlabel = ["a"]', r"chosen says it of each row"),
        ('time = "ts"', 'time = "ts"\nunit = "min"', r"\[events\] unit"),
        ('time = "ts"', 'time = "ts"\nunit = "s"\nzone = "Asia/Bangkok"', r"\[events\].*unit is for numbers"),
        ('time = "ts"', 'time = "ts"\nlatitude = "a"', r"latitude and longitude go together"),
        ('time = "ts"', 'time = "ts"\n[split]\ntest = 1.5', r"\[split\] test.*less than 1.*1\.5"),
        ('time = "ts"', 'time = "ts"\n[split]\ntest = 0.5\nat = 2024-05-01T00:00:00Z', r"\[split\].*test or at"),
        ('kind = "number" }', 'kind = "numbre" }', r"\[restaurants\.features\] price.*numbre"),
        ('kind = "number" }', 'kind = "number", fil = 1 }', r"features\.price\] fil: is no key"),
        ('latitude = "lat"\n', "", r"\[restaurants\].*latitude and longitude go together"),
        ('latitude = "lat"\nlongitude = "lng"\n', "", r"where restaurants are is wanted"),
        ("[restaurants.features]\nprice", "[restaurants.features]\n# price", r"nothing is known of restaurants"),
        ('path = "events/"', "", r"\[events\].*path or query"),
        ("[users]", "[users", r"is no TOML"),
        ('time = "ts"', 'time = "ts"\n[counters]\nlag_s = 60', r"\[counters\].*counts nothing"),
        ('time = "ts"', 'time = "ts"\n[counters]\ndefaults = "visit"', r"\[counters\] defaults.*did you mean default"),
        ('time = "ts"', 'time = "ts"\n[counters]\ndefault = "order"', r"\[counters\] counts order, and .* is a visit"),
        ('time = "ts"', 'time = "ts"\n[counters]\ndefault = "visit"\nlag_s = -1', r"\[counters\] lag_s.*-1"),
        ('time = "ts"', "[counters]\ndefault = 'visit'", r"\[counters\] is about times"),
        ('time = "ts"', own('own = { by = "user", figure = "count" }'), r"\[counters\.features\] own: .*events"),
        (
            'time = "ts"',
            own('own = { events = "visit", by = "us", figure = "count" }'),
            r"features\] own: .by. is one of",
        ),
        (
            'time = "ts"',
            own('own = { events = "visit", by = "user", figur = "count" }'),
            r"features\] own: unknown keys figur",
        ),
        (
            'time = "ts"',
            own('own = { name = "x", events = "visit" }'),
            r"\[counters\] features: own is a table without a name",
        ),
        ('time = "ts"', own("own = 3"), r"\[counters\] features: own is a table"),
        (
            'time = "ts"',
            own('hour = { events = "visit", by = "user", figure = "count" }'),
            r"features\] hour: is the name of",
        ),
        (
            'time = "ts"',
            own('position = { events = "visit", by = "user", figure = "count" }'),
            r"position: is the name of",
        ),
        (
            'time = "ts"',
            own('click = { events = "visit", by = "user", figure = "count" }'),
            r"click.* is taken by a column",
        ),
        (
            'time = "ts"',
            own('"a-b" = { events = "visit", by = "user", figure = "count" }'),
            r"a-b.* is not an identifier",
        ),
        (
            'time = "ts"',
            own('own = { events = "visit", by = "user", figure = "count" }', 'default = "visit"\n').replace(
                "own =", "own_visits ="
            ),
            r"\[counters\].*own_visits is there more than once",
        ),
    ],
)
def test_what_is_wrong_with_a_map_is_said_by_table_key_and_file(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(DataError, match=rf"map\.toml: .*{said}"):
        read(tmp_path, GOOD.replace(old, new))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\[events\] user: is wanted; \[events\] users: is no key"):
        read(tmp_path, GOOD.replace('user = "customer_id"', 'users = "v"'))


def test_an_absent_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.toml: cannot be read"):
        read_map(tmp_path / "none.toml")


def test_kinds_of_events_may_be_one_text_numbers_or_booleans(tmp_path: Path) -> None:
    asked = read(tmp_path, GOOD.replace('time = "ts"', 'time = "ts"\nkind = "k"\nlabel = true\nshown = [0, "seen"]'))
    assert asked.events.label == ("true",)
    assert asked.events.shown == ("0", "seen")


def test_the_manual_names_every_key() -> None:
    docs = Path(__file__).parents[2] / "docs"
    manual = (docs / "own-data.md").read_text().partition("## Keys of a map")[2].partition("## Rules")[0]
    of_sources = (docs / "sources.md").read_text().partition("## Keys")[2]
    tables = (Users, Restaurants, Events, Split, Lists, Standing, Negatives, Counted, Map)
    features = (Number, Boolean, Category, Categories, Time)
    counters = {field.name for field in fields(Counter)} - {"name"}
    for key in {key for model in (*tables, *features) for key in model.model_fields} | counters:
        page = of_sources if key in Source.model_fields else manual
        assert f"`{key}`" in page or f"`[{key}]`" in page, key


def test_a_map_counts_the_default_set_and_more_by_one_entry_each(tmp_path: Path) -> None:
    entry = 'own_days = { events = "visit", by = "user+restaurant", figure = "days since first" }'
    counted = read(tmp_path, GOOD.replace('time = "ts"', own(entry, 'default = ["visit"]\n'))).counted
    assert counted.lag_s == 60
    assert counted.names == (*(one.name for one in default_counters(["visit"])), "own_days")
    assert counted.kinds == ("visit",)
    assert not read(tmp_path, GOOD).counted
