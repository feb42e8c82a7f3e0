"""Points of a space: ranges, choices, conditions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_search import SPACE, small

from cifarlab.experiments.search.definition import Search, find_search
from cifarlab.experiments.search.space import (
    as_overrides,
    format_value,
    is_active,
    sort_by_condition,
    suggest_params,
)
from cifarlab.recipes.text import validate_config
from cifarlab.system.errors import RecipeError


class SlowSampler:
    """Draws by NumPy, slowly and obviously, and remembers the keys."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.keys: list[str] = []

    def suggest_categorical(self, name: str, choices: list[str]) -> Any:
        self.keys.append(name)
        return choices[self.rng.integers(len(choices))]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        self.keys.append(name)
        if log:
            return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))
        return float(self.rng.uniform(low, high))

    def suggest_int(self, name: str, low: int, high: int) -> int:
        self.keys.append(name)
        return int(self.rng.integers(low, high + 1))


def test_a_conditional_key_is_drawn_just_where_its_condition_holds() -> None:
    search = small()
    base = search.base_recipe()
    points = [suggest_params(search.space, SlowSampler(seed), base) for seed in range(40)]
    assert {p["optimizer.kind"] for p in points} == {"sgd", "adam"}
    for point in points:
        assert ("optimizer.momentum" in point) == (point["optimizer.kind"] == "sgd")
        assert 1e-4 <= point["optimizer.lr"] <= 0.1
    low = sum(point["optimizer.lr"] < 1e-4 * 10**1.5 for point in points)
    assert 10 < low < 30  # half of the logarithmic range, not three per cent


def test_every_drawn_point_is_a_recipe_with_those_values() -> None:
    search = small()
    base = search.base_recipe()
    for seed in range(20):
        point = suggest_params(search.space, SlowSampler(seed), base)
        recipe = search.trial_recipe(point, base)
        assert recipe.optimizer.kind == point["optimizer.kind"]
        assert recipe.optimizer.lr == point["optimizer.lr"]
        if recipe.optimizer.kind == "sgd":
            assert recipe.optimizer.momentum == point["optimizer.momentum"]


def test_keys_come_behind_their_conditions_whatever_the_order_of_the_file() -> None:
    reverse = dict(reversed(SPACE.items()))
    keys = sort_by_condition(small(space=reverse).space)
    assert keys.index("optimizer.kind") < keys.index("optimizer.momentum")


def test_a_condition_on_what_is_not_searched_asks_the_recipe() -> None:
    space = {
        "optimizer.momentum": {**SPACE["optimizer.momentum"], "when": {"optimizer.kind": "sgd"}}
    }
    search = small(space=space)
    assert is_active(search.space, "optimizer.momentum", {}, search.base_recipe())
    adam = small(space=space, overrides={"optimizer.kind": "adam"})
    assert not is_active(adam.space, "optimizer.momentum", {}, adam.base_recipe())


def test_conditions_follow_each_other() -> None:
    space = {
        "augment.hflip": {"kind": "choice", "values": ["none", "random"]},
        "augment.degrees": {
            "kind": "int",
            "low": 1,
            "high": 9,
            "when": {"augment.hflip": "random"},
        },
    }
    search = small(space=space)
    sampler = SlowSampler(0)
    for _ in range(30):
        suggest_params(search.space, sampler, search.base_recipe())
    assert 0 < sampler.keys.count("augment.degrees") < sampler.keys.count("augment.hflip")


def test_a_circle_of_conditions_is_refused() -> None:
    space = {
        key: {"kind": "choice", "values": [1, 2], "when": {other: 1}}
        for key, other in (("seed", "model.stem_width"), ("model.stem_width", "seed"))
    }
    tree = {"name": "x", "recipe": "quickstart", "space": space}
    with pytest.raises(RecipeError, match="circle"):
        validate_config(Search, tree, "x")


def test_named_values_stand_for_whole_parts() -> None:
    dimension = {"kind": "choice", "values": {"off": {}, "on": {"hflip": "random"}}}
    search = small(space={"augment": dimension})
    base = search.base_recipe()
    assert base.augment.crop.padding == 1
    on, off = (search.trial_recipe({"augment": name}, base) for name in ("on", "off"))
    assert on.augment.hflip == "random" and off.augment.hflip == "none"
    assert on.augment.crop.padding == off.augment.crop.padding == 0
    assert as_overrides(search.space, {"augment": "off"}) == {"augment": {}}


def test_numbers_alike_in_their_first_digits_are_different_choices() -> None:
    lrs = [0.01, 0.012341, 0.012342]
    search = small(space={"optimizer.lr": {"kind": "choice", "values": lrs}})
    names = list(search.space["optimizer.lr"].labeled_values)
    assert names == ["0.01", "0.012341", "0.012342"]
    recipes = [search.trial_recipe({"optimizer.lr": name}, search.base_recipe()) for name in names]
    assert [recipe.optimizer.lr for recipe in recipes] == lrs


def test_labels_are_what_a_table_can_hold() -> None:
    assert [format_value(x) for x in (True, 0.1, 0.0038999, 3, "sgd", [1, 2])] == [
        "true",
        "0.1",
        "0.0039",
        "3",
        "sgd",
        "[1, 2]",
    ]


@pytest.mark.parametrize(
    ("dimension", "words"),
    [
        ({"kind": "uniform", "low": 2, "high": 1}, "low must be below high"),
        ({"kind": "uniform", "low": 1, "high": 1}, "low must be below high"),
        ({"kind": "loguniform", "low": 0, "high": 1}, "greater than 0"),
        ({"kind": "choice", "values": []}, "at least 1"),
        ({"kind": "choice", "values": [1, 1]}, "twice"),
        ({"kind": "lognormal", "low": 1}, "lognormal"),
        ({"kind": "uniform", "low": 0, "high": 1, "hihg": 1}, "optimizer.lr.hihg"),
        ({"kind": "int", "low": 1.5, "high": 3}, "optimizer.lr.low"),
    ],
)
def test_bad_dimensions_are_refused_with_their_path(
    dimension: dict[str, Any], words: str, tmp_path: Path
) -> None:
    tree = {"name": "x", "recipe": "quickstart", "space": {"optimizer.lr": dimension}}
    with pytest.raises(RecipeError) as caught:
        validate_config(Search, tree, "x.yaml")
    assert words in str(caught.value) and "optimizer.lr" in str(caught.value)


def test_a_file_is_a_search_and_names_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "recipe: quickstart\nscheduler: {kind: none}\nspace:\n"
        "  optimizer.lr: {kind: loguniform, low: 1e-4, high: 1e-2}\n"
    )
    search = find_search(str(file))
    assert search.name == "mine" and search.rungs() == []
    assert search.space["optimizer.lr"].low == 1e-4  # YAML 1.1 takes it for a text
