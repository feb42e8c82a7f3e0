"""``key=value`` changes: applied whole, in any order, or refused."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifarlab.recipes.keys import keys
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import apply_overrides, build, change
from cifarlab.system.errors import RecipeError

ORDERS = list(
    permutations(
        ["optimizer.kind=adamw", "optimizer.lr=0.02", "optimizer.betas=[0.8, 0.9]", "seed=3"]
    )
)


VALIDATED = {"val_fraction": 0.2}


def test_nothing_changes_nothing():
    assert apply_overrides(Recipe(), []) == Recipe()


def test_only_the_named_keys_change():
    recipe = apply_overrides(Recipe(), ["optimizer.lr=1e-3", "data.images.size=16", "seed=4"])
    expected = build({"optimizer": {"lr": 0.001}, "data": {"images": {"size": 16}}, "seed": 4})
    assert recipe == expected


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_a_kind_switches_in_any_order(order):
    optimizer = {"kind": "adamw", "lr": 0.02, "betas": [0.8, 0.9]}
    assert apply_overrides(Recipe(), order) == build({"optimizer": optimizer, "seed": 3})


def test_a_new_kind_starts_from_its_own_defaults():
    base = build({"optimizer": {"lr": 3.0, "weight_decay": 0.5}})
    assert apply_overrides(base, ["optimizer.kind=adamw"]) == build(
        {"optimizer": {"kind": "adamw"}}
    )


def test_the_kind_that_it_has_changes_nothing():
    base = build({"optimizer": {"lr": 3.0}})
    assert apply_overrides(base, ["optimizer.kind=sgd"]) == base


def test_several_kinds_at_once():
    names = ["schedule.gamma=0.3", "model.hidden_features=7", "schedule.kind=multistep"]
    recipe = apply_overrides(Recipe(), [*names, "model.kind=cnn"])
    assert (recipe.model.kind, recipe.model.hidden_features) == ("cnn", (7,))
    assert (recipe.schedule.kind, recipe.schedule.gamma) == ("multistep", 0.3)


def test_change_takes_values_and_leaves_its_recipe_alone():
    base = Recipe()
    changed = change(base, {"model.depths": [1, 1, 1, 1], "training.duration": "3 steps"})
    assert changed.model.depths == (1, 1, 1, 1)
    assert str(changed.training.duration) == "3 steps"
    assert base == Recipe()


def test_settings_that_need_each_other_may_come_in_either_order():
    both = ["evaluation.checkpoint=best", "data.val_fraction=0.2"]
    base = build({"data": {"val_fraction": 0}})
    assert apply_overrides(base, both) == apply_overrides(base, both[::-1])


@pytest.mark.parametrize("order", [1, -1])
def test_a_kind_and_what_it_needs_in_either_order(order):
    # between the two changes the recipe contradicts itself
    base = build({"data": {"val_fraction": 0}})
    both = ["schedule.kind=plateau", "data.val_fraction=0.2"][::order]
    assert apply_overrides(base, both) == build(
        {"schedule": {"kind": "plateau"}, "data": VALIDATED}
    )
    part = ["model.norm={kind: none}", "model.order=[act, conv, act, conv, add]"][::order]
    free = apply_overrides(Recipe(), ["model.weight_standardization=true", *part])
    assert free.model.normalizer_free


@pytest.mark.parametrize("order", [1, -1])
def test_a_whole_part_and_one_of_its_keys_in_either_order(order):
    # the key may be applied on top or the pair refused, but never dropped without a word
    assignments = ["model={kind: resnet}", "model.stem_width=32"][::order]
    assert apply_overrides(Recipe(), assignments).model.stem_width == 32


def test_a_kind_for_a_part_that_has_none_is_refused():
    with pytest.raises(RecipeError, match=r"unknown key 'training\.kind'"):
        change(Recipe(), {"training": {"kind": 3}})


def test_a_key_given_twice():
    with pytest.raises(RecipeError, match="seed is given twice"):
        apply_overrides(Recipe(), ["seed=1", "seed=1"])


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@given(path=st.sampled_from(sorted({key.path for key in keys()})), value=plain)
@settings(max_examples=300)
def test_any_value_for_any_key_is_taken_or_refused_in_two_lines(path, value):
    try:
        change(Recipe(), {path: value})
    except RecipeError as error:
        what, hint = str(error).split("\n")
        assert path.split(".")[0] in what
        assert hint
