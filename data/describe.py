"""A look into a data folder: what it holds, and the verdict on it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from data.folder.clicks import Tally, Unknown
from data.folder.files import File
from data.folder.requests import Requests
from data.folder.schema import SHOWN, columns_of
from data.folder.tables import MAX_REJECTED, Table
from data.folder.verdict import Contents, Verdict, judge, look
from hexbite.errors import Problem
from hexbite.features import GROUPS, Feature
from hexbite.folder import EVENT_TS, RESTAURANTS, SCHEMA, TEST, TRAIN, USERS

_SHOWN_NAMES: Final = 2
_SHOWN_ROWS: Final = 20


class Description(NamedTuple):
    """Lines to print, in order, and the problems."""

    lines: list[str]
    problems: list[Problem]


def describe(folder: Path, *, unknown: Unknown = "error", max_rejected: float = MAX_REJECTED) -> Description:
    """Read a data folder in bounded memory and say what is in it, and what training, loads and the service say of it.

    Ids of people and places are held whole. Raises DataError where there is no such folder; all else that is wrong is
    a problem in the answer.
    """
    contents = look(folder, wanted=(USERS, RESTAURANTS, TRAIN))
    verdict = judge(contents, unknown=unknown, max_rejected=max_rejected)
    lines = [*_schema(contents), *_table("users", verdict.users), *_table("restaurants", verdict.restaurants)]
    for split in (TRAIN, TEST):
        lines += _clicks(split, contents.files[split], verdict.tallies.get(split))
    if verdict.requests is not None:
        lines += _requests(verdict.requests)
    lines += _counters(verdict)
    return Description([*lines, *_left_alone(verdict)], verdict.problems)


def _schema(contents: Contents) -> list[str]:
    schema = contents.schema
    if schema is None:
        return []
    origin = SCHEMA if contents.resolved.is_told else f"every column that is no key (no {SCHEMA})"
    lines = [f"schema        {origin}", f"  fingerprint {schema.fingerprint}"]
    for group in GROUPS:
        features = schema.group(group)
        filled = sum(feature.fill is not None for feature in features)
        lines.append(f"  {group:<11} {len(features)} wide, {filled} with a fill{_names(schema.names(group))}")
    return lines


def _counters(verdict: Verdict) -> list[str]:
    """What is counted, of which events, and what the train rows have of it."""
    schema = verdict.contents.schema
    if schema is None or not schema.counters:
        return []
    counters, events, tally = schema.counters, verdict.events, verdict.tallies.get(TRAIN)
    lines = ["events        none: what is counted is not there"]
    if events is not None:
        lines = [f"events        {events.rows:,} rows{_in_files(events.files)}"]
        lines += [f"  {kind:<11} {count:,}" for kind, count in events.kinds.items() if count]
    lag = f"what is known of places is as of the last whole {counters.lag_s:g} s" if counters.lag_s else "nothing lags"
    lines.append(f"counters      {len(counters.names)}; {lag}")
    for place, definition in enumerate(counters.definitions(), len(schema.requested)):
        said = ", ".join(f"{key} {_value(value)}" for key, value in definition.items() if key != "name")
        lines.append(f"  {definition['name']}: {said}")
        if tally is not None and tally.context is not None:
            least, most, total = tally.context[:, place]
            lines.append(f"    {least:.4g} .. {most:.4g}, {total / (tally.rows - tally.left_out):.4g} on average")
    return lines


def _value(value: Any) -> str:
    return " and ".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)


def _table(what: str, table: Table | None) -> list[str]:
    if table is None:
        return []
    lines = [f"{what:<13} {table.rows:,} rows{_in_files(table.files)}"]
    lines.append(f"  ids         {'text' if table.has_texts else _range(table, table.id_column)}")
    if table.positioned:
        lines += [f"  {name:<11} {_range(table, name)}" for name in ("latitude", "longitude")]
    if EVENT_TS in table.ranges:
        first, last = (datetime(1970, 1, 1) + timedelta(microseconds=us) for us in table.ranges[EVENT_TS])  # noqa: DTZ001
        lines.append(f"  {EVENT_TS:<11} {first} .. {last} UTC")
    if table.filled[EVENT_TS]:
        lines.append(f"  {EVENT_TS:<11} {table.filled[EVENT_TS]:,} null: the load's time")
    return [*lines, *_fills(table.features, table.filled), *_rejected(table)]


def _fills(features: Sequence[Feature], filled: dict[str, int]) -> list[str]:
    told = [(f.name, f"{filled[f.name]:,} null, filled with {f.fill:g}") for f in features if filled.get(f.name)]
    lines = []
    for what, group in itertools.groupby(told, key=lambda named: named[1]):
        names = [name for name, _ in group]
        lines.append(f"  {_span(names)}: {what}{' each' if len(names) > 1 else ''}")
    return lines


def _rejected(table: Table) -> list[str]:
    if not table.rejected:
        return []
    lines = [f"  rejected    {table.rejected:,} of {table.rows:,} rows, which loads and training leave out"]
    lines += [f"    {column}: {what} ({count:,} rows)" for (column, what), count in table.faults.items()]
    lines += [f"    {row.file} row {row.row}, id {row.id}: {row.reason}" for row in table.rejections[:_SHOWN_ROWS]]
    more = len(table.rejections) - _SHOWN_ROWS
    return lines + ([f"    and {more:,} more; python -m db load DIR --rejected FILE lists all"] if more > 0 else [])


def _clicks(split: str, files: Sequence[File], tally: Tally | None) -> list[str]:
    rows = sum(file.rows for file in files)
    used = tally.rows - tally.left_out if tally else 0
    rate = f", click rate {tally.clicks / used:.4f}" if tally and used else ""
    many = "1 file" if len(files) == 1 else f"{len(files)} files"
    lines = [f"{split:<13} {rows:,} rows in {many}, {_bytes(files)}{rate}" if files else f"{split:<13} none"]
    if tally and tally.left_out:
        lines.append(f"  left out    {tally.left_out:,} rows: their user or restaurant has no features")
    shown = [name for name in columns_of(files) if name in SHOWN]
    return lines + ([f"  left alone  {', '.join(shown)}: what was shown, and no feature"] if shown else [])


def _requests(requests: Requests) -> list[str]:
    lines = [f"requests      {requests.rows:,} rows{_in_files(requests.files)}"]
    if requests.least.keys() >= {"size", "max_dist"}:
        sizes, metres = (f"{requests.least[name]:g} .. {requests.greatest[name]:g}" for name in ("size", "max_dist"))
        lines.append(f"  size        {sizes}, max_dist {metres} m")
    lines.append(f"  cold starts {requests.cold_starts:,}")
    if requests.candidates or requests.without_candidates:
        near = f"{requests.without_candidates:,} requests ask for whatever is near"
        lines.append(f"  candidates  {requests.candidates:,} in all; {near}")
    return lines


def _left_alone(verdict: Verdict) -> list[str]:
    contents = verdict.contents
    lines = [f"left alone    {path.relative_to(contents.folder)}: is no parquet" for path in contents.left_alone]
    if contents.empty_files:
        lines.append(f"left alone    {contents.empty_files:,} parquet files without rows")
    return lines


def _range(table: Table, name: str) -> str:
    bounds: tuple[Any, ...] = table.ranges.get(name, ())
    return " .. ".join(str(bound) for bound in bounds) or "without a value"


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} .. {names[-1]} ({len(names)} columns)"


def _names(names: Sequence[str]) -> str:
    if not names:
        return ""
    return ": " + (", ".join(names) if len(names) <= _SHOWN_NAMES else f"{names[0]} .. {names[-1]}")


def _in_files(files: Sequence[File]) -> str:
    return f"{'' if len(files) == 1 else f' in {len(files)} files'}, {_bytes(files)}"


def _bytes(files: Sequence[File]) -> str:
    return f"{sum(file.size_bytes for file in files) / 1e6:,.1f} MB"
