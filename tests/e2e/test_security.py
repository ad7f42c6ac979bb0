"""Who is let in, what is never told, as whom the service reads, and how it is connected."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from bento.edge.keys import new_key
from tests.databases import started_server
from tests.e2e.conftest import ROOT, Line, run, serve
from tests.e2e.homes import log_of, with_own_home

HERE = {"latitude": 13.87, "longitude": 100.58}
KEYS = [new_key() for _ in range(2)]

PAGE = "https://page.example"
CORS = (
    "enabled=true",
    f'access_control_allow_origins=["{PAGE}"]',
    'access_control_allow_methods=["GET","POST"]',
    'access_control_allow_headers=["authorization","content-type"]',
)

# Words that are in nothing but a secret: the parts of it that a careless message would show by itself.
PASSWORD = "Ubiquitous#Wombat"
PARTS = ("Ubiquitous", "Wombat")


@pytest.fixture(scope="module")
def line(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Line:
    return with_own_home(line, tmp_path_factory.mktemp("home"))


def holds_none_of(parts: tuple[str, ...], *texts: str) -> None:
    for text in texts:
        assert text
        for part in parts:
            assert part.lower() not in text.lower()


# --- keys ---


@pytest.fixture(scope="module")
def locked(line: Line) -> Iterator[str]:
    """A service that two keys open, its metrics and documents among what they open, to pages of one origin too."""
    settings = {
        "HEXBITE_API_KEYS": ", ".join(digest for _, digest in KEYS),
        "HEXBITE_ACCESS_LOG": "true",
        "BENTOML_CONFIG_OPTIONS": " ".join(f"services.hexbite.http.cors.{option}" for option in CORS),
    }
    with serve({**line.environment, **settings}) as url:
        yield url


BEHIND_THE_DOOR = [
    ("POST", "/recommend/7"),
    ("POST", "/recommend"),
    ("GET", "/recommend/7"),
    ("POST", "/recommend/7/8"),
    ("GET", "/metrics"),
    ("GET", "/docs.json"),
    ("GET", "/"),
    ("GET", "/nothing"),
    ("GET", "/static_content/swagger-initializer.js"),
    ("GET", "/metrics/"),
    ("GET", "//metrics"),
]


@pytest.mark.parametrize(("method", "path"), BEHIND_THE_DOOR)
def test_without_a_key_that_it_knows_whatever_is_asked_is_a_401_in_the_one_form(
    locked: str, method: str, path: str
) -> None:
    key, digest = KEYS[0]
    for authorization in ("", "Bearer", f"Bearer {key}x", f"Basic {key}", key, f"Bearer {digest}", f"Token {key}"):
        headers = {"authorization": authorization} if authorization else {}
        answer = httpx.request(method, locked + path, json=HERE if method == "POST" else None, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-request-id"]
        error = answer.json()["error"]
        assert list(answer.json()) == ["error"]
        assert (error["code"], error["field"]) == ("unauthorized", None)


def test_each_key_opens_everything(locked: str) -> None:
    for key, _ in KEYS:
        with httpx.Client(base_url=locked, headers={"authorization": f"Bearer {key}"}, timeout=30) as client:
            assert len(client.post("/recommend/7", json=HERE).json()["restaurants"]) == 20
            assert 'hexbite_refusals_total{reason="unauthorized"}' in client.get("/metrics").text
            assert "401" in client.get("/docs.json").json()["paths"]["/recommend"]["post"]["responses"]
            assert client.get("/").status_code == 200
            assert client.get("/nothing").status_code == 404


def test_health_can_be_asked_for_without_a_key(locked: str) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        assert httpx.get(locked + path).status_code == 200


def test_a_key_is_in_no_log_and_no_answer(locked: str, line: Line) -> None:
    key, digest = KEYS[1]
    with httpx.Client(base_url=locked, headers={"authorization": f"Bearer {key}"}, timeout=30) as client:
        shown = [client.post("/recommend/7", json=HERE | {"explain": True}).text, client.get("/").text]
        shown += [client.get(path).text for path in ("/metrics", "/docs.json", "/nothing")]
    holds_none_of((key, digest), *shown, log_of(line, locked).read_text())


# --- keys of who tells ---


def event(name: str) -> dict[str, Any]:
    told = {"event_id": name, "user_id": 7, "restaurant_id": 1, "event": "order"}
    return {"events": [told | {"event_ts": datetime.now(UTC).isoformat()}]}


def tell(url: str, key: str | None, name: str) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.post(f"{url}/events", json=event(name), headers=headers, timeout=30)


def test_where_there_are_keys_to_ask_alone_nobody_tells(locked: str) -> None:
    for key in (None, KEYS[0][0], KEYS[1][0], "x"):
        answer = tell(locked, key, "closed")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("asking", [True, False])
def test_a_key_that_tells_does_not_ask_and_one_that_asks_does_not_tell(line: Line, asking: bool) -> None:
    (asks, digest), (tells, event_digest) = KEYS
    settings = {"HEXBITE_EVENT_KEYS": event_digest} | ({"HEXBITE_API_KEYS": digest} if asking else {})
    with serve({**line.environment, **settings}) as url:
        assert tell(url, tells, f"told {asking}").json()["taken"] == 1
        assert tell(url, tells, f"told {asking}").json()["known"] == 1
        for key in (None, asks, event_digest):
            assert tell(url, key, "not told").status_code == 401
        for path in ("/docs.json", "/metrics", "/"):
            headers = {"authorization": f"Bearer {tells}"}
            assert httpx.get(url + path, headers=headers).status_code == (401 if asking else 200)
        ask = httpx.post(f"{url}/recommend/7", json=HERE, headers={"authorization": f"Bearer {tells}"})
        assert ask.status_code == (401 if asking else 200)
        if not asking:
            document = httpx.get(f"{url}/docs.json").json()
            assert document["paths"]["/events"]["post"]["security"] == [{"event_key": []}]
            assert "security" not in document["paths"]["/recommend"]["post"]


# --- from which pages ---


@pytest.mark.parametrize(
    "path", ["/recommend", "/recommend/7", "/metrics", "/docs.json", "/", "/livez", "/schema.json"]
)
def test_a_browser_may_ask_beforehand_without_a_key(locked: str, path: str) -> None:
    asking = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }
    allowed = httpx.options(locked + path, headers=asking)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert "POST" in allowed.headers["access-control-allow-methods"]
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    assert "Origin" in allowed.headers["vary"]
    assert allowed.headers["x-request-id"]
    for change in (
        {"origin": "https://evil.example"},
        {"access-control-request-method": "DELETE"},
        {"access-control-request-headers": "x-other"},
    ):
        refused = httpx.options(locked + path, headers=asking | change)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "invalid"
        assert "CORS" in refused.json()["error"]["message"]
        assert "access-control-allow-origin" not in refused.headers


def test_every_answer_tells_a_browser_whether_a_page_may_read_it_and_tells_it_once(locked: str) -> None:
    large = HERE | {"explain": True, "size": 1_000, "max_dist": 50_000}
    with httpx.Client(base_url=locked, headers={"authorization": f"Bearer {KEYS[0][0]}"}, timeout=30) as client:
        for method, path, body, status in (
            ("POST", "/recommend/7", HERE, 200),
            ("POST", "/recommend/7", large, 200),
            ("POST", "/recommend/7", {}, 400),
            ("GET", "/recommend/7", None, 405),
            ("OPTIONS", "/recommend/7", None, 405),
            ("GET", "/nothing", None, 404),
            *(
                ("GET", path, None, 200)
                for path in ("/metrics", "/docs.json", "/", "/schema.json", "/livez", "/readyz")
            ),
        ):
            answer = client.request(method, path, json=body, headers={"origin": PAGE})
            assert answer.status_code == status
            assert answer.headers.get_list("access-control-allow-origin") == [PAGE]
            encoded = ["Accept-Encoding"] if body is large else []
            assert answer.headers.get_list("vary") == [", ".join([*encoded, "Origin"])]
            foreign = client.request(method, path, json=body, headers={"origin": "https://evil.example"})
            assert foreign.status_code == status
            assert "access-control-allow-origin" not in foreign.headers
    without_a_key = httpx.post(f"{locked}/recommend/7", json=HERE, headers={"origin": PAGE})
    assert (without_a_key.status_code, without_a_key.headers["access-control-allow-origin"]) == (401, PAGE)


# --- what is never told ---


def test_a_key_where_its_digest_belongs_ends_the_start_and_is_not_shown(line: Line) -> None:
    environment = {**line.environment, "HEXBITE_API_KEYS": f"{KEYS[0][1]},{PASSWORD}"}
    command = [sys.executable, "-m", "bentoml", "serve", "--port", "0"]
    started = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert started.returncode != 0
    said = started.stdout + started.stderr
    assert "HEXBITE_API_KEYS" in said and "python -m bento key" in said
    holds_none_of((*PARTS, KEYS[0][1]), said)


def test_a_password_with_odd_characters_in_it_is_nowhere_to_be_read(line: Line) -> None:
    # Before the scheme's own characters are escaped, drivers differ in where they think that the password ends.
    dsn = f"postgresql://ann:{PASSWORD}@127.0.0.1:1/features"
    with serve({**line.environment, "DATABASE_URL": dsn, "HEXBITE_ACCESS_LOG": "true"}, ready=False) as url:
        with httpx.Client(base_url=url, timeout=30) as client:
            answers = [client.get(path) for path in ("/readyz", "/docs.json", "/metrics", "/", "/nothing")]
            answers.append(client.post("/recommend/7", json=HERE))
        assert answers[0].status_code == answers[-1].status_code == 503
        log = log_of(line, url).read_text()
    assert "not ready: " in log
    holds_none_of(PARTS, log, *(answer.text for answer in answers))


@pytest.mark.parametrize(
    "password",
    ["{}#{}", "{}?{}", "{}[{}", "[{}]{}", "{}@{}", "{}/{}", "{}%FF{}", "{} {}", "#{}{}", "{}%{}", "{}:{}", "/{}{}"],
)
async def test_whatever_a_password_holds_a_command_that_cannot_connect_does_not_repeat_it(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from db.access.connections import Connections
    from db.settings import StoreSettings, store_dsn
    from hexbite.errors import StoreError

    monkeypatch.setenv("DATABASE_URL", f"postgresql://ann:{password.format(*PARTS)}@127.0.0.1:1/features")
    with pytest.raises(StoreError) as caught:
        async with Connections(store_dsn(StoreSettings()), most=1, timeout_s=2).lend():
            pass
    cause: BaseException | None = caught.value
    while cause is not None:  # a traceback shows them all
        holds_none_of(PARTS, repr(cause))
        cause = None if cause.__suppress_context__ and cause.__cause__ is None else cause.__cause__ or cause.__context__


def test_a_built_bento_holds_nothing_of_the_environment_that_it_was_built_in(line: Line, tmp_path: Path) -> None:
    home = tmp_path / "bentoml"
    shutil.copytree(Path(line.environment["BENTOML_HOME"]) / "models", home / "models")
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    secrets = {
        "DATABASE_URL": "postgresql://ann:UbiquitousWombat@127.0.0.1:1/features",
        "HEXBITE_API_KEYS": digest,
        "PGPASSWORD": "UbiquitousWombat",
        "HEXBITE_METRICS": "false",
    }
    run("bentoml", "build", environment={**line.environment, **secrets, "BENTOML_HOME": str(home)})
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {"bento.yaml", "page.html.j2", "page.css"} <= {path.name for path in files}
    for path in (*files, ROOT / "bentofile.yaml"):
        holds = path.read_bytes()
        for part in (*PARTS, digest, "HEXBITE_METRICS=false"):
            assert part.encode() not in holds, path


# --- as whom ---


def test_the_service_reads_as_the_reader_though_a_superuser_connects(locked: str, line: Line) -> None:
    ask = {"json": HERE, "timeout": 30, "headers": {"authorization": f"Bearer {KEYS[0][0]}"}}
    expected = httpx.post(f"{locked}/recommend/7", **ask).json()
    with psycopg.connect(line.dsn, autocommit=True) as connection:

        def one(sql: str) -> Any:
            row = connection.execute(sql).fetchone()
            assert row is not None
            return row[0]

        assert one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        connected = "SELECT array_agg(DISTINCT usename) = ARRAY[current_user] FROM pg_stat_activity"
        assert one(f"{connected} WHERE application_name = 'hexbite' AND datname = current_database()")
        try:
            # A superuser may read what is granted to nobody, and sees rows whatever policy hides them.
            connection.execute("REVOKE SELECT ON restaurants FROM hexbite_reader")
            refused = httpx.post(f"{locked}/recommend/7", **ask)
            assert refused.status_code in (500, 503)
            assert "permission" not in refused.text and "hexbite_reader" not in refused.text
            connection.execute("GRANT SELECT ON restaurants TO hexbite_reader")
            assert httpx.post(f"{locked}/recommend/7", **ask).json() == expected
            connection.execute("ALTER TABLE restaurants ENABLE ROW LEVEL SECURITY")
            hidden = httpx.post(f"{locked}/recommend/7", **ask)
            assert (hidden.status_code, hidden.json()["error"]["code"]) == (503, "misconfigured")
            assert "retry-after" not in hidden.headers
            assert httpx.get(f"{locked}/readyz", timeout=30).status_code == 503
        finally:
            connection.execute("GRANT SELECT ON restaurants TO hexbite_reader")
            connection.execute("ALTER TABLE restaurants DISABLE ROW LEVEL SECURITY")
    assert httpx.post(f"{locked}/recommend/7", **ask).json() == expected
    log = log_of(line, locked).read_text()
    assert re.search(r"misconfigured: .*GRANT SELECT ON .*\"hexbite\"\.restaurants.* TO hexbite_reader", log)
    assert "row-level security would hide rows" in log


# --- how it is connected ---


class Tls(NamedTuple):
    """A server that asks for a password, and whose certificate's authority is in ``folder / 'ca.pem'``."""

    superuser_dsn: str
    port: int
    folder: Path

    def set(self, **settings: str) -> None:
        """Change the server's settings, and end all sessions of the service."""
        with psycopg.connect(self.superuser_dsn, autocommit=True) as connection:
            for name, value in settings.items():
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            connection.execute("SELECT pg_reload_conf()")
            deadline = time.monotonic() + 10
            while settings != {name: self._shown(name) for name in settings}:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'ann'"
            connection.execute(ended)

    def encrypted(self) -> list[bool]:
        """Whether each session of the service is."""
        with psycopg.connect(self.superuser_dsn) as connection:
            joined = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'ann'"
            return [row[0] for row in connection.execute(joined)]

    def _shown(self, name: str) -> str:
        with psycopg.connect(self.superuser_dsn) as connection:  # a new session has what the server has read
            row = connection.execute(f"SHOW {name}").fetchone()
        assert row is not None
        return str(row[0])


