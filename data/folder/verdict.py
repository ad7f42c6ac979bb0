"""The verdict on a data folder: what was found in it, and every problem, before anything is trained or stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from data.folder.clicks import ClickReader, Tally, Unknown, click_columns
from data.folder.columns import Holding, wrong_type
from data.folder.events import Events
from data.folder.files import File, Unreadable, find, open_files
from data.folder.requests import Requests
from data.folder.schema import Resolved, resolve
from data.folder.tables import MAX_REJECTED, Known, Table
from hexbite.console import progress
from hexbite.errors import DataError, FolderError, Problem, SchemaError
from hexbite.features import FeatureSchema
from hexbite.folder import EVENTS, REQUESTS, RESTAURANTS, SCHEMA, TEST, TRAIN, USERS
from hexbite.ids import IdKinds

_NAMES: Final = (USERS, RESTAURANTS, TRAIN, TEST, REQUESTS)


@dataclass
class Contents:
    """The files of a data folder that can be read and hold rows, by table or split; its schema, where that is told."""

    folder: Path
    files: dict[str, list[File]]
    resolved: Resolved
    left_alone: list[Path]
    empty_files: int
    problems: list[Problem]

    @property
    def schema(self) -> FeatureSchema | None:
        """None where it cannot be told."""
        return self.resolved.schema


@dataclass
class Verdict:
    """What a folder holds and what is wrong with it. Tables are None where they are absent or cannot be read.

    Tallies are those of the splits of which the rows were read.
    """

    contents: Contents
    users: Table | None = None
    restaurants: Table | None = None
    clicks: dict[str, ClickReader] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    requests: Requests | None = None
    events: Events | None = None
    problems: list[Problem] = field(default_factory=list)

    def refuse(self) -> None:
        """Raise FolderError where there is any problem."""
        if self.problems:
            raise FolderError(self.problems, path=self.contents.folder)


def look(folder: Path, *, wanted: Collection[str] = (USERS, RESTAURANTS)) -> Contents:
    """Find the files of a folder and read what their footers say; absence is a problem for what is ``wanted``.

    Raises DataError where there is no such folder.
    """
    if not folder.is_dir():
        raise DataError("is no folder", path=folder)
    contents = Contents(folder, {}, Resolved(None, IdKinds(), is_told=False), [], 0, [])
    for name in _NAMES:
        _open(contents, name, is_wanted=name in wanted)
    if len({USERS, RESTAURANTS} & set(wanted)) == 1 and not (folder / SCHEMA).exists():
        contents.problems.append(
            Problem(SCHEMA, "", "no such file; one table alone does not tell its schema, put it beside")
        )
    files = contents.files
    contents.resolved = resolve(folder, files[USERS], files[RESTAURANTS], files[TRAIN], contents.problems)
    # Where nothing is counted a folder of that name is somebody's own.
    if contents.schema is not None and contents.schema.counters:
        _open(contents, EVENTS, is_wanted=EVENTS in wanted)
    return contents


def _open(contents: Contents, name: str, *, is_wanted: bool) -> None:
    """Add the files of a table or split to a folder's contents."""
    problems, missed = contents.problems, len(contents.problems)
    found = find(contents.folder, name, problems)
    contents.left_alone += found.left_alone
    opened = open_files(contents.folder, found.paths, problems)
    # What holds no row has often no types either, and does no harm beside others.
    files = contents.files[name] = [file for file in opened if file.rows]
    contents.empty_files += len(opened) - len(files)
    # No request at all asks for nothing, and is none.
    if name != REQUESTS and opened and not files and len(opened) == len(found.paths):
        only = opened[0].name if len(opened) == 1 else name
        problems.append(Problem(only, "", "holds no rows"))
    if not found.paths and is_wanted and len(problems) == missed:
        is_folder = name in (TRAIN, TEST, EVENTS)
        problems.append(Problem(name, "", "no parquet file in it" if is_folder else "no such file"))


