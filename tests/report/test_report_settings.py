"""How recipes of one name are told apart."""

import pytest

from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.report.settings import distinct_names

PLAIN = Recipe(name="plain")
LR, DECAY = {"optimizer.lr": 0.5}, {"optimizer.weight_decay": 0.001}
CLIP = {"training.clip_grad_norm": 1.0, "data.train_subset_fraction": 0.5, "augment.degrees": 3.0}


def names(*changes: dict) -> list[str]:
    recipes = [change(PLAIN, overrides) for overrides in changes]
    folders = [f"run-{index}" for index in range(len(changes))]
    return distinct_names(["plain"] * len(changes), recipes, folders)


def test_a_name_of_its_own_stays():
    recipes = [PLAIN, change(PLAIN, LR)]
    assert distinct_names(["a", "b"], recipes, ["x", "y"]) == ["a", "b"]


def test_equal_names_get_the_settings_that_differ():
    assert names({}, LR) == ["plain optimizer.lr=0.1", "plain optimizer.lr=0.5"]
    assert names({}, {"seed": 3}) == ["plain", "plain"]


def test_of_many_settings_those_that_most_others_have_are_left_out():
    assert names(
        {}, LR, DECAY, {"data.train_subset_fraction": 0.5}, {"training.clip_grad_norm": 1.0}
    ) == [
        "plain",
        "plain optimizer.lr=0.5",
        "plain optimizer.weight_decay=0.001",
        "plain data.train_subset_fraction=0.5",
        "plain training.clip_grad_norm=1.0",
    ]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_what_would_be_too_long_is_named_by_its_folder(index):
    changes = [{}, LR, {}]
    changes[index] = {**CLIP, **DECAY, "augment.translate": 0.1}
    assert names(*changes)[index] == f"plain run-{index}"
