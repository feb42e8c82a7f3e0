"""Words of other tools are met with the setting that they mean, and it exists."""

import pytest

from cifarlab.recipes.hints import advice, synonyms
from cifarlab.recipes.keys import keys
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import apply_overrides, build
from cifarlab.system.errors import RecipeError

PATHS = {key.path for key in keys()}


def hint(*assignments: str) -> str:
    with pytest.raises(RecipeError) as caught:
        apply_overrides(Recipe(), assignments)
    return caught.value.hint


@pytest.mark.parametrize(
    ("assignment", "proposed"),
    [
        ("training.epochs=3", "training.duration='3 epochs'"),
        ("epochs=3", "training.duration='3 epochs'"),
        ("max_steps=500", "training.duration='500 steps'"),
        ("learning_rate=0.1", "optimizer.lr=0.1"),
        ("lr=0.1", "optimizer.lr=0.1"),
        ("training.lr=0.1", "optimizer.lr=0.1"),
        ("wd=5e-4", "optimizer.weight_decay=5e-4"),
        ("bs=64", "training.batch_size=64"),
        ("batch_size=64", "training.batch_size=64"),
        ("batch-size=64", "training.batch_size=64"),
        ("val_split=0.2", "data.val_fraction=0.2"),
        ("momentum=0.8", "optimizer.momentum=0.8"),
        ("warmup_epochs=2", "schedule.warmup='2 epochs'"),
        ("patience=3", "training.early_stopping='{patience: 5}'"),
        ("hflip=true", "augment.hflip=random"),
        ("ema=0.99", "averaging.kind=ema"),
        ("optimizer=adam", "optimizer.kind=adam"),
        ("schedule=constant", "schedule.kind=constant"),
        ("model=cnn", "model.kind=cnn"),
        ("averaging=ema", "averaging.kind=ema"),
        ("augment.crop=4", "augment.crop.padding=4"),
    ],
)
def test_what_is_proposed_can_be_typed(assignment, proposed):
    assert hint(assignment).startswith(f"write {proposed}")
    key, _, value = proposed.replace("'", "").partition("=")
    apply_overrides(Recipe(), [f"{key}={value}"])


@pytest.mark.parametrize("word", sorted(synonyms()))
def test_every_word_leads_to_a_setting(word):
    key, equals, _ = synonyms()[word].partition("=")
    assert key in PATHS and word not in PATHS - {"seed"}
    if equals:
        apply_overrides(Recipe(), [synonyms()[word]])
    assert advice(word, "1").startswith(f"write {key}=")


def test_a_recipe_file_is_met_in_the_same_way():
    for tree in ({"epochs": 3}, {"training": {"epochs": 3}}):
        with pytest.raises(RecipeError) as caught:
            build(tree)
        assert caught.value.hint == "write training.duration='3 epochs'"
    with pytest.raises(RecipeError) as caught:
        build({"training": 3})
    assert caught.value.hint.startswith("its keys: duration, ")


def test_a_key_of_another_kind_names_that_kind():
    assert hint("optimizer.kind=adamw", "optimizer.momentum=0.9").startswith(
        "it is a key of kind sgd, rmsprop, muon; "
    )
    assert hint("model.norm.num_groups=2").startswith("it is a key of kind group; ")


def test_what_no_recipe_says():
    assert "CIFARLAB_DEVICE" in hint("device=cpu") and "no loader workers" in hint("num_workers=2")


def test_a_list_is_left_to_who_types_it():
    assert advice("learning_rate", [1, 2]) == "write optimizer.lr=..."
    assert advice("epochs") == "write training.duration='30 epochs'"
    assert advice("qqq", 1) is None
