"""Nothing starts before every key and every value was tried on the recipe's schema."""

import time
from pathlib import Path
from typing import Any

import pytest
from made_search import SPACE, small

from cifarlab.config.duration import Duration
from cifarlab.experiments.search.definition import (
    Search,
    apply_options,
    find_search,
    shipped_searches,
    validate_space,
)
from cifarlab.experiments.search.engine import run_search
from cifarlab.recipes.text import validate_config
from cifarlab.system.errors import RecipeError, UserError


def check_space(space: dict[str, Any], **overrides: Any) -> None:
    search = small(space=space, **overrides)
    validate_space(search, search.base_recipe())


@pytest.mark.parametrize("name", shipped_searches())
def test_every_shipped_search_is_valid_and_survives_json(name: str) -> None:
    search = find_search(name)
    validate_space(search, search.base_recipe())
    assert validate_config(Search, search.model_dump(mode="json"), name) == search


def test_other_data_replaces_also_what_the_search_says_of_its_source() -> None:
    search = small(overrides={"data.source.kind": "cifar100"})
    sources = [search.base_recipe(data).data.source.kind for data in (None, "digits")]
    assert sources == ["cifar100", "digits"]


def test_tables_2_and_3_of_the_report() -> None:
    classic, resnet, schedule = (
        find_search(f"asha2021/{name}") for name in ("classic", "resnet", "schedule")
    )
    for search in (classic, resnet, schedule):
        lr, decay = (search.space[f"optimizer.{key}"] for key in ("lr", "weight_decay"))
        assert (lr.low, lr.high) == (1e-4, 1e-2)
        assert (decay.low, decay.high) == (0.001, 0.01)
        assert search.space["optimizer.kind"].values == ("sgd", "adam")
        assert set(search.space["augment"].values) == {"off", "on"}
        assert search.base_recipe().training.batch_size == 64
        assert search.base_recipe().data.val_fraction == 0.1
    for search in (classic, resnet):
        assert search.space["seed"].values == (7, 42, 77)
        assert (search.trials, str(search.max_epochs)) == (30, "30 epochs")
    assert classic.space["model.dropout"].values == (0.1, 0.3, 0.5)
    assert {"model.block", "model.linear_init"} <= set(classic.space)
    assert resnet.space["model.head_dropout"].values == (0.1, 0.3, 0.5)
    assert set(resnet.space["model.depths"].values) == {"resnet18", "resnet34"}
    assert (schedule.trials, str(schedule.max_epochs)) == (10, "50 epochs")
    assert schedule.base_recipe().schedule.kind == "multistep"


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"optimizer.raet": SPACE["optimizer.lr"]}, ("optimizer.raet", "optimizer.lr")),
        ({"optimizer.lr": {"kind": "uniform", "low": -1, "high": 1}}, ("optimizer.lr", "-1")),
        ({"training.batch_size": {"kind": "uniform", "low": 32, "high": 64}}, ("batch_size",)),
        ({"model.dropout": {"kind": "uniform", "low": 0.1, "high": 1.0}}, ("dropout", "less")),
        ({"optimizer.kind": {"kind": "choice", "values": ["sgd", "adm"]}}, ("adm", "'adam'")),
        ({"augment.hflip": {"kind": "choice", "values": ["none", "often"]}}, ("often", "random")),
    ],
)
def test_a_bad_key_or_value_is_named_with_what_is_allowed(
    space: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(RecipeError) as caught:
        check_space(space)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_key_that_only_one_kind_has_needs_a_condition() -> None:
    momentum = {**SPACE["optimizer.momentum"], "when": {}}
    with pytest.raises(RecipeError) as caught:
        check_space({**SPACE, "optimizer.momentum": momentum})
    assert "beside optimizer.kind=adam" in caught.value.what
    assert "when: {optimizer.kind: ...}" in caught.value.hint
    check_space(SPACE)


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ({"optimizer.knd": "sgd"}, "optimizer.knd"),
        ({"optimizer.kind": "rmsprop"}, "never met"),
        ({"optimizer.lr": 0.1}, "no choice"),
    ],
)
def test_a_condition_that_means_nothing_is_refused(when: dict[str, Any], words: str) -> None:
    momentum = {**SPACE["optimizer.momentum"], "when": when}
    with pytest.raises(RecipeError, match=words):
        check_space({**SPACE, "optimizer.momentum": momentum})


