"""Every recipe that ships: it builds, survives YAML, and has the parameters that it claims."""

import re

import pytest

from cifarlab.models.build import count_parameters
from cifarlab.recipes.catalog import describe, find, shipped_recipes
from cifarlab.recipes.text import from_yaml, to_yaml

ALL = shipped_recipes()
every = pytest.mark.parametrize("name", ALL)
PARAMETERS = {
    "fudan/resnet10": 4_903_242,
    "fudan/resnet16": 4_909_642,
    "fudan/resnet24": 4_935_242,
    "fudan/resnet48": 4_994_378,
    "nyu2024/resnet": 4_709_914,
    "resnet18": 11_173_962,
    "asha2021/resnet34-schedule": 21_282_122,
    "kth2022/baseline": 550_570,
    "kth2024/baseline": 550_570,
    "kth2024/dropout": 550_570,
}


@every
def test_it_carries_its_name_and_is_the_same_each_time(name):
    assert find(name).name == name
    assert find(name) == find(name)


@every
def test_it_survives_yaml_with_its_text_as_comments(name, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(describe(name) + to_yaml(find(name)), encoding="utf-8")
    assert from_yaml(path) == find(name)


@every
def test_its_text_gives_the_command_and_the_source(name):
    text = ALL[name].text
    assert re.findall(r"Command: cifarlab train (\S+)\s", text) == [name]
    assert re.search(r"Source: \S", text)


@every
def test_a_parameter_count_in_its_text_is_true(name):
    claimed = re.findall(r"([\d,]+) parameters", ALL[name].text)
    true = f"{count_parameters(find(name).model):,}"
    assert claimed in ([], [true])


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_parameters_at_32_pixels_and_10_classes(name, parameters):
    assert count_parameters(find(name).model) == parameters


def test_the_text_as_comments():
    lines = describe("quickstart").splitlines()
    assert lines[0] == "# A small residual network on scikit-learn's embedded digits (8 x 8, grey)."
    assert lines[1] == "#"
    assert all(line.startswith("#") for line in lines)
    assert describe("mine.yaml") == ""
