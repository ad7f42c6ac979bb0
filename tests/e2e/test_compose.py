"""What docker-compose.yml and the files that it mounts promise, as far as it shows without running them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]

#: Begins as root, to take over its volume, and needs some of a root's rights for that.
BEGINS_AS_ROOT: Final = {"postgres"}
DEFAULT_PROFILE: Final = {name: service for name, service in SERVICES.items() if "profiles" not in service}

_UNITS: Final = {"M": 1 << 20, "G": 1 << 30}

#: ${A}, ${A:?why} or ${A:-default}.
_VARIABLE: Final = re.compile(r"\$\{([A-Z_]+)(?::?[-?]([^}]*))?\}")


def bytes_of(size: str) -> int:
    return int(size[:-1]) * _UNITS[size[-1]]


def limits_of(service: dict[str, Any]) -> dict[str, str]:
    return service["deploy"]["resources"]["limits"]


def has_engine() -> bool:
    docker = shutil.which("docker")
    return docker is not None and all(
        subprocess.run([docker, *words], capture_output=True, timeout=30).returncode == 0
        for words in (["info"], ["compose", "version"])
    )


def test_the_limits_of_the_default_profile_add_up_to_four_cores_and_four_gibibytes() -> None:
    limits = [limits_of(service) for service in DEFAULT_PROFILE.values()]
    assert sum(float(limit["cpus"]) for limit in limits) <= 4
    assert sum(bytes_of(limit["memory"]) for limit in limits) <= 4 << 30


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_is_read_only_without_rights_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    assert name in BEGINS_AS_ROOT or "cap_add" not in service
    assert limits_of(service)["cpus"]
    assert service["logging"]["options"]["max-size"]


def test_what_is_ours_runs_as_somebody_who_is_not_root() -> None:
    image = (ROOT / "ops" / "Dockerfile.j2").read_text()
    users = re.findall(r"^USER (.+)$", image, flags=re.MULTILINE)
    assert users == ["{{ bento__uid_gid }}:{{ bento__uid_gid }}"]  # BentoML's 1034
    ours = {name for name, service in SERVICES.items() if "HEXBITE_IMAGE" in service["image"]}
    assert ours == {"migrate", "load", "service-a", "service-b"}
    assert not any("user" in SERVICES[name] for name in ours)
    assert SERVICES["nginx"]["user"].split(":")[0] not in {"0", "root"}


def test_a_replica_is_one_worker_that_has_time_to_drain() -> None:
    replicas = [SERVICES["service-a"], SERVICES["service-b"]]
    for replica in replicas:
        assert replica["environment"]["BENTOML_CONFIG_OPTIONS"] == "services.hexbite.workers=1"
        assert int(replica["stop_grace_period"].removesuffix("s")) >= 15
        assert replica["restart"] == "unless-stopped"
        assert replica["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "load": {"condition": "service_completed_successfully"},
        }
    first, second = ({key: value for key, value in replica.items() if key != "networks"} for replica in replicas)
    assert first == second


def test_nginx_finds_each_replica_at_the_address_that_compose_gives_it() -> None:
    named = dict(entry.split(":", 1) for entry in _plain(SERVICES["nginx"]["extra_hosts"]))
    for letter, octet in (("a", "11"), ("b", "12")):
        address = _plain(SERVICES[f"service-{letter}"]["networks"]["inside"]["ipv4_address"])
        assert named[f"replica-{letter}"] == address
        assert address.endswith(f".{octet}")
    # The second try goes by the last part of the address.
    assert r'"~\.11:3000$" b_first;' in (ROOT / "ops" / "nginx.conf").read_text()


def _plain(value: Any) -> Any:
    """With the variables' defaults in their places."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return _VARIABLE.sub(lambda match: match[2] or "", value)


def test_nobody_connects_to_the_store_with_more_rights_than_needed() -> None:
    users = {
        name: re.match(r"postgresql://(\w+):", SERVICES[name]["environment"]["DATABASE_URL"])
        for name in ("migrate", "load", "service-a", "service-b")
    }
    assert {name: user and user[1] for name, user in users.items()} == {
        "migrate": "hexbite_owner",
        "load": "hexbite_load",
        "service-a": "hexbite_service",
        "service-b": "hexbite_service",
    }


def test_only_nginx_and_grafana_are_reached_from_outside_and_from_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"nginx", "grafana"}
    assert all(_plain(port).startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert COMPOSE["networks"]["store"] == {"internal": True}
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert "store" not in SERVICES["nginx"]["networks"]


def test_no_password_has_a_value_or_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    secrets = [match for match in _VARIABLE.finditer(text) if "PASSWORD" in match[1]]
    assert secrets
    assert all(match[2] == "run make up" for match in secrets)
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name or name == "DATABASE_URL":
                assert re.search(r"\$\{[A-Z_]+PASSWORD:\?", value), name
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_an_image_is_named_without_a_registry() -> None:
    for service in SERVICES.values():
        match = _VARIABLE.fullmatch(service["image"])
        assert match, "each can be named in .env"
        host, _, rest = match[2].partition("/")
        assert not rest or not re.search(r"[.:]", host)


def test_what_is_mounted_from_the_tree_is_there() -> None:
    sources = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if isinstance(volume, str) and volume.startswith("./")
    }
    assert {"./ops/nginx.conf", "./ops/postgres/postgresql.conf"} <= sources
    assert not {source for source in sources if not (ROOT / source).exists()}


@pytest.mark.skipif(
    not has_engine(), reason="no Docker engine with Compose: docker info or docker compose version fails"
)
def test_compose_takes_the_file_as_it_is(tmp_path: Path) -> None:
    passwords = ("POSTGRES", "HEXBITE_OWNER", "HEXBITE_SERVICE", "HEXBITE_LOAD", "GRAFANA")
    env = tmp_path / "env"
    env.write_text("".join(f"{name}_PASSWORD=x\n" for name in passwords))
    command = ["docker", "compose", "--env-file", str(env), "--profile", "observe", "config", "--quiet"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