def certify(folder: Path, authority: str, name: str) -> None:
    """A certificate for 127.0.0.1 by an authority made for it: ``authority.pem``, ``name.pem`` and ``name.key``."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    ours = ["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    openssl("req", "-x509", *ours, "-keyout", "ca.key", "-out", f"{authority}.pem", "-subj", f"/CN={authority}")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("req", *ours, "-keyout", f"{name}.key", "-out", "request", "-subj", "/CN=server")
    signed = ["-in", "request", "-CA", f"{authority}.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"]
    openssl("x509", "-req", *signed, "-out", f"{name}.pem")
    (folder / f"{name}.key").chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(folder / f"{name}.key", 65534, 65534)


@pytest.fixture(scope="module")
def tls(line: Line) -> Iterator[Tls]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not programs or shutil.which("openssl") is None:
        pytest.skip("the embedded Postgres speaks no TLS: this test needs Debian's, and openssl")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with started_server(programs[-1].parent, f"-h 127.0.0.1 -p {port}") as started:
        folder = Path(str(conninfo_to_dict(started)["host"]))
        dsn = started.replace("5432", str(port))
        certify(folder, "ca", "right")
        certify(folder, "other-ca", "wrong")
        (folder / "data" / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        server = Tls(dsn, port, folder)
        environment = {**line.environment, "DATABASE_URL": dsn}
        run("db", "upgrade", environment=environment)
        run("db", "load", str(line.data), environment=environment)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE ann LOGIN PASSWORD '{PASSWORD}' IN ROLE hexbite_reader")
        server.set(ssl_cert_file=str(folder / "right.pem"), ssl_key_file=str(folder / "right.key"), ssl="on")
        yield server


def test_tls_holds_or_nothing_is_read_and_the_log_tells_no_password(tls: Tls, line: Line) -> None:
    escaped = PASSWORD.replace("#", "%23")
    address = f"postgresql://ann:{escaped}@127.0.0.1:{tls.port}/postgres"
    settings = {
        "DATABASE_URL": f"{address}?sslmode=verify-full&sslrootcert={tls.folder / 'ca.pem'}",
        "HEXBITE_METRICS": "false",
        "HEXBITE_DOCS": "false",
    }

    def asked() -> tuple[int, int]:
        answers = httpx.post(f"{url}/recommend/7", json=HERE, timeout=30), httpx.get(f"{url}/readyz", timeout=30)
        holds_none_of((*PARTS, escaped), *(answer.text for answer in answers if answer.text))
        return answers[0].status_code, answers[1].status_code

    with serve({**line.environment, **settings}) as url:
        assert asked() == (200, 200)
        assert set(tls.encrypted()) == {True}

        # A server that could be spoken to in plain text is not.
        tls.set(ssl="off")
        assert asked() == (503, 503)
        # Nor is one whose certificate another authority has signed.
        wrong = {"ssl_cert_file": str(tls.folder / "wrong.pem"), "ssl_key_file": str(tls.folder / "wrong.key")}
        tls.set(**wrong, ssl="on")
        assert asked() == (503, 503)
        right = {"ssl_cert_file": str(tls.folder / "right.pem"), "ssl_key_file": str(tls.folder / "right.key")}
        tls.set(**right)
        assert asked() == (200, 200)

        # The password is changed under it, and back.
        with psycopg.connect(tls.superuser_dsn, autocommit=True) as connection:
            connection.execute("ALTER ROLE ann PASSWORD 'another'")
            tls.set()
            assert asked() == (503, 503)
            connection.execute(f"ALTER ROLE ann PASSWORD '{PASSWORD}'")
        assert asked() == (200, 200)

        closed = {path: httpx.get(url + path) for path in ("/metrics", "/docs.json", "/")}
        for path, answer in closed.items():
            assert answer.status_code == 404, path
            assert answer.json()["error"]["code"] == "not_found"
        assert httpx.post(f"{url}/metrics").status_code == 404
        log = log_of(line, url).read_text()
    assert "password authentication failed" in log
    assert "certificate verify failed" in log
    holds_none_of((*PARTS, escaped), log)


async def test_sslmode_require_is_refused_by_a_server_without_tls_and_served_by_one_that_has_it(tls: Tls) -> None:
    from db.access.connections import Connections
    from hexbite.errors import StoreMisconfigured

    escaped = PASSWORD.replace("#", "%23")
    dsn = f"postgresql://ann:{escaped}@127.0.0.1:{tls.port}/postgres?sslmode=require"
    tls.set(ssl="off")
    connections = Connections(dsn, most=1, timeout_s=5)
    try:
        with pytest.raises(StoreMisconfigured):
            async with connections.lend():
                pass
        tls.set(ssl="on")
        async with connections.lend() as connection:
            assert await connection.fetchval("SELECT current_user") == "hexbite_reader"
            assert tls.encrypted() == [True]
    finally:
        tls.set(ssl="on")
        await connections.close()


async def test_the_authorities_of_the_machine_are_the_same_for_commands_and_service(
    tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    from db.access.connections import Connections
    from db.status import status
    from hexbite.errors import StoreError

    escaped = PASSWORD.replace("#", "%23")
    dsn = f"postgresql://ann:{escaped}@127.0.0.1:{tls.port}/postgres?sslrootcert=system"

    async def read() -> str:
        connections = Connections(dsn, most=1, timeout_s=5)
        try:
            async with connections.lend() as connection:
                return str(await connection.fetchval("SELECT current_user"))
        finally:
            await connections.close()

    with psycopg.connect(tls.superuser_dsn, autocommit=True) as connection:
        connection.execute("GRANT hexbite_loader TO ann")
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.folder / "ca.pem"))
    assert await read() == "hexbite_reader"
    assert any(line.startswith("revision") for line in status(dsn))
    # They have not signed this one.
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.folder / "other-ca.pem"))
    with pytest.raises(StoreError, match="certificate verify failed"):
        await read()
    with pytest.raises(StoreError, match="certificate verify failed"):
        status(dsn)


def test_an_address_that_the_service_cannot_keep_to_is_refused_by_name_at_the_start(line: Line) -> None:
    command = [sys.executable, "-m", "bentoml", "serve", "--port", "0"]
    for address, said in (
        (
            f"postgresql://ann:{PASSWORD}@db/store?channel_binding=require",
            "asks for channel_binding, which the service",
        ),
        (f"mysql://ann:{PASSWORD}@db/store", "DATABASE_URL is not an address like"),
    ):
        environment = {**line.environment, "DATABASE_URL": address}
        refused = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        assert refused.returncode != 0
        last = (refused.stdout + refused.stderr).strip().splitlines()[-1]
        assert said in last
        holds_none_of(PARTS, refused.stdout + refused.stderr)
