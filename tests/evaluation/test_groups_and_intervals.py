"""Groups of classes, paired gains, top-k: by hand, by plain loops, and what is refused."""

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import binomtest

from cifarlab.evaluation import groups
from cifarlab.evaluation.groups import accuracy_by_group, known_groups, read_groups
from cifarlab.evaluation.measure import top_k
from cifarlab.stats.intervals import paired_gain, wilson_interval
from cifarlab.system.errors import RecipeError

CLASSES = ("ant", "bee", "cat", "dog")
CONFUSION = np.array([[5, 2, 0, 1], [3, 4, 1, 0], [0, 0, 6, 4], [0, 0, 0, 0]])


def test_groups_by_hand() -> None:
    rows = accuracy_by_group(
        CONFUSION, CLASSES, {"insects": ("ant", "bee"), "pets": ("cat", "dog")}
    )
    insects, pets = rows
    assert (insects["n"], insects["correct"], insects["accuracy"]) == (16, 9, 9 / 16)
    assert insects["coarse_accuracy"] == 14 / 16
    assert insects["interval"] == wilson_interval(9, 16)
    assert (pets["n"], pets["correct"], pets["coarse_accuracy"]) == (10, 6, 1.0)


def test_a_group_without_images_has_no_fractions() -> None:
    [row] = accuracy_by_group(CONFUSION, CLASSES, {"dogs": ("dog",)})
    assert row["n"] == 0
    assert row["accuracy"] is row["interval"] is row["coarse_accuracy"] is None


def test_cifars_classes_have_their_groups_in_any_order() -> None:
    cifar10, cifar100 = yaml.safe_load(
        Path(groups.__file__).with_name("class_groups.yaml").read_text()
    )
    names = [name for members in cifar10.values() for name in members]
    assert len(set(names)) == 10 and known_groups(sorted(names)) == cifar10
    fine_classes = [name for members in cifar100.values() for name in members]
    assert len(set(fine_classes)) == 100 and len(cifar100) == 20
    assert all(len(members) == 5 for members in cifar100.values())
    assert known_groups(fine_classes) == cifar100
    assert known_groups(names[:-1]) is None and known_groups(CLASSES) is None


def test_a_mapping_is_read(tmp_path: Path) -> None:
    file = tmp_path / "groups.yaml"
    file.write_text("insects: [ant, bee]\npets: [cat]\n")
    assert read_groups(file, CLASSES) == {"insects": ("ant", "bee"), "pets": ("cat",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("insects: [ant, wasp]", "names 'wasp'"),
        ("a: [ant]\nb: [ant]", "has 'ant' twice"),
        ("a: ant", "holds no groups"),
        ("a: []", "holds no groups"),
        ("- ant", "holds no groups"),
        ("", "is empty"),
        ("a: [", "no valid YAML"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "groups.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=message):
        read_groups(file, CLASSES)


def test_a_missing_mapping(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="can't read"):
        read_groups(tmp_path / "none.yaml", CLASSES)


@pytest.mark.parametrize("seed", range(4))
def test_a_paired_gain_is_the_textbook_formula(seed: int) -> None:
    draws = np.random.default_rng(seed)
    base = draws.random(200) < 0.7
    ours = np.where(draws.random(200) < 0.9, base, ~base)
    table = [[0.5, 0.5], [0.5, 0.5]]
    for o, b in zip(ours, base, strict=True):
        table[int(o)][int(b)] += 1
    n = sum(map(sum, table))
    gained, lost = table[1][0] / n, table[0][1] / n
    half_width = 1.959963984540054 * math.sqrt((gained + lost - (gained - lost) ** 2) / n)
    result = paired_gain(ours, base)
    assert result["gain"] == pytest.approx(ours.mean() - base.mean())
    expected = [gained - lost - half_width, gained - lost + half_width]
    assert result["interval"] == pytest.approx(expected)
    b, c = int((ours & ~base).sum()), int((~ours & base).sum())
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert result["p"] == pytest.approx(min(1.0, 2 * tail))
    assert result["p"] == binomtest(b, b + c).pvalue


def test_equal_predictions_gain_nothing_but_not_surely() -> None:
    correct = np.array([True] * 50 + [False] * 10)
    result = paired_gain(correct, correct)
    assert (result["gain"], result["p"]) == (0.0, 1.0)
    low, high = result["interval"]
    assert low < 0 < high


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_top_k_by_sorting_each_image(classes: int) -> None:
    draws = np.random.default_rng(classes)
    logits, labels = draws.normal(size=(100, classes)), draws.integers(0, classes, 100)
    result = top_k(logits, labels)
    assert len(result) == min(5, classes - 1)
    for k, fraction in enumerate(result, 1):
        is_in_top_k = [
            label in sorted(range(classes), key=lambda c, row=row: -row[c])[:k]
            for row, label in zip(logits, labels, strict=True)
        ]
        assert fraction == pytest.approx(np.mean(is_in_top_k))


def test_equal_logits_take_the_first_class() -> None:
    logits = np.zeros((2, 4), dtype=np.float32)
    assert top_k(logits, np.array([0, 2])) == [0.5, 0.5, 1.0]