@pytest.mark.parametrize(
    "key",
    [
        "data.val_fraction",
        "evaluation.test",
        "training.duration",
        "data.split_seed",
        "name",
        "data",
        "evaluation",
        "training",
    ],
)
def test_what_trials_are_compared_by_is_not_searched(key: str) -> None:
    tree = {
        "name": "x",
        "recipe": "quickstart",
        "space": {key: {"kind": "choice", "values": [1, 2]}},
    }
    with pytest.raises(RecipeError, match=f"{key} can't be searched"):
        validate_config(Search, tree, "x")


def test_without_validation_nothing_can_decide() -> None:
    with pytest.raises(RecipeError, match="holds nothing out"):
        small(overrides={"data.val_fraction": 0}).base_recipe()


def test_rungs_are_those_below_the_longest() -> None:
    assert small(max_epochs="30 epochs").rungs() == [1, 3, 9, 27]
    assert small(max_epochs="27 epochs").rungs() == [1, 3, 9]
    halving = {"kind": "asha", "grace_period": "2 epochs", "reduction_factor": 2}
    assert small(max_epochs="17 epochs", scheduler=halving).rungs() == [2, 4, 8, 16]
    assert small(scheduler={"kind": "none"}).rungs() == []
    assert small(max_epochs="1 epoch").rungs() == []


def test_at_scale_trials_and_rungs_are_shorter() -> None:
    search = small(max_epochs="30 epochs")
    recipe = search.trial_recipe({}, search.base_recipe(), 0.1)
    assert (
        recipe.training.duration == Duration.parse("3 epochs")
        and recipe.data.train_subset_fraction == 0.1
    )
    assert search.epochs(0.1) == 3 and search.rungs(0.1) == [1]
    assert search.epochs(0.15) == 5  # 4.5 epochs: the fifth is half of one


def test_the_longest_must_be_whole_epochs() -> None:
    for text in ("100 steps", "2.5 epochs", "30"):
        with pytest.raises(RecipeError, match="search made: max"):
            apply_options(small(), max_epochs=text)


def test_the_command_line_changes_just_what_it_names() -> None:
    search = small(sampler={"kind": "tpe", "n_startup_trials": 4})
    assert apply_options(search) == search
    assert apply_options(search, sampler="tpe").sampler.n_startup_trials == 4
    other = apply_options(
        search, trials=3, max_epochs="5 epochs", sampler="random", scheduler="none"
    )
    assert (other.trials, str(other.max_epochs)) == (3, "5 epochs")
    assert (other.sampler.kind, other.scheduler.kind) == ("random", "none")
    with pytest.raises(RecipeError, match="ashaa"):
        apply_options(search, scheduler="ashaa")
    with pytest.raises(UserError, match="2 hours"):
        run_search(search, max_time="2 hours")


def test_an_unknown_search_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="asha2021/clasic") as caught:
        find_search("asha2021/clasic")
    assert "asha2021/classic" in caught.value.hint


def values(low: float, count: int) -> dict[str, Any]:
    return {"kind": "choice", "values": [low + n / 10_000 for n in range(count)]}


def test_large_choices_are_tried_in_seconds_and_larger_ones_refused() -> None:
    condition = {"optimizer.lr": [0.1, 0.1001], "optimizer.momentum": 0.1}
    third = {"kind": "uniform", "low": 0, "high": 0.1, "when": condition}
    space = {"optimizer.lr": values(0.1, 500), "optimizer.momentum": values(0.1, 500)}
    start = time.process_time()
    check_space({**space, "optimizer.weight_decay": third})
    assert time.process_time() - start < 20  # one, on an idle machine
    tree = small().model_dump() | {"space": {"optimizer.lr": values(0.1, 3000)}}
    with pytest.raises(RecipeError, match="at most 1000 items"):
        validate_config(Search, tree, "search")


def test_a_condition_on_very_many_combinations_is_refused() -> None:
    space = {"optimizer.lr": values(0.1, 200), "optimizer.momentum": values(0.1, 200)}
    condition = {key: dimension["values"] for key, dimension in space.items()}
    third = {"kind": "uniform", "low": 0, "high": 0.1, "when": condition}
    with pytest.raises(RecipeError, match="depends on 40,000 combinations"):
        check_space({**space, "optimizer.weight_decay": third})


def test_a_search_s_recipe_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text("seed: 7")
    (tmp_path / "mine.yaml").write_text(
        "recipe: theirs.yaml\nspace: {seed: {kind: int, low: 0, high: 9}}"
    )
    search = find_search(str(tmp_path / "mine.yaml"))
    assert search.base_recipe().seed == 7
    (tmp_path / "theirs.yaml").unlink()
    with pytest.raises(RecipeError, match=r"^search mine: can't read the recipe theirs.yaml"):
        find_search(str(tmp_path / "mine.yaml")).base_recipe()
