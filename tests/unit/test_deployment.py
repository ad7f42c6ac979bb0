"""Which models answer, and whom."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bento.ranking import deployment
from bento.ranking.answering import Answering
from bento.ranking.deployment import Tags, chosen, deploy, deployed, full_tag, settle, settled
from bento.settings import Settings
from hexbite.errors import ModelStoreError

NOBODY = 10_000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    return tmp_path


def test_a_model_that_is_named_comes_first_then_the_built_one_then_the_deployed_one_then_the_newest(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = Settings(model="hexbite:named", split_model="hexbite:a", split_share=0.5, shadow_model="hexbite:b")
    assert chosen(Settings()) == Tags("hexbite:latest", None, None)
    deploy("hexbite:deployed")
    assert chosen(Settings()).primary == "hexbite:deployed"
    monkeypatch.setattr(deployment, "built_with", lambda: "hexbite:built")
    assert chosen(Settings()).primary == "hexbite:built"
    assert chosen(named) == Tags("hexbite:named", "hexbite:a", "hexbite:b")


def test_what_is_deployed_is_the_last_that_was_and_nothing_else_is_left(home: Path) -> None:
    assert deployed() is None
    deploy("hexbite:one")
    deploy("hexbite:two")
    assert deployed() == "hexbite:two"
    assert [path.name for path in home.iterdir()] == ["hexbite.deployed"]
    (home / "hexbite.deployed").write_text("\n")
    assert deployed() is None


@pytest.mark.parametrize("tags", [Tags("hexbite:1", None, None), Tags("hexbite:1", "split:2", "shadow:3")])
def test_what_was_settled_is_read_as_it_was(tags: Tags, tmp_path: Path) -> None:
    settle(tags, tmp_path)
    assert settled(tmp_path) == tags


@pytest.mark.parametrize("tag", ["hexbite:never_was", "no tag at all"])
def test_a_model_that_the_store_lacks_is_named_with_what_to_do(tag: str) -> None:
    with pytest.raises(ModelStoreError, match=f"no '{tag}'.*python -m training train"):
        full_tag(tag)


def answering(share: float, split: str | None = "hexbite:b") -> Answering:
    return Answering(
        SimpleNamespace(tag="hexbite:a"), split and SimpleNamespace(tag=split), share, SimpleNamespace(served="shadow")
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_split_answers_its_share_of_users_always_the_same_ones(share: float) -> None:
    spoke = [answering(share).whose(user).tag for user in range(NOBODY)]
    assert spoke.count("hexbite:b") / NOBODY == pytest.approx(share, abs=0.02)  # four standard deviations
    assert spoke == [answering(share).whose(user).tag for user in range(NOBODY)]


def test_another_split_draws_other_users_and_a_larger_share_keeps_those_of_a_smaller_one() -> None:
    def users(share: float, split: str) -> set[int]:
        found = answering(share, split)
        return {user for user in range(NOBODY) if found.whose(user).tag == split}

    assert users(0.1, "hexbite:b") < users(0.2, "hexbite:b")
    assert len(users(0.5, "hexbite:b") & users(0.5, "hexbite:c")) / NOBODY == pytest.approx(0.25, abs=0.03)


def test_the_roles_are_of_those_that_are_there() -> None:
    assert list(answering(0.5).roles()) == ["primary", "split", "shadow"]
    assert str(answering(0.5).roles()["shadow"]) == "shadow"
    alone = answering(0.5, None)._replace(shadow=None)
    assert list(alone.roles()) == ["primary"]
    assert alone.whose(7).tag == "hexbite:a"
