from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import load_file, save_file

from hexbite.artifact import Artifact
from hexbite.errors import ArtifactError
from hexbite.features import Feature, FeatureSchema
from hexbite.networks import NETWORKS, LinearMap, Network
from hexbite.ranker import Ranker, logits_to_scores, order

SCHEMA = FeatureSchema((Feature("a", 1.5), Feature("b")), (Feature("c"),), (Feature("distance_m"),))


KINDS = list(NETWORKS)


def folded(width: int, mean: float = 0.0, std: float = 1.0, kind: str = "ranknet") -> tuple[Network, Ranker]:
    torch.manual_seed(width)
    model = NETWORKS[kind](width)
    return model, Ranker.fold(model, np.full(width, mean), np.full(width, std))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (40.7, 0.05), (1.7e9, 3e6)])
def test_folding_changes_nothing_even_far_from_zero(kind: str, mean: float, std: float) -> None:
    model, ranker = folded(7, mean, std, kind)
    rows = (mean + std * np.random.default_rng(1).normal(size=(500, 7))).astype(np.float32)
    with torch.no_grad():
        expected = model.double()((torch.from_numpy(rows).double() - mean) / std).numpy()
    np.testing.assert_allclose(ranker.logits(rows), expected, atol=1e-8)


def test_a_cross_layer_multiplies_features_as_the_paper_says() -> None:
    model, ranker = folded(3, kind="dcn")
    crosses, (row,) = model.crosses, np.random.default_rng(5).normal(size=(1, 3))
    crossed = row
    for weight, bias in crosses:
        crossed = row * (weight.numpy() @ crossed + bias.numpy()) + crossed
    deep = crossed
    for number, (weight, bias) in enumerate(model.layers):
        deep = weight.numpy() @ deep + bias.numpy()
        deep = deep if number == 2 else np.maximum(deep, 0)
    np.testing.assert_allclose(ranker.logits(row[None].astype(np.float32)), deep, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_scores_the_same_alone_and_in_a_crowd(kind: str) -> None:
    _, ranker = folded(40, kind=kind)
    rows = np.random.default_rng(2).normal(size=(1000, 40)).astype(np.float32)
    alone = np.concatenate([ranker.logits(rows[i : i + 1]) for i in range(1000)])
    np.testing.assert_allclose(ranker.logits(rows), alone, atol=1e-12)
    assert ranker.logits(rows[:0]).shape == (0,)


@given(
    arrays.arrays(np.float64, st.integers(0, 30), elements=st.sampled_from([0.0, 1.0, 40.0, 41.0])),
    st.randoms(use_true_random=False),
    st.integers(1, 40),
    st.booleans(),
)
def test_the_order_is_by_logit_then_distance_then_id(logits: np.ndarray, random: object, size: int, by: bool) -> None:
    count = len(logits)
    generator = np.random.default_rng(count)
    ids = generator.permutation(count).astype(np.int64) - 3
    distance_m = generator.integers(0, 3, count).astype(np.float64)
    rows = list(zip((-logits).tolist(), distance_m.tolist(), ids.tolist(), range(count), strict=True))
    rows.sort(key=lambda row: row[1:] if by else row)
    expected = [row[3] for row in rows][:size]
    assert order(ids, logits, distance_m, size=size, by_distance=by).tolist() == expected


def test_saturated_scores_still_have_an_order() -> None:
    logits = np.array([45.0, 50.0, 41.0])
    assert logits_to_scores(logits).tolist() == [1.0, 1.0, 1.0]
    best = order(np.array([1, 2, 3]), logits, np.zeros(3), size=3, by_distance=False)
    assert best.tolist() == [1, 0, 2]


def artifact(kind: str = "ranknet") -> Artifact:
    ranker = folded(4, kind=kind)[1]
    return Artifact(
        SCHEMA, ranker, np.array([1, 2], np.float32), np.array([3], np.float32), {"seed": 1}, {"auc": 0.9}, {"rows": 3}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_artifact_survives_its_folder(kind: str, tmp_path: Path) -> None:
    artifact(kind).save(tmp_path)
    loaded = Artifact.load(tmp_path)
    rows = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)
    for name, tensor in artifact(kind).ranker.tensors().items():
        assert torch.equal(loaded.ranker.tensors()[name], tensor)
    # Where a matrix lies in memory decides in which order its products are added.
    np.testing.assert_allclose(loaded.ranker.logits(rows), artifact(kind).ranker.logits(rows), rtol=1e-13)
    assert (loaded.schema, loaded.training, loaded.metrics, loaded.data) == (
        SCHEMA,
        {"seed": 1},
        {"auc": 0.9},
        {"rows": 3},
    )
    np.testing.assert_array_equal(loaded.user_mean, [1, 2])
    np.testing.assert_array_equal(loaded.restaurant_mean, [3])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]


