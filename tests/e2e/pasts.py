"""Drawn pasts in stores of their own, which know what happened before the split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data.replay.journal import read_journal
from data.replay.replay import us_to_text
from data.visits import Sizes, write_visits
from tests.databases import new_database
from tests.e2e.conftest import environment_of, run


@dataclass(frozen=True)
class Town:
    """A data folder, loaded, told and learned; the environment of its service, which takes events of any age."""

    data: Path
    dsn: str
    environment: Mapping[str, str]


def make_town(server_dsn: str, home: Path, name: str, visits: int, *, lag_s: int = 0) -> Town:
    """About 15 of 100 visits are test time."""
    dsn = new_database(server_dsn, f"hexbite_{name}")
    environment = environment_of(dsn, home) | {"HEXBITE_MAX_EVENT_AGE_S": "none"}
    write_visits(home / "log", Sizes(people=60, places=120, visits=visits, days=60), seed=2)
    path = home / "log" / "map.toml"
    path.write_text(path.read_text().replace("[counters]", f"[counters]\nlag_s = {lag_s}"))
    data = home / "data"
    run("data", "log", str(path), str(data), environment=environment)
    run("db", "upgrade", environment=environment)
    run("db", "load", str(data), environment=environment)
    tell_before_split(data, environment)
    run("training", "train", "--data", str(data), "--epochs", "1", environment=environment)
    return Town(data, dsn, environment)


def tell_before_split(data: Path, environment: Mapping[str, str]) -> str:
    """What the store may know when a replay begins."""
    split = us_to_text(read_journal(data).split_us)
    return run("db", "events", str(data / "events"), "--before", split, environment=environment)
