"""The shell scripts of ops/ where no engine is needed to see what they do: its place is taken by one that only notes.

What containers do is tried by tests/containers.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

# Answers as an engine does on which the images, volumes and containers are that the files of its folder name, a line
# each; what it is asked to do it notes.
DOCKER: Final = r"""#!/bin/sh
cd "$(dirname "$0")/.."
echo "docker $*" >>asked
case "$*" in
    info | "compose version") ;;
    *" config --format json")
        image=$(sed -n 's/^HEXBITE_IMAGE=//p' ../tree/.env 2>/dev/null | tail -n 1)
        printf '{"services": {"service-a": {"image": "%s"}, "load": {"volumes": [{"source": "%s"}]}},' \
            "${image:-hexbite:latest}" "$PWD/../tree/data/demo"
        echo ' "volumes": {"store": {"name": "hexbite_store"}}}' ;;
    "image inspect --format"*) echo "$5" ;;
    "image inspect "*) grep -qx "$3" images ;;
    "volume inspect "*) grep -qx "$3" volumes ;;
    "compose ps --quiet "*) sed -n "s/^$4 .*/$4/p" running ;;
    "inspect --format {{.Config.Image}} "*) sed -n "s/^$4 //p" running ;;
    "inspect --format {{.State.Health.Status}} "*) [ -n "$4" ] && grep -q "^$4 " running && echo healthy ;;
    "compose port"*) echo 127.0.0.1:8080 ;;
    import*) cat >/dev/null ;;
esac
"""

BENTOML: Final = r"""#!/bin/sh
cd "$(dirname "$0")/.."
echo "bentoml $*" >>asked
case "$1 $2" in
    "models get") grep -qx "$3" models && version=${3#*:} && echo "/store/${3%%:*}/${version%latest}$(
        [ "$version" != latest ] || echo newest)" ;;
    build*) echo "__tag__:hexbite:bento" ;;
    containerize*) echo "$4" >>images ;;
