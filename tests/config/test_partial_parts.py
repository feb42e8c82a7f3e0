"""A part given in part starts from the default that its parent has for it, at any depth."""

from typing import Annotated, Literal

import pytest
from other_values import base_tree, changed, each_key, merge, other, tree_at
from pydantic import Field

from cifarlab.config.base import Config
from cifarlab.models.airbench import AirbenchConfig
from cifarlab.models.norm_configs import BatchNormConfig, GroupNormConfig
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import apply_overrides, build, change, from_yaml

NORM = BatchNormConfig(
    scale=False, momentum=0.7, eps=1e-12
)  # the airbench network's, one key changed
AIRBENCH = {"kind": "airbench", "norm": {"momentum": 0.7}}


@each_key
def test_one_key_given_alone_keeps_all_other_defaults_of_its_kind(key):
    """The least tree that holds the value, against a change of the complete recipe."""
    tree = merge(base_tree(key), tree_at(key.path, other(key)))
    assert build(tree) == changed(key)


def test_the_class_s_own_defaults_differ():
    # else the tests here could not fail
    assert BatchNormConfig(momentum=0.7) != NORM


def test_in_a_tree():
    assert build({"model": AIRBENCH}).model.norm == NORM
    assert (
        build(
            {"model": {"kind": "airbench", "whitening": {"images": 7}}}
        ).model.whitening.kernel_size
        == 2
    )


def test_in_a_yaml_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("model:\n  kind: airbench\n  norm: {momentum: 0.7}\n")
    assert from_yaml(tmp_path / "mine.yaml").model.norm == NORM


@pytest.mark.parametrize(
    "assignments",
    [
        ["model={kind: airbench, norm: {momentum: 0.7}}"],
        ["model.kind=airbench", "model.norm.momentum=0.7"],
        ["model.norm.momentum=0.7", "model.kind=airbench"],
        ["model.kind=airbench", "model.norm={momentum: 0.7}"],
        ["model={kind: airbench}", "model.norm={momentum: 0.9}", "model.norm.momentum=0.7"],
    ],
    ids=" ".join,
)
def test_on_the_command_line(assignments):
    assert apply_overrides(Recipe(), assignments).model.norm == NORM


def test_a_whole_part_starts_from_the_default_not_from_what_was_there():
    recipe = build({"model": {"kind": "airbench", "norm": {"eps": 0.1}}})
    assert change(recipe, {"model.norm": {"momentum": 0.7}}).model.norm == NORM
    assert change(recipe, {"model.norm.momentum": 0.7}).model.norm.eps == 0.1


@pytest.mark.parametrize(
    "assignments",
    [
        ["model.kind=airbench", "model.norm.kind=group", "model.norm.num_groups=4"],
        ["model.norm.num_groups=4", "model.norm.kind=group", "model.kind=airbench"],
        ["model.norm={kind: group, num_groups: 4}", "model.kind=airbench"],
        ["model={kind: airbench, norm: {kind: group}}", "model.norm.num_groups=4"],
    ],
    ids=" ".join,
)
def test_another_kind_of_an_inner_part_starts_from_that_kind_s_defaults(assignments):
    assert apply_overrides(Recipe(), assignments).model.norm == GroupNormConfig(num_groups=4)


def test_the_usual_kind_of_an_inner_part_is_its_parent_s():
    other = change(build({"model": AIRBENCH}), {"model.norm.kind": "layer"})
    assert change(other, {"model.norm.kind": "batch"}) == build({"model": {"kind": "airbench"}})


def test_in_python():
    assert AirbenchConfig(norm={"momentum": 0.7}).norm == NORM
    assert AirbenchConfig(norm=BatchNormConfig(momentum=0.7)).norm == BatchNormConfig(
        momentum=0.7
    )  # a value: as it is


def test_settings_that_are_complete_are_taken_as_they_are():
    settings = {"scale": True, "momentum": 0.1, "eps": 0.2}
    assert build({"model": {"kind": "airbench", "norm": settings}}).model.norm == BatchNormConfig(
        **settings
    )
    assert build({"model": {"kind": "airbench", "norm": {}}}) == build(
        {"model": {"kind": "airbench"}}
    )


class Inner(Config):
    a: int = 1
    b: int = 2


class Round(Config):
    kind: Literal["round"] = "round"
    inner: Inner = Inner(a=10)
    c: int = 3


class Square(Config):
    kind: Literal["square"] = "square"
    inner: Inner = Inner(b=20)
    c: int = 4


class Outer(Config):
    shape: Annotated[Round | Square, Field(discriminator="kind")] = Square(
        inner=Inner(a=100, b=200), c=5
    )


@pytest.mark.parametrize(
    ("tree", "shape"),
    [
        ({}, Square(inner=Inner(a=100, b=200), c=5)),
        ({"shape": {}}, Square(inner=Inner(a=100, b=200), c=5)),
        ({"shape": {"c": 6}}, Square(inner=Inner(a=100, b=200), c=6)),
        ({"shape": {"inner": {"a": 7}}}, Square(inner=Inner(a=7, b=200), c=5)),
        ({"shape": {"kind": "square", "inner": {"a": 7}}}, Square(inner=Inner(a=7, b=200), c=5)),
        ({"shape": {"kind": "round"}}, Round(inner=Inner(a=10, b=2), c=3)),
        ({"shape": {"kind": "round", "inner": {"b": 8}}}, Round(inner=Inner(a=10, b=8), c=3)),
    ],
    ids=str,
)
def test_a_default_s_default_at_any_depth_and_of_its_own_kind_only(tree, shape):
    assert Outer.model_validate(tree).shape == shape
