"""What libpq takes, commands and service understand alike, or the service refuses it by name; how each is shown."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from db.access import connections
from db.access.address import HARMLESS, HONOURED, for_service, resolved, shown
from db.access.connections import Connections
from db.access.driver import connect, driver_errors
from hexbite.errors import StoreMisconfigured, StoreTimeout, StoreUnavailable
from tests.faults.proxy import Proxy
from tests.faults.proxy import proxy as proxied

ROOT = Path(__file__).parents[2]
ADDRESS = "postgresql://ann@db/store"


def parameters() -> dict[str, str]:
    """Every parameter that libpq has, and what it is where nobody says otherwise."""
    return {option.keyword.decode(): (option.compiled or b"").decode() for option in Conninfo.get_defaults()}


# --- what is understood ---


@pytest.mark.parametrize("name", parameters())
def test_each_parameter_of_libpq_is_honoured_or_refused_by_name_and_the_manual_says_which(name: str) -> None:
    manual = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    line = next((line for line in manual.splitlines() if line.startswith("| ") and f"`{name}`" in line), "")
    said = line.split("|")[2].strip() if line else "nothing"
    if name in HONOURED:
        assert said == "honoured"
        return
    assert said == "refused"
    for value in HARMLESS.get(name, ()):
        for_service(f"{ADDRESS}?{name}={value}")
        assert f"`{value}`" in line
    with pytest.raises(StoreMisconfigured, match=rf"asks for {name}\b") as refused:
        for_service(f"{ADDRESS}?{name}=hunter2")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "variable", ["PGCHANNELBINDING", "PGREQUIREAUTH", "PGREQUIREPEER", "PGSSLCRLDIR", "PGGSSENCMODE"]
)
def test_what_the_environment_asks_for_counts_as_what_the_address_does(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "require")
    with pytest.raises(StoreMisconfigured, match=variable):
        for_service(ADDRESS)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://db/store?host=a&hostaddr=10.0.0.1", "host and hostaddr"),
        ("postgresql://db/store?sslrootcert=system&sslmode=require", "verify-full"),
        ("postgresql://db/store?service=nowhere", "'nowhere'"),
        ("postgresql://db/store?connect_timeout=soon", "connect_timeout that is no whole number"),
        ("postgresql://db:70000/store", "port that is no whole number within its range"),
        ("postgresql://db/store?tcp_user_timeout=5000000000", "tcp_user_timeout"),
        ("postgresql://db/store?keepalives_count=200", "keepalives_count"),
        ("postgresql://db/store?keepalives_idle=1s", "keepalives_idle that is no whole number"),
    ],
)
def test_a_contradiction_in_an_address_is_named(address: str, said: str) -> None:
    with pytest.raises(StoreMisconfigured, match=said):
        for_service(address)


@pytest.mark.parametrize("more", ["sslcert=/nowhere", "ssl_min_protocol_version=SSLv3", "sslcrl=/nowhere"])
def test_tls_that_cannot_be_had_is_said_so(more: str) -> None:
    with pytest.raises(StoreMisconfigured, match=r"TLS|by sslc"):
        Connections(f"{ADDRESS}?sslrootcert=system&{more}", most=1, timeout_s=1)


async def test_what_cannot_be_mended_by_trying_again_is_no_store_that_is_away(
    migrated_database: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = str(conninfo_to_dict(migrated_database)["dbname"])
    for address in (
        migrated_database.replace(f"/{database}?", "/nosuch?"),
        f"{migrated_database}&options=-c%20nosuch%3D1",
        f"{migrated_database}&options=-c%20work_mem%3Dmuch",
        through(migrated_database, proxy.port).replace("sslmode=disable", "sslmode=require"),
        "postgresql://ann@a..b/store",
    ):
        opened = Connections(address, most=1, timeout_s=5)
        with pytest.raises(StoreMisconfigured):
            async with opened.lend():
                pass
        await opened.close()
    # libpq speaks no TLS through a socket, whatever the environment asks for.
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert await current_settings(migrated_database, "application_name") == ["hexbite"]
    with pytest.raises(StoreMisconfigured, match="by sslrootcert"):
        Connections(f"{ADDRESS}?sslrootcert=/nowhere", most=1, timeout_s=1)


def test_two_hosts_and_three_ports_are_refused() -> None:
    with pytest.raises(StoreMisconfigured, match="2 hosts and 3 ports"):
        Connections("postgresql:///store?host=a,b&port=1,2,3", most=1, timeout_s=1)


def test_a_root_certificate_of_the_system_asks_for_verification_as_libpq_has_it() -> None:
    assert resolved(f"{ADDRESS}?sslrootcert=system")["sslmode"] == "verify-full"
    assert resolved(ADDRESS)["sslmode"] == "prefer"


async def current_settings(dsn: str, *names: str) -> list[str]:
    """Settings of a session of the service."""
    opened = Connections(dsn, most=1, timeout_s=10)
    async with opened.lend() as connection:
        found = [await connection.fetchval("SELECT current_setting($1)", name) for name in names]
    await opened.close()
    return found


def in_command(dsn: str, *names: str) -> list[str]:
    """Settings of a session of a command."""
    with driver_errors(), connect(dsn, "hexbite") as connection:
        return [connection.execute("SELECT current_setting(%s)", (name,)).fetchone()[0] for name in names]  # type: ignore[index]


async def test_a_service_of_a_file_is_understood_by_both(
    migrated_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = conninfo_to_dict(migrated_database)
    lines = [f"{name}={value}" for name, value in parts.items()]
    file = tmp_path / "services"
    file.write_text("\n".join(["# ours", "[other]", "host=nowhere", "[store]", *lines, "  application_name=filed", ""]))
    for address in ("postgresql://?service=store", "service=store"):
        monkeypatch.setenv("PGSERVICEFILE", str(file))
        assert await current_settings(address, "application_name") == ["filed"]
        assert in_command(address, "application_name") == ["filed"]
    # The address wins over the file, the file over the environment.
    monkeypatch.setenv("PGAPPNAME", "environment")
    assert await current_settings("service=store application_name=mine", "application_name") == ["mine"]
    assert await current_settings("service=store", "application_name") == ["filed"]
    assert await current_settings(migrated_database, "application_name") == ["environment"]
    assert in_command(migrated_database, "application_name") == ["environment"]
    # One that the environment names.
    monkeypatch.setenv("PGSERVICE", "store")
    assert await current_settings("postgresql://", "application_name") == ["filed"]
    assert in_command("postgresql://", "application_name") == ["filed"]
    # Of what comes twice the first counts, for libpq and so for us.
    file.write_text("\n".join(["[store]", *lines, "user=nobody", "[store]", "dbname=nosuch", ""]))
    assert await current_settings("service=store", "application_name") == ["environment"]
    assert in_command("service=store", "application_name") == ["environment"]
    file.write_text("[store]\nhost")
    with pytest.raises(StoreMisconfigured, match="a line without a ="):
        resolved("service=store")


async def test_options_of_an_address_reach_the_server_and_give_way_to_ours(migrated_database: str) -> None:
    given = r"-c work_mem=3MB -c search_path=nowhere -c statement_timeout=1 -c hexbite.note=a\ b"
    dsn = f"{migrated_database}&options={quote(given)}&application_name=mine"
    asked = ("work_mem", "hexbite.note", "search_path", "application_name", "client_encoding")
    expected = ["3MB", "a b", '"hexbite"', "mine", "UTF8"]
    assert await current_settings(dsn, *asked) == expected
    assert in_command(dsn, *asked) == expected
    assert in_command(dsn, "statement_timeout") == ["0"]


# --- how it is shown ---


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:pa?ss@h/db",
        "postgresql://u:pa%23ss@h/db",
        "postgresql://u:pa%2Fss%40x@h1:1,h2:2/db?sslpassword=pass",
        "postgres://h/db?user=u&password=pass",
        "host=h user=u password='pa ss' dbname=db",
        "postgresql://u:pa:ss@[::1]:5433/db",
        "postgresql://u:pass@/db?host=/run/x&port=1",
        "postgresql://u:pass@h/d%2Fb?oauth_client_secret=pass&scram_client_key=pass",
    ],
)
def test_a_shown_address_is_what_libpq_read_less_what_is_secret(address: str) -> None:
    secret = ("password", "sslpassword", "oauth_client_secret", "scram_client_key")
    read = {name: value for name, value in conninfo_to_dict(address).items() if name not in secret}
    assert conninfo_to_dict(shown(address)) == read
    assert "ss" not in shown(address).replace("dbname", "")


def test_half_a_password_is_no_longer_shown() -> None:
    # A bare # ends nothing for libpq, and a ? begins its options.
    assert "pa" not in shown("postgresql://u:pa#ss@h/db")


# --- networks ---


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def proxy(migrated_database: str) -> Iterator[Proxy]:
    parts = conninfo_to_dict(migrated_database)
    with proxied(f"{parts['host']}/.s.PGSQL.{parts['port']}") as between:
        yield between


def through(dsn: str, *ports: int, more: str = "") -> str:
    parts = conninfo_to_dict(dsn)
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"postgresql://{parts['user']}@{hosts}/{parts['dbname']}?sslmode=disable{more}"


async def test_a_host_that_says_nothing_has_its_share_of_the_time_and_no_more(
    migrated_database: str, proxy: Proxy
) -> None:
    with silent() as port:
        for more in ("", "&target_session_attrs=primary", "&target_session_attrs=prefer-standby"):
            opened = Connections(through(migrated_database, port, proxy.port, more=more), most=1, timeout_s=2.0)
            async with opened.lend() as connection:
                assert await connection.fetchval("SELECT 1") == 1
            await opened.close()
        alone = Connections(through(migrated_database, port), most=1, timeout_s=0.3)
        with pytest.raises((StoreTimeout, StoreUnavailable)):
            async with alone.lend():
                pass
        # For commands, what the address says.
        with pytest.raises(StoreUnavailable, match="timeout"), driver_errors():
            connect(through(migrated_database, port, more="&connect_timeout=2"), "hexbite")


async def test_hosts_are_tried_in_another_order_each_time_where_the_address_says_so(
    migrated_database: str, proxy: Proxy
) -> None:
    parts = conninfo_to_dict(migrated_database)
    with proxied(f"{parts['host']}/.s.PGSQL.{parts['port']}") as other:
        opened = Connections(
            through(migrated_database, proxy.port, other.port, more="&load_balance_hosts=random"), most=16, timeout_s=10
        )
        taken = [await opened.take(asyncio.get_running_loop().time() + 10) for _ in range(16)]
        assert proxy.taken and other.taken
        for connection in taken:
            opened.give_back(connection, sound=True)
        await opened.close()


async def idle_ones(opened: Connections, count: int) -> None:
    """So many connections, all of them idle."""
    taken = [await opened.take(asyncio.get_running_loop().time() + 10) for _ in range(count)]
    for connection in taken:
        opened.give_back(connection, sound=True)
    assert opened.opened == count


async def outcomes(opened: Connections, count: int) -> list[str]:
    """What becomes of so many reads, one after the other."""
    found = []
    for _ in range(count):
        try:
            async with opened.lend() as connection:
                await connection.fetchval("SELECT 1")
        except (StoreTimeout, StoreUnavailable) as error:
            found.append(type(error).__name__)
        else:
            found.append("read")
    return found


async def test_connections_that_a_network_forgot_cost_one_failure_and_long_idle_ones_none(
    migrated_database: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Connections(through(migrated_database, proxy.port), most=8, timeout_s=1.0)
    await idle_ones(opened, 8)
    proxy.forget()
    assert await outcomes(opened, 9) == ["StoreTimeout", *["read"] * 8]
    await idle_ones(opened, 8)
    proxy.forget()
    monkeypatch.setattr(connections, "_DOUBTFUL_S", 0.0)
    assert await outcomes(opened, 9) == ["read"] * 9
    # All at once.
    await idle_ones(opened, 8)
    proxy.forget()
    assert await asyncio.gather(*(outcomes(opened, 1) for _ in range(8))) == [["read"]] * 8
    await opened.close()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            "",
            {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000},
        ),
        ("&keepalives_idle=7&tcp_user_timeout=4000", {"TCP_KEEPIDLE": 7, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 4_000}),
        ("&keepalives=0", {"SO_KEEPALIVE": 0}),
    ],
)
async def test_both_drivers_ask_the_kernel_to_look_after_idle_connections(
    migrated_database: str, proxy: Proxy, more: str, expected: dict[str, int]
) -> None:
    dsn = through(migrated_database, proxy.port, more=more)

    def options(sock: Any) -> dict[str, int]:
        levels = {name: socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP for name in expected}
        return {name: sock.getsockopt(level, getattr(socket, name)) for name, level in levels.items()}

    opened = Connections(dsn, most=1, timeout_s=10)
    async with opened.lend() as connection:
        assert options(connection._transport.get_extra_info("socket")) == expected
    await opened.close()
    with (
        driver_errors(),
        connect(dsn, "hexbite") as command,
        socket.socket(fileno=socket.dup(command.fileno())) as sock,
    ):
        assert options(sock) == expected
