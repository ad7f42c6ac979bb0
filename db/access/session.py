"""What every session of ours is set to, whatever its server, database, role or environment say: the one list.

A shared database is set up for others: a time zone, a timeout, read-only by default. What none of it may change is set
here; what it may (memory, tablespaces, how durable a commit is) is not.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: The schema of everything that is ours in a database, where nobody names another.
SCHEMA: Final = "hexbite"

#: Whoever connects for the service, what is done is done as who may only read, or only tell events.
READER: Final = "hexbite_reader"
TELLER: Final = "hexbite_teller"

#: As whom the service refreshes what is known of places.
LOADER: Final = "hexbite_loader"


class Role(NamedTuple):
    """What a session of the service steps down to.

    ``refused`` and ``closed`` say what who connects may not do, and what the role itself may not; ``wanted`` are the
    rights that it has to have, as SQL grants them, in a schema to be filled in.
    """

    name: str
    refused: str
    closed: str
    wanted: str


READS: Final = Role(
    READER,
    "the store's user may not read it",
    "the store may not be read",
    "SELECT ON {0}.feature_schemas, {0}.users, {0}.restaurants, {0}.user_states, {0}.arrival_states,"
    " {0}.pending_events",
)
TELLS: Final = Role(
    TELLER,
    "the store's user may not tell it events",
    "events may not be told to the store",
    "EXECUTE ON FUNCTION {0}.tell_events",
)

_EVERYBODY: Final = {
    "client_encoding": "UTF8",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "client_min_messages": "notice",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    # Rows that a policy would hide without a word are an error instead.
    "row_security": "off",
    # How long things may take is for commands to say, and for the service's budget.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    # A migrator goes on after a lock that it did not get.
    "exit_on_error": "off",
    # Tables are made as rows: nothing else can hold these indexes.
    "default_table_access_method": "heap",
}

# Each statement of the service has one good plan, whatever its parameters are: planned once, and by indexes whatever
# the statistics say. Compiling a 1 ms query costs more than it gives.
_SERVICE: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_indexscan": "on",
    "enable_indexonlyscan": "on",
    "enable_nestloop": "on",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_memoize": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    # A worker that hangs between two statements may not hold a snapshot for ever.
    "idle_in_transaction_session_timeout": "60s",
}

#: Settings that a server has from a version on: they cannot be asked for before it is known which one it is.
SINCE: Final = {170_000: "SET transaction_timeout = 0"}

#: libpq's parameters of a connection that a network forgets when it is idle, or drops without a word: probed every
#: 30 s, given up when nothing is heard for another 30 (milliseconds in ``tcp_user_timeout``, seconds elsewhere).
NETWORK: Final = {
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


#: The function of the server that refuses to hide rows (its errors tell of it): see ``row_security`` above.
FILTER: Final = "check_enable_rls"


def hidden(user: str) -> str:
    """What to say where a policy would hide rows from a user."""
    return (
        f"row-level security would hide rows of the store from user {quoted(user)}; run, as a superuser: "
        f"ALTER ROLE {quoted(user)} BYPASSRLS, or as the store's owner, for each table: "
        "ALTER TABLE … DISABLE ROW LEVEL SECURITY"
    )


def may_not_connect(database: str, user: str) -> str:
    """What to say where a user is not let into a database."""
    return (
        f"user {quoted(user)} may not connect to database {quoted(database)}; run, as its owner: "
        f"GRANT CONNECT ON DATABASE {quoted(database)} TO {quoted(user)}"
    )


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def command_settings(schema: str) -> dict[str, str]:
    """Settings of a command's session on the tables in ``schema``."""
    return _EVERYBODY | {"search_path": quoted(schema)}


def service_settings(schema: str, statement_timeout_ms: int, role: Role = READS) -> dict[str, str]:
    """Settings of the service's sessions."""
    given = {"role": role.name, "statement_timeout": str(statement_timeout_ms)}
    return command_settings(schema) | _SERVICE | given


def to_options(settings: dict[str, str], before: str = "") -> str:
    """Settings as libpq's ``options``, behind those of the address, which they win over."""
    switches = [f"-c {name}={_escaped(value)}" for name, value in settings.items()]
    return " ".join([before, *switches] if before else switches)


def _escaped(value: str) -> str:
    return "".join(f"\\{character}" if character in "\\ \t\n\r\f\v" else character for character in value)