@pytest.mark.parametrize("missing", ["model.json", "ranker.safetensors"])
def test_an_incomplete_artifact_is_refused(tmp_path: Path, missing: str) -> None:
    artifact().save(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        Artifact.load(tmp_path)


@pytest.mark.parametrize("file", ["model.json", "ranker.safetensors"])
def test_a_cut_off_artifact_is_refused(tmp_path: Path, file: str) -> None:
    artifact().save(tmp_path)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        Artifact.load(tmp_path)


def test_an_artifact_at_odds_with_itself_is_refused(tmp_path: Path) -> None:
    artifact().save(tmp_path)
    document = (tmp_path / "model.json").read_text()
    for old, new, said in [
        ('"format": 3', '"format": 2', "format 2"),
        ('"name": "a"', '"name": "z"', "fingerprint"),
        ('"schema"', '"scheme"', "schema"),
    ]:
        (tmp_path / "model.json").write_text(document.replace(old, new))
        with pytest.raises(ArtifactError, match=said):
            Artifact.load(tmp_path)
    (tmp_path / "model.json").write_text(document)
    weights = tmp_path / "ranker.safetensors"
    tensors = load_file(weights)
    for name, bad, said in [
        ("layers.0.weight", tensors["layers.0.weight"][:, :3].contiguous(), "rows of 3"),
        ("layers.0.bias", tensors["layers.0.bias"][:5].clone(), "layers.0.bias"),
        ("layers.0.weight", tensors["layers.0.weight"] * float("nan"), "NaN"),
        ("layers.1.weight", tensors["layers.1.weight"][:, :5].clone(), "layers.1.weight"),
        ("layers.3.weight", tensors["layers.1.weight"].clone(), "layers.3.weight stand alone"),
        ("crosses.0.weight", tensors["layers.0.weight"][:4, :4].clone(), "lacks crosses.0.bias"),
        ("stray", tensors["layers.0.bias"].clone(), "no part 'stray'"),
        ("user_mean", tensors["user_mean"][:1].clone(), "mean user"),
        ("restaurant_mean", tensors["user_mean"].clone(), "mean restaurant"),
        ("layers.1.bias", tensors["layers.1.bias"].float(), "float32"),
    ]:
        save_file(tensors | {name: bad}, weights)
        with pytest.raises(ArtifactError, match=said):
            Artifact.load(tmp_path)


def test_cross_layers_and_the_map_before_them_come_together_or_not_at_all() -> None:
    ranker = folded(4, kind="dcn")[1]
    with pytest.raises(ArtifactError, match="cross layers need one map"):
        Ranker(ranker.layers, ranker.crosses)
    with pytest.raises(ArtifactError, match="cross layers need one map"):
        Ranker(ranker.layers, (), ranker.inputs)
    with pytest.raises(ArtifactError, match=r"inputs\.0\.weight"):
        Ranker(ranker.layers, ranker.crosses, (LinearMap(torch.ones(3).double(), torch.ones(3).double()),))
    with pytest.raises(ArtifactError, match="not one logit"):
        Ranker(ranker.layers[:-1])
