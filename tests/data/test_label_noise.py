"""Label noise: rates against their definition, what is touched, what is recorded."""

import json

import numpy as np
import pytest
from made_sources import own_plugins
from scipy.stats import binomtest, chisquare

from cifarlab.data.label_noise import LabelNoiseConfig
from cifarlab.data.opening import open_dataset
from cifarlab.data.splits import test_subset, training_subsets
from cifarlab.recipes.text import build
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RecipeError
from cifarlab.training.train import train

N, K = 60_000, 10
LABELS = np.random.default_rng(0).integers(0, K, N)
MATRIX = [[0.5, 0.25, 0.25], [0, 1, 0], [0.125, 0, 0.875]]


def noise(kind, **settings):
    tree = {"data": {"label_noise": {"kind": kind, **settings}}}
    return build({"plugins": own_plugins(), **tree}).data.label_noise


def apply_label_noise(labels, label_noise, classes):
    return label_noise.flip(labels, classes, np.arange(len(labels)))


def slow_matrix(kind, noise_rate):
    matrix = [[0.0] * K for _ in range(K)]
    for true in range(K):
        matrix[true][true] = 1 - noise_rate
        others = [(true + 1) % K] if kind == "pair" else [k for k in range(K) if k != true]
        for other in others:
            matrix[true][other] += noise_rate / len(others)
    return matrix


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
@pytest.mark.parametrize("noise_rate", [0, 0.2, 0.45])
def test_the_matrix_against_the_definition(kind, noise_rate):
    got = noise(kind, noise_rate=noise_rate).probabilities(K)
    np.testing.assert_allclose(got, slow_matrix(kind, noise_rate), atol=1e-15)


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
def test_as_many_labels_change_as_set_and_to_the_right_classes(kind):
    got = apply_label_noise(LABELS, noise(kind, noise_rate=0.4), K)
    changed = got != LABELS
    assert binomtest(int(changed.sum()), N, 0.4).pvalue > 1e-3
    steps = np.bincount((got - LABELS)[changed] % K, minlength=K)[1:]
    if kind == "pair":
        assert steps[1:].sum() == 0
    else:
        assert chisquare(steps).pvalue > 1e-3


def test_a_given_matrix():
    labels = LABELS % 3
    got = apply_label_noise(labels, noise("matrix", transition_matrix=MATRIX), 3)
    for true, row in enumerate(MATRIX):
        counts = np.bincount(got[labels == true], minlength=3)
        possible = np.array(row) > 0
        assert counts[~possible].sum() == 0
        if possible.sum() > 1:
            expected = np.array(row)[possible] * counts.sum()
            assert chisquare(counts[possible], expected).pvalue > 1e-3


def test_a_label_follows_from_the_seed_and_the_index_alone():
    noisy = apply_label_noise(LABELS, noise("symmetric"), K)
    assert np.array_equal(apply_label_noise(LABELS[:1000], noise("symmetric"), K), noisy[:1000])
    assert not np.array_equal(apply_label_noise(LABELS, noise("symmetric", seed=1), K), noisy)


def test_more_noise_changes_the_same_labels_and_more():
    less, more = (
        apply_label_noise(LABELS, noise("pair", noise_rate=s), K) != LABELS for s in (0.1, 0.3)
    )
    assert (more | ~less).all()


def test_only_training_labels_change():
    dataset = open_dataset("digits")
    clean, noisy = (
        training_subsets(dataset, build({"data": {"source": "digits", "label_noise": n}}).data)
        for n in ({"kind": "none"}, {"kind": "symmetric", "noise_rate": 0.5})
    )
    assert np.array_equal(clean[0].indices, noisy[0].indices)
    parts = [part.labels[part.indices] for part in (clean[0], noisy[0])]
    assert binomtest(int((parts[0] != parts[1]).sum()), len(parts[0]), 0.5).pvalue > 1e-3
    assert np.array_equal(clean[1].labels[clean[1].indices], noisy[1].labels[noisy[1].indices])
    data = build({"data": {"source": "digits", "label_noise": {"kind": "pair"}}}).data
    assert np.array_equal(test_subset(dataset, data).labels, dataset.read("train").labels)


@pytest.mark.parametrize("rows", [[[1, 0]], [[0.5, 0.4], [0, 1]], [[1.5, -0.5], [0, 1]], [[1]]])
def test_rows_that_are_no_distributions_are_refused(rows):
    with pytest.raises(RecipeError, match=r"data\.label_noise"):
        noise("matrix", transition_matrix=rows)


def test_a_matrix_of_another_size_names_both():
    with pytest.raises(RecipeError, match="3 rows, the data 10 classes"):
        noise("matrix", transition_matrix=MATRIX).probabilities(10)


def test_a_run_records_how_many_labels_it_changed(tmp_path, tiny):
    recipe = tiny({"data.label_noise": {"kind": "symmetric", "noise_rate": 0.5}})
    train(recipe, RunFolder(tmp_path))
    data = json.loads((tmp_path / "provenance.json").read_text())["data"]
    assert 0.4 < data["wrong_labels"] / data["train"] < 0.6
    clean = tmp_path / "clean"
    train(tiny(), RunFolder(clean))
    assert json.loads((clean / "provenance.json").read_text())["data"]["wrong_labels"] == 0


@pytest.mark.parametrize("kind", [*LabelNoiseConfig.kinds(), "made-lazy"])
def test_every_kind_keeps_the_labels_it_is_given(kind):
    settings = {"transition_matrix": MATRIX} if kind == "matrix" else {}
    labels = LABELS % 3
    before = labels.copy()
    got = apply_label_noise(labels, noise(kind, **settings), 3)
    assert np.array_equal(labels, before)
    assert (got.dtype, got.shape) == (np.int64, labels.shape)
    assert 0 <= got.min() <= got.max() < 3
    assert np.array_equal(got, apply_label_noise(labels, noise(kind, **settings), 3))


def test_an_own_kind_is_trained_with(tmp_path, tiny):
    label_noise = {"kind": "made-lazy", "count": 100}
    recipe = tiny(
        {"data.label_noise": label_noise, "training.duration": "1 epoch"}
        | {"plugins": own_plugins()}
    )
    train(recipe, RunFolder(tmp_path))
    data = json.loads((tmp_path / "provenance.json").read_text())["data"]
    assert 70 < data["wrong_labels"] < 100


def test_labels_of_no_class_are_refused(tiny, tmp_path):
    with pytest.raises(RecipeError, match="made-wild gives no 1797 labels int64 from 0 to 9"):
        changes = {"plugins": own_plugins(), "data.label_noise.kind": "made-wild"}
        train(tiny(changes), RunFolder(tmp_path))
