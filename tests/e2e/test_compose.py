"""What docker-compose.yml and the files that it mounts promise, as far as it shows without running them."""

import ipaddress
import json
import os
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
#: What `make up` runs, the load that fills an empty store among it.
BY_DEFAULT: Final = {
    name: service for name, service in SERVICES.items() if service.get("profiles", ["load"]) == ["load"]
}
OURS: Final = {name: service for name, service in SERVICES.items() if "HEXBITE_IMAGE" in service["image"]}

MANIFESTS: Final[list[Any]] = list(yaml.safe_load_all((ROOT / "docs" / "operations" / "kubernetes.yml").read_text()))


def pod_of(manifest: Any) -> dict[str, Any] | None:
    """The pod that an object makes, None of one that makes none."""
    spec = manifest.get("spec", {})
    template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return None if template is None else dict(template["spec"])


PODS: Final = {each["metadata"]["name"]: pod for each in MANIFESTS if (pod := pod_of(each)) is not None}

_UNITS: Final = {"M": 1 << 20, "G": 1 << 30}

#: ${A}, ${A:?why} or ${A:-default}.
_VARIABLE: Final = re.compile(r"\$\{([A-Z_]+)(?::?[-?]([^}]*))?\}")


def bytes_of(size: str) -> int:
    return int(size[:-1]) * _UNITS[size[-1]]


def limits_of(service: dict[str, Any]) -> dict[str, str]:
    return service["deploy"]["resources"]["limits"]


def has_compose() -> bool:
    return _succeeds("compose", "version")


def has_engine() -> bool:
    return has_compose() and _succeeds("info")


def _succeeds(*words: str) -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, *words], capture_output=True, timeout=30).returncode == 0


def test_the_limits_of_the_default_profile_add_up_to_four_cores_and_four_gibibytes() -> None:
    limits = [limits_of(service) for service in BY_DEFAULT.values()]
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
    # No more memory by swapping, no end of processes, none left behind by its parent, no end of files in memory.
    assert service["memswap_limit"] == limits_of(service)["memory"]
    assert 0 < limits_of(service)["pids"] <= 256
    assert service["init"] is True
    assert all("size=" in mounted for mounted in service["tmpfs"])


def test_what_is_ours_runs_as_somebody_who_is_not_root() -> None:
    image = (ROOT / "ops" / "Dockerfile.j2").read_text()
    users = re.findall(r"^USER (.+)$", image, flags=re.MULTILINE)
    assert users == ["{{ bento__uid_gid }}:{{ bento__uid_gid }}"]  # BentoML's 1034
    assert set(OURS) == {"migrate", "load", "service-a", "service-b"}
    assert not any("user" in service for service in OURS.values())
    assert SERVICES["nginx"]["user"].split(":")[0] not in {"0", "root"}


def test_a_replica_is_one_worker_that_has_time_to_drain() -> None:
    replicas = [SERVICES["service-a"], SERVICES["service-b"]]
    for replica in replicas:
        assert replica["environment"]["BENTOML_CONFIG_OPTIONS"] == "services.hexbite.workers=1"
        # Compose adds up: what the settings say, and 20 s.
        assert replica["stop_grace_period"] == "20s${HEXBITE_DRAIN_S:-1}s${HEXBITE_REQUEST_TIMEOUT_S:-1}s"
        assert {"HEXBITE_DRAIN_S", "HEXBITE_REQUEST_TIMEOUT_S"} <= replica["environment"].keys()
        assert replica["restart"] == "unless-stopped"
    first, second = ({key: value for key, value in replica.items() if key != "networks"} for replica in replicas)
    assert first == second


def test_nothing_that_starts_by_itself_loads_and_what_loads_fills_an_empty_store_only() -> None:
    load = SERVICES["load"]
    assert load["profiles"] == ["load"]
    assert load["command"][-2:] == ["--mode", "fill"]
    assert not [name for name, service in SERVICES.items() if "load" in service.get("depends_on", {})]
    assert SERVICES["service-a"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("name", ["service-a", "service-b", "nginx"])
def test_who_stands_still_is_ended_by_the_health_check_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][:3] == ["CMD", "bash", "/health.sh"]
    assert "./ops/health.sh:/health.sh:ro" in service["volumes"]
    # It ends everything but the init, which then ends as well.
    assert service["init"] is True and service["restart"] == "unless-stopped"