def judge(
    contents: Contents,
    *,
    unknown: Unknown = "error",
    max_rejected: float = MAX_REJECTED,
    fills: FeatureSchema | None = None,
    defer_train: bool = False,
) -> Verdict:
    """Read every row of a folder, in bounded memory, and say all that is wrong with it.

    ``fills`` is the schema of a published model, whose fills then apply. ``defer_train`` leaves the rows of the train
    files to somebody who reads them anyway, unless a problem was found before: then the list is to be whole. Raises
    SchemaError where the folder's features are not the model's.
    """
    schema = _chosen(contents, fills)
    ids = contents.resolved.ids if schema is None else schema.ids
    verdict = Verdict(contents, problems=list(contents.problems))
    zoned = schema is not None and schema.tells_local_time
    users = Table(USERS, contents.files[USERS], ids.user, schema.user if schema else (), False, False)
    restaurants = Table(
        RESTAURANTS, contents.files[RESTAURANTS], ids.restaurant, schema.restaurant if schema else (), True, zoned
    )
    verdict.users = _judge_table(users, max_rejected, verdict.problems)
    verdict.restaurants = _judge_table(restaurants, max_rejected, verdict.problems)
    known = _known(verdict.users), _known(verdict.restaurants)
    context = schema.context if schema else ()
    of_place: dict[str, list[Problem]] = {TRAIN: [], TEST: [], REQUESTS: [], EVENTS: []}
    for split in (TRAIN, TEST):
        files = contents.files[split]
        sound = _sound(files, click_columns(ids, context), of_place[split])
        verdict.clicks[split] = ClickReader(sound, ids, context, *known, unknown)
    requests = Requests(contents.files[REQUESTS], ids, *known, unknown, zoned)
    requests.files = _sound(requests.files, requests.columns, of_place[REQUESTS])
    if requests.files:
        verdict.requests = requests
        of_place[REQUESTS] += requests.judge()
    if schema is not None and schema.counters:
        verdict.events = _judge_events(contents.files[EVENTS], schema, of_place[EVENTS])
    for split in (TEST, TRAIN):
        if split == TRAIN and defer_train and not (verdict.problems or any(of_place.values())):
            continue
        if verdict.clicks[split].files:
            tally = verdict.tallies[split] = _tally(split, verdict.clicks[split])
            is_whole = not any(problem.file.startswith(f"{split}/") for problem in contents.problems + of_place[split])
            of_place[split] += tally.problems(is_whole=is_whole)
    verdict.problems += [problem for problems in of_place.values() for problem in problems]
    return verdict


def _chosen(contents: Contents, fills: FeatureSchema | None) -> FeatureSchema | None:
    found = contents.schema
    if fills is None or found is None:
        return found
    if fills.fingerprint != found.fingerprint:
        raise SchemaError(
            f"{contents.folder} has the feature schema {found.fingerprint[:12]}, the model was trained on "
            f"{fills.fingerprint[:12]}; name the folder that goes with the model, or another model"
        )
    return fills


def _judge_table(table: Table, max_rejected: float, problems: list[Problem]) -> Table | None:
    """The table where its rows could be read."""
    sound = _sound(table.files, table.columns, problems)
    if len(sound) < len(table.files) or not sound:
        return None
    with progress(f"looking through {table.name}", table.rows) as advance:
        problems += table.judge(max_rejected, advance)
    return table if table.known is not None else None


def _judge_events(files: Sequence[File], schema: FeatureSchema, problems: list[Problem]) -> Events | None:
    events = Events(files, schema.ids, schema.counters)
    events = replace(events, files=_sound(files, events.columns, problems))
    problems += events.judge()
    return events if events.files else None


def _known(table: Table | None) -> Known | None:
    return None if table is None or table.known is None or not len(table.known.ids) else table.known


def _sound(files: Sequence[File], columns: Mapping[str, Holding], problems: list[Problem]) -> list[File]:
    """The files that have every column, and of the kind that it is to hold; of each other one its problems."""
    sound = []
    for file in files:
        found = []
        for name, holding in columns.items():
            dtype = file.dtype(name)
            if dtype is None:
                other = next((other.name for other in files if other.dtype(name) is not None), None)
                found.append(Problem(file.name, name, "no such column" + (f"; {other} has it" if other else "")))
            elif not (holding == "text" and file.is_told(name)) and (what := wrong_type(dtype, holding)):
                found.append(Problem(file.name, name, what))
        if not found:
            sound.append(file)
        problems += found
    return sound


def _tally(split: str, reader: ClickReader) -> Tally:
    tally = Tally(split)
    with progress(f"looking through {split}", sum(file.rows for file in reader.files)) as advance:
        for part in reader.parts:
            file = reader.files[part.file]
            try:
                rows, used, faults = reader.read(part)
                tally.add(file, rows, used, faults)
            except Unreadable as error:
                tally.add_unreadable(file, str(error))
            advance(part.rows)
    return tally