esac
"""


@dataclass
class Stage:
    """A tree with the scripts in it, and an engine that notes."""

    tree: Path
    engine: Path
    environment: dict[str, str]

    def run(self, script: str, *words: str, fails: bool = False, **variables: str) -> str:
        finished = subprocess.run(
            ["sh", f"ops/{script}.sh", *words],
            cwd=self.tree,
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert (finished.returncode != 0) is fails, finished.stdout
        return finished.stdout

    def has(self, kind: str, *lines: str) -> None:
        (self.engine / kind).write_text("".join(f"{line}\n" for line in lines))

    def asked(self) -> str:
        file = self.engine / "asked"
        return file.read_text() if file.exists() else ""

    def env(self) -> str:
        return (self.tree / ".env").read_text()

    def secret(self, name: str) -> str:
        return (self.tree / "secrets" / f"{name}_password").read_text()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    tree, engine = tmp_path / "tree", tmp_path / "engine"
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("ops", "bento", "db", "hexbite", "requirements"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=ignored)
    for file in ("bentofile.yaml", "alembic.ini", "README.md", "Makefile", "docker-compose.yml"):
        shutil.copy2(ROOT / file, tree / file)
    (tree / "data" / "demo").mkdir(parents=True)
    (tree / "data" / "demo" / "user_features.parquet").touch()
    bin_ = engine / "bin"
    bin_.mkdir(parents=True)
    for name, text in (
        ("docker", DOCKER),
        ("bentoml", BENTOML),
        ("python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'),
    ):
        (bin_ / name).write_text(text)
        (bin_ / name).chmod(0o755)
    keep = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HEXBITE_", "MODEL", "IMAGE", "TORCH", "PIP_"))
    }
    environment = keep | {"PATH": f"{bin_}:{os.environ['PATH']}", "BIN": str(bin_), "TORCH": "cpu", "TORCH_INDEX": ""}
    made = Stage(
        tree, engine, environment | {"PIP_CONFIG_FILE": os.devnull, "TORCH_INDEX": "https://index.example/cpu"}
    )
    for kind in ("images", "volumes", "running"):
        made.has(kind)
    made.has("models", "hexbite:latest", "hexbite:older", "hexbite:newest")
    return made


# --- names of images ---


def test_the_same_code_gives_the_same_name_and_any_change_of_what_goes_in_another(stage: Stage) -> None:
    def name(**variables: str) -> str:
        return stage.run("image", "name", **variables).strip()

    first = name()
    assert re.fullmatch(r"hexbite:newest-[0-9a-f]{10}", first)
    for file in ("README.md", "Makefile", "ops/nginx.conf"):
        (stage.tree / file).open("a").write("# more\n")
    (stage.tree / "bento" / "__pycache__").mkdir()
    (stage.tree / "bento" / "__pycache__" / "settings.cpython-311.pyc").touch()
    assert name() == first
    assert name(MODEL="hexbite:older") == first.replace("newest", "older")
    names = {first, name(TORCH="cuda")}
    changed = (
        "bento/settings.py",
        "db/sql/reading/nearby.sql",
        "hexbite/geo.py",
        "ops/Dockerfile.j2",
        "requirements/service.txt",
    )
    for file in (*changed, "bentofile.yaml", "alembic.ini"):
        before = (stage.tree / file).read_bytes()
        (stage.tree / file).write_bytes(before + b"\n# edited, not committed\n")
        names.add(name())
        (stage.tree / file).write_bytes(before)
        assert name() == first
    (stage.tree / "bento" / "room").mkdir()
    (stage.tree / "bento" / "room" / "new.py").touch()
    names.add(name())
    assert len(names) == 2 + len(changed) + 2 + 1


def test_an_image_that_is_there_is_taken_and_not_built_again_even_without_an_index(stage: Stage) -> None:
    name = stage.run("image").splitlines()[-1]
    assert stage.asked().count("containerize") == 1
    assert "is there already" in stage.run("image", TORCH_INDEX="")
    assert stage.asked().count("containerize") == 1
    assert (stage.engine / "images").read_text() == f"{name}\n"


def test_torch_comes_from_where_pip_is_told_of_a_wheel_and_else_the_error_says_how_to_name_it(
    stage: Stage, tmp_path: Path
) -> None:
    pinned = re.search(r"^torch==(\S+)", (ROOT / "requirements" / "service.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    empty, wheels = tmp_path / "empty", tmp_path / "wheels"
    empty.mkdir()
    wheels.mkdir()
    said = stage.run("image", TORCH_INDEX="", PIP_FIND_LINKS=str(empty), fails=True)
    assert "TORCH_INDEX=URL" in said and "PIP_FIND_LINKS" in said and "TORCH=cuda" in said
    (wheels / f"torch-{pinned[1]}+cpu-cp311-cp311-linux_x86_64.whl").touch()
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nfind-links =\n    {empty}\n    file://{wheels}\n")
    for told in ({"PIP_FIND_LINKS": f"{empty} {wheels}"}, {"PIP_CONFIG_FILE": str(configuration)}):
        stage.has("images")
        (stage.engine / "asked").unlink(missing_ok=True)
        stage.run("image", TORCH_INDEX="", **told)
        assert "TORCH_FROM=--no-index --find-links /wheels" in stage.asked(), told


# --- make up ---


def test_without_a_model_up_names_the_command_that_makes_one_and_draws_nothing(stage: Stage) -> None:
    stage.has("models")
    assert "make demo ONCE=1" in stage.run("up", fails=True)
    assert not (stage.tree / "secrets").exists() and not (stage.tree / ".env").exists()


def test_without_data_up_names_the_command_that_draws_some_unless_there_is_a_store(stage: Stage) -> None:
    shutil.rmtree(stage.tree / "data")
    assert "make demo ONCE=1" in stage.run("up", fails=True)
    # Nothing was started, drawn or built.
    assert not re.search(r"compose (run|up)|containerize", stage.asked()) and not (stage.tree / "secrets").exists()
    (stage.tree / "data" / "demo").mkdir(parents=True)
    (stage.tree / "data" / "demo" / "user_features.parquet").touch()
    stage.run("up")
    stage.has("volumes", "hexbite_store")
    shutil.rmtree(stage.tree / "data")
    assert "the store stays as it is" in stage.run("up")
    assert stage.asked().count("compose run --rm load") == 1


def test_up_fills_the_store_by_a_command_of_its_own_and_keeps_what_it_runs(stage: Stage) -> None:
    said = stage.run("up")
    name = stage.run("image", "name").strip()
    assert f"ready at http://127.0.0.1:8080, {name}" in said
    asked = stage.asked()
    assert asked.index("docker compose run --rm load\n") < asked.index("docker compose up --detach --wait")
    assert stage.env() == f"HEXBITE_IMAGE={name}\n"


def test_passwords_are_drawn_once_each_into_a_folder_that_is_closed(stage: Stage) -> None:
    said = stage.run("up")
    names = ("postgres", "owner", "service", "load", "grafana")
    drawn = [stage.secret(name) for name in names]
    assert len(set(drawn)) == 5
    assert all(re.fullmatch(r"[0-9a-f]{48}\n", password) for password in drawn)
    assert (stage.tree / "secrets").stat().st_mode & 0o777 == 0o700
    # Containers read them as other users.
    assert all((stage.tree / "secrets" / f"{name}_password").stat().st_mode & 0o777 == 0o444 for name in names)
    stage.has("volumes", "hexbite_store")
    said += stage.run("up")
    assert [stage.secret(name) for name in names] == drawn
    assert not [password for password in drawn if password.strip() in said + stage.asked() + stage.env()]


def test_a_store_whose_passwords_are_gone_is_not_given_new_ones(stage: Stage) -> None:
    stage.has("volumes", "hexbite_store")
    said = stage.run("up", fails=True)
    assert "secrets/postgres_password is not: bring it back" in said and "docker volume rm hexbite_store" in said
    assert not list((stage.tree / "secrets").iterdir())


@pytest.mark.parametrize(("image", "model"), [("hexbite:latest", "newest"), ("hexbite:older", "older")])
def test_what_an_earlier_version_left_is_carried_over(stage: Stage, image: str, model: str) -> None:
    stage.has("volumes", "hexbite_store")
    stage.has("images", image)
    stage.has("running", f"service-a {image}", f"service-b {image}")
    (stage.tree / ".env").write_text(
        "# A store keeps the passwords that it was made with: keep this file for as long as the volume.\n"
        "POSTGRES_PASSWORD=aa\nHEXBITE_OWNER_PASSWORD=bb\nHEXBITE_SERVICE_PASSWORD='c # c'\nHEXBITE_LOAD_PASSWORD=dd\n"
        f"GRAFANA_PASSWORD=ee\n# Mine.\nHEXBITE_IMAGE={image}\nHEXBITE_LOAD_MODE=replace\n"
        "HEXBITE_LISTEN=127.0.0.1:9090\n"
    )
    stage.run("up")
    assert [stage.secret(name) for name in ("postgres", "owner", "service", "load", "grafana")] == [
        "aa\n",
        "bb\n",
        "c # c\n",
        "dd\n",
        "ee\n",
    ]
    # Its images know nothing of files with passwords: its model goes on with today's code.
    kept = stage.env().splitlines()
    assert kept[:2] == ["# Mine.", "HEXBITE_LISTEN=127.0.0.1:9090"]
    assert re.fullmatch(rf"HEXBITE_IMAGE=hexbite:{model}-[0-9a-f]{{10}}", kept[2]) and len(kept) == 3
    assert (stage.tree / ".env").stat().st_mode & 0o777 == 0o600


def test_a_model_or_an_image_that_is_named_is_obeyed_or_refused_and_never_passed_over(stage: Stage) -> None:
    stage.run("up")
    newest = stage.run("image", "name").strip()
    older = stage.run("image", "name", MODEL="hexbite:older").strip()
    for running in (False, True):
        if running:
            stage.has("running", f"service-a {newest}", f"service-b {newest}")
        assert "no model hexbite:nonsense" in stage.run("up", MODEL="hexbite:nonsense", fails=True)
        assert "there is no image hexbite:nonsense" in stage.run("up", IMAGE="hexbite:nonsense", fails=True)
        assert "not both" in stage.run("up", IMAGE=newest, MODEL="hexbite:newest", fails=True)
        assert stage.run("up", MODEL="hexbite:newest").endswith(f"{newest}\n")
    # Up already: both replicas at once are not replaced.
    said = stage.run("up", MODEL="hexbite:older", fails=True)
    assert f"the replicas run {newest}" in said and "make deploy MODEL=hexbite:older" in said
    assert "containerize hexbite:bento --image-tag " + older not in stage.asked()
    stage.has("running")
    assert stage.run("up", MODEL="hexbite:older").endswith(f"{older}\n")
    assert stage.run("up").endswith(f"{older}\n")
    assert stage.run("up", IMAGE=newest).endswith(f"{newest}\n")
    # The image that .env names is gone.
    stage.has("images")
    assert f"there is no image {newest}" in stage.run("up", fails=True)


# --- make deploy ---


def test_a_deployment_says_what_it_replaced_and_how_to_go_back_and_going_back_builds_nothing(stage: Stage) -> None:
    stage.environment["PATH"] = f"{stage.engine / 'quick'}:{stage.environment['PATH']}"
    (stage.engine / "quick").mkdir()
    (stage.engine / "quick" / "sleep").write_text("#!/bin/sh\n")
    (stage.engine / "quick" / "sleep").chmod(0o755)
    assert "service-a does not run: make up" in stage.run("deploy", fails=True)
    stage.run("up")
    newest = stage.run("image", "name").strip()
    stage.has("running", f"service-a {newest}", f"service-b {newest}")
    said = stage.run("deploy", MODEL="hexbite:older")
    older = stage.run("image", "name", MODEL="hexbite:older").strip()
    assert f"both replicas answer with {older} in place of {newest}; back: make deploy IMAGE={newest}" in said
    built = stage.asked().count("containerize")
    (stage.tree / "bento" / "settings.py").write_text("broken")
    stage.run("deploy", IMAGE=newest)
    assert stage.asked().count("containerize") == built
    assert stage.env() == f"HEXBITE_IMAGE={newest}\n"
    assert "there is no image hexbite:gone" in stage.run("deploy", IMAGE="hexbite:gone", fails=True)
    assert "no model hexbite:nonsense" in stage.run("deploy", MODEL="hexbite:nonsense", fails=True)


# --- nginx ---


def test_the_budget_may_be_written_as_the_service_takes_it(stage: Stage, tmp_path: Path) -> None:
    script = (ROOT / "ops" / "nginx.sh").read_text().replace("/tmp/", f"{tmp_path}/").replace("exec nginx", "exit; :")
    (stage.tree / "ops" / "nginx.sh").write_text(script)
    for value, read_ms, connect_ms in (("", 1101, 250), ("0.5", 551, 125), ("2", 2201, 250), ("1e0", 1101, 250)):
        stage.run("nginx", HEXBITE_REQUEST_TIMEOUT_S=value)
        written = (tmp_path / "settings.conf").read_text()
        assert f"proxy_read_timeout {read_ms}ms;" in written and f"proxy_connect_timeout {connect_ms}ms;" in written
        assert "limit" not in written
    for value in ("0", "-1", "61", "1s", "nan", "1;}"):
        assert "HEXBITE_REQUEST_TIMEOUT_S is no" in stage.run("nginx", HEXBITE_REQUEST_TIMEOUT_S=value, fails=True)
    for name in ("HEXBITE_CLIENT_REQUESTS_PER_S", "HEXBITE_CLIENT_CONNECTIONS"):
        assert f"{name} is no whole number" in stage.run("nginx", fails=True, **{name: "many"})
        stage.run("nginx", **{name: "0"})
        assert "limit" not in (tmp_path / "settings.conf").read_text()