def test_nginx_finds_each_replica_at_the_address_that_compose_gives_it() -> None:
    named = dict(entry.split(":", 1) for entry in _plain(SERVICES["nginx"]["extra_hosts"]))
    for letter, octet in (("a", "11"), ("b", "12")):
        address = _plain(SERVICES[f"service-{letter}"]["networks"]["inside"]["ipv4_address"])
        assert named[f"replica-{letter}"] == address
        assert address.endswith(f".{octet}")
    # The second try goes by the last part of the address.
    assert r'"~\.11:3000$" b_first;' in (ROOT / "ops" / "nginx.conf").read_text()


def test_no_network_that_docker_makes_by_itself_can_have_the_fixed_addresses() -> None:
    (subnet,) = COMPOSE["networks"]["inside"]["ipam"]["config"]
    fixed = ipaddress.ip_network(_plain(subnet["subnet"]))
    # Docker's default pools.
    assert not any(fixed.overlaps(ipaddress.ip_network(pool)) for pool in ("172.16.0.0/12", "192.168.0.0/16"))


def _plain(value: Any) -> Any:
    """With the variables' defaults in their places."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return _VARIABLE.sub(lambda match: match[2] or "", value)


def test_nobody_connects_to_the_store_with_more_rights_than_needed() -> None:
    users = {"migrate": "owner", "load": "load", "service-a": "service", "service-b": "service"}
    assert set(users) == set(OURS)
    for name, user in users.items():
        assert OURS[name]["environment"]["DATABASE_URL"] == f"postgresql://hexbite_{user}@postgres:5432/hexbite"
        assert OURS[name]["environment"]["DATABASE_PASSWORD_FILE"] == f"/run/secrets/{user}_password"
        assert OURS[name]["secrets"] == [f"{user}_password"]


def test_only_nginx_and_grafana_are_reached_from_outside_and_from_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"nginx", "grafana"}
    assert all(_plain(port).startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert COMPOSE["networks"]["store"] == {"internal": True}
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert "store" not in SERVICES["nginx"]["networks"]


def test_a_password_is_a_file_that_git_ignores_and_never_in_the_environment() -> None:
    assert all(secret == {"file": f"./secrets/{name}"} for name, secret in COMPOSE["secrets"].items())
    assert {"secrets/", ".env"} <= set((ROOT / ".gitignore").read_text().splitlines())
    # What needs no variable comes down without one.
    assert ":?" not in (ROOT / "docker-compose.yml").read_text()
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                assert name.endswith("_FILE") and Path(value).name in service["secrets"]
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()


def test_an_image_of_others_is_named_by_digest_or_minor_version() -> None:
    python = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["docker"]["python_version"]
    for name in [f"python:{python}", *(_plain(service["image"]) for service in SERVICES.values())]:
        if not name.startswith("hexbite:"):
            assert re.search(r"@sha256:[0-9a-f]{64}$|:v?\d+\.\d+(\.\d+)?$", name), name


def test_an_image_is_named_without_a_registry() -> None:
    for service in SERVICES.values():
        match = _VARIABLE.fullmatch(service["image"])
        assert match, "each can be named in .env"
        host, _, rest = match[2].partition("/")
        assert not rest or not re.search(r"[.:]", host)


def test_a_pod_is_ended_where_it_stands_still_and_has_longer_to_end_than_it_drains() -> None:
    pod = PODS["hexbite"]
    (container,) = pod["containers"]
    alive = container["livenessProbe"]
    assert alive["httpGet"]["path"] == "/livez"
    assert alive["periodSeconds"] * alive["failureThreshold"] <= 30
    drain_s = float(next(each["value"] for each in container["env"] if each["name"] == "HEXBITE_DRAIN_S"))
    assert pod["terminationGracePeriodSeconds"] > drain_s + 1 + 5


def test_no_pod_is_told_of_services_whose_names_would_be_taken_for_our_settings() -> None:
    assert len(PODS) == 4
    assert {name for name, pod in PODS.items() if pod.get("enableServiceLinks") is not False} == set()


def test_in_kubernetes_too_clients_reach_the_service_through_nginx_alone_and_by_the_rules_of_compose() -> None:
    services = {each["metadata"]["name"]: each["spec"] for each in MANIFESTS if each["kind"] == "Service"}
    (nginx,) = PODS["hexbite-nginx"]["containers"]
    assert services["hexbite"]["selector"] == {"app": "hexbite-nginx"}
    ports = {each["name"]: each["containerPort"] for each in nginx["ports"]}
    conf = (ROOT / "ops" / "nginx.conf").read_text()
    assert set(re.findall(r"listen (\d+);", conf)) == {str(port) for port in ports.values()}
    # Every name that the rules know is a Service, at that port.
    for name, port in re.findall(r"server ([a-z-]+):(\d+)", conf):
        assert services[name]["selector"] == {"app": "hexbite"}
        assert [each["port"] for each in services[name]["ports"]] == [int(port)]
    mounted = {mount["mountPath"]: mount["subPath"] for mount in nginx["volumeMounts"] if "subPath" in mount}
    in_compose = dict(volume.removesuffix(":ro").split(":")[::-1] for volume in SERVICES["nginx"]["volumes"])
    assert all(in_compose[path] == f"./ops/{file}" for path, file in mounted.items())
    assert nginx["command"] == SERVICES["nginx"]["entrypoint"]
    assert nginx["image"] in SERVICES["nginx"]["image"]
    (policy,) = [
        each["spec"]["ingress"]
        for each in MANIFESTS
        if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == "hexbite"
    ]
    assert {"podSelector": {"matchLabels": {"app": "hexbite-nginx"}}} in policy[0]["from"]
    assert "gateway" not in str(policy)


def test_what_is_mounted_from_the_tree_is_there() -> None:
    sources = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if isinstance(volume, str) and volume.startswith("./")
    }
    assert {"./ops/nginx.conf", "./ops/nginx.sh", "./ops/postgres/postgresql.conf"} <= sources
    assert not {source for source in sources if not (ROOT / source).exists()}


needs_compose = pytest.mark.skipif(not has_compose(), reason="no Docker Compose: docker compose version fails")


def configured(tmp_path: Path, **settings: str) -> dict[str, Any]:
    """What compose makes of the file where `.env` holds these settings; it needs no engine for that."""
    env = tmp_path / "env"
    env.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    command = ["docker", "compose", "--env-file", str(env), "--profile", "*", "config", "--format", "json"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HEXBITE_", "COMPOSE_"))}
    checked = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    return dict(json.loads(checked.stdout))


@needs_compose
def test_compose_takes_the_file_as_it_is_without_any_setting(tmp_path: Path) -> None:
    assert set(configured(tmp_path)["services"]) == set(SERVICES)


@needs_compose
@pytest.mark.parametrize(
    ("settings", "grace"),
    [
        ({}, "22s"),
        ({"HEXBITE_DRAIN_S": "300"}, "5m21s"),
        ({"HEXBITE_DRAIN_S": "0.5", "HEXBITE_REQUEST_TIMEOUT_S": "2.5"}, "23s"),
        ({"HEXBITE_DRAIN_S": "0"}, "21s"),
    ],
)
def test_a_replica_has_longer_to_stop_than_it_drains_whatever_the_drain_is(
    tmp_path: Path, settings: dict[str, str], grace: str
) -> None:
    assert configured(tmp_path, **settings)["services"]["service-a"]["stop_grace_period"] == grace


@pytest.mark.skipif(
    not has_engine(), reason="no Docker engine with Compose: docker info or docker compose version fails"
)
def test_what_is_up_comes_down_without_a_setting(tmp_path: Path) -> None:
    for file in ("docker-compose.yml", "Makefile"):
        shutil.copy2(ROOT / file, tmp_path)
    environment = os.environ | {"COMPOSE_PROJECT_NAME": "hexbite-nothing"}
    command = ["make", "down"]
    finished = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr


def test_what_serves_keeps_a_connection_for_longer_than_nginx_does() -> None:
    keeps_s = [
        int(found) for found in re.findall(r"keepalive_timeout (\d+)s;", (ROOT / "ops" / "nginx.conf").read_text())
    ]
    for file, form in (("ops/Dockerfile.j2", r"^CMD (\[.*\])$"), ("demo/__main__.py", r"command = (\[.*\])$")):
        command = re.search(form, (ROOT / file).read_text(), flags=re.MULTILINE)
        assert command
        told = re.search(r'"--timeout-keep-alive", "(\d+)"', command[1])
        assert told and int(told[1]) > max(keeps_s), file
    # What compose and Kubernetes start is what the image says.
    assert "command" not in SERVICES["service-a"]
    assert not {"command", "args"} & PODS["hexbite"]["containers"][0].keys()
