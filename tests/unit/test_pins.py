"""The pinned requirement files and pyproject.toml are kept by hand-run `make lock`: this is what keeps them in step."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]


def wanted(group: str) -> list[Requirement]:
    return [
        requirement
        for entry in GROUPS[group]
        for requirement in (wanted(entry["include-group"]) if isinstance(entry, dict) else [Requirement(entry)])
    ]


def pinned(group: str) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for line in (ROOT / "requirements" / f"{group}.txt").read_text().splitlines():
        requirement = Requirement(line)
        (version,) = requirement.specifier
        assert version.operator == "==", line
        pins.setdefault(canonical(requirement.name), set()).add(version.version)
    return pins


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("group", ["service", "dev"])
def test_every_dependency_is_pinned_to_a_version_that_it_allows(group: str) -> None:
    pins = pinned(group)
    for requirement in wanted(group):
        versions = pins.get(canonical(requirement.name), set())
        assert versions, f"{requirement.name} is not in requirements/{group}.txt; run make lock"
        assert all(requirement.specifier.contains(version) for version in versions), f"{requirement}; run make lock"


def test_the_image_gets_the_versions_that_were_tested() -> None:
    tested = pinned("dev")
    for name, versions in pinned("service").items():
        assert versions == tested[name], f"{name}; run make lock"


def test_the_wheel_depends_on_what_the_application_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    application = {requirement.name for requirement in wanted("service")}
    assert {Requirement(entry).name for entry in project["dependencies"]} <= application
