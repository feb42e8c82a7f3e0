"""A recipe survives YAML, whatever is in it; what it leaves out takes its default."""

from operator import attrgetter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from other_values import TAGGED, tree_at
from pydantic import BaseModel, ValidationError
from recipe_strategies import recipes

from cifarlab.recipes.keys import keys
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, fingerprint, from_yaml, to_yaml
from cifarlab.system.errors import RecipeError


def through_a_file(recipe, folder):
    path = folder / "recipe.yaml"
    path.write_text(to_yaml(recipe), encoding="utf-8")
    return from_yaml(path)


@given(tree=recipes())
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_valid_recipe_survives_yaml(tree, tmp_path):
    recipe = build(tree)
    copy = through_a_file(recipe, tmp_path)
    assert copy == recipe
    assert fingerprint(copy) == fingerprint(recipe)
    assert to_yaml(copy) == to_yaml(recipe)


@given(tree=recipes(), data=st.data())
@settings(max_examples=50)
def test_what_is_left_out_takes_its_default(tree, data):
    left_out = data.draw(st.sampled_from(["seed", "augment", "evaluation", "model", "optimizer"]))
    del tree[left_out]
    assert getattr(build(tree), left_out) == getattr(Recipe(), left_out)


def test_the_yaml_holds_every_key_of_its_kinds():
    text = to_yaml(Recipe())
    mine = ("", *(attrgetter(part)(Recipe()).kind for part in TAGGED))
    names = [key.path.rpartition(".")[2] for key in keys() if key.kind in mine]
    assert [name for name in names if f"{name}:" not in text] == []


def test_an_empty_file_is_no_recipe(tmp_path):
    # a file emptied by accident must not become the defaults
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(RecipeError, match="is empty"):
        from_yaml(tmp_path / "empty.yaml")


@pytest.mark.parametrize("part", TAGGED)
def test_a_part_without_its_kind_is_of_the_default_kind(part):
    assert attrgetter(part)(build(tree_at(part, {}))) == attrgetter(part)(Recipe())


def test_a_part_without_its_kind_keeps_what_it_says():
    recipe = build(
        {"model": {"stem_width": 8}, "optimizer": {"lr": 1}, "schedule": {"end_factor": 0.5}}
    )
    assert (recipe.model.kind, recipe.model.stem_width) == ("resnet", 8)
    assert (recipe.optimizer.kind, recipe.optimizer.lr) == ("sgd", 1.0)
    assert (recipe.schedule.kind, recipe.schedule.end_factor) == ("cosine", 0.5)


def every_part(part: BaseModel) -> list[BaseModel]:
    inner = [v for v in part.__dict__.values() if isinstance(v, BaseModel)]
    return [part, *(p for i in inner for p in every_part(i))]


@pytest.mark.parametrize("part", every_part(Recipe()), ids=lambda part: type(part).__name__)
def test_every_part_is_frozen(part):
    name = next(iter(type(part).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(part, name, getattr(part, name))


def test_a_recipe_is_hashable_and_so_holds_nothing_mutable():
    assert hash(Recipe()) == hash(build({}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2", "key 'seed' is given twice"),
        ("model: {stem: 3, stem: 3}", "key 'stem' is given twice"),
        ("seed: [1", "is no valid YAML"),
        ("data:\n\tvalidation: 0.2", "is no valid YAML"),
        ("? {a: 1}\n: 2", "is no valid YAML"),
        ("seed: !!python/object:os.system {}", "is no valid YAML"),
        ("[seed]", "a recipe is a mapping of keys, not ['seed']"),
        ("3", "a recipe is a mapping of keys, not 3"),
        ("1: 2", "unknown key '1'"),
        ("sed: 1", "unknown key 'sed'"),
        ("data: {sourc: digits}", "unknown key 'data.sourc'"),
        ("model: {kind: cnn, stem: 3}", "unknown key 'model.stem'"),
        # PyYAML raises plain ValueError and KeyError for these
        ("name: 2024-99-99", "is no valid YAML"),
        ("seed: 0b_", "is no valid YAML"),
        ("seed: !!int many", "is no valid YAML"),
        ("optimizer: {nesterov: !!bool perhaps}", "is no valid YAML"),
    ],
)
def test_a_bad_file_is_refused_in_two_lines_that_name_it(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        from_yaml(path)
    what, hint = str(caught.value).split("\n")
    assert str(path) in what
    assert message in what
    assert hint


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xff"])
def test_a_file_that_can_not_be_read(content, tmp_path):
    path = tmp_path / "mine.yaml"
    if content:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"can't read the recipe .*mine\.yaml"):
        from_yaml(path)
