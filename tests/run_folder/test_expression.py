"""Conditions on runs: what holds, what is refused, and that nothing is executed."""

import re

import pytest

from cifarlab.recipes.keys import keys
from cifarlab.run_folder.expression import Expression, sort_order
from cifarlab.system.errors import UserError

RUN = {
    "optimizer.lr": 0.05,
    "optimizer.nesterov": True,
    "model.kind": "resnet",
    "model.depths": [2, 2],
    "training.duration": "30 epochs",
    "test.metrics.my-own": 0.5,
    "seed": 3,
}


def holds(text: str) -> bool:
    return Expression(text).holds(RUN.get)


@pytest.mark.parametrize(
    "text",
    [
        "optimizer.lr == 0.05",
        "optimizer.lr > 0.01 and model.kind == 'resnet'",
        "0.01 <= optimizer.lr < 0.1",
        "seed in (1, 2, 3) and seed not in [4]",
        "'res' in model.kind",
        "model.depths == [2, 2] and 2 in model.depths",
        "not (seed == 4 or optimizer.lr > 1)",
        "optimizer.nesterov and optimizer.nesterov == true",
        "training.duration >= '9 epochs'",
        "training.duration < '100 epochs'",
        "test.metrics.my-own > -1",
        "data.fold == null and data.fold is null and data.fold != 0",
        "  seed == 3  ",
        "optimizer.nesterov in (true, false) and data.fold in [null]",
        "seed in [optimizer.lr, seed] and model.depths == (2, 2)",
        "optimizer.lr > -1 and seed != -3",
        "optimizer.nesterov != 1 and optimizer.nesterov not in [1] and [true] != [1]",
        "3 not in data.fold",
    ],
)
def test_what_holds(text):
    assert holds(text)
    assert not holds(f"not ({text})")


@pytest.mark.parametrize(
    "text",
    ["data.fold > 0", "data.fold <= 0", "data.fold", "3 in data.fold", "data.fold == 0"],
)
def test_a_key_that_a_run_lacks_equals_nothing_and_is_in_no_order(text):
    assert not holds(text)


def test_durations_of_other_units_are_in_no_order():
    assert not holds("training.duration < '9 steps'") and not holds("training.duration > '9 steps'")


@pytest.mark.parametrize("text", ["training.duration > 30", "model.kind < 3", "seed >= 'a'"])
def test_a_number_is_not_compared_with_a_text(text):
    with pytest.raises(UserError, match="can't be compared"):
        holds(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "optimizer.lr >", "lr = 3", "a b", "seed == 3)", "((((", "x\0", "1 if a else 2"),
        *("__import__('os').system('x')", "seed + 1 > 2", "a[0]", "f(seed)", "lambda: 1"),
        *(
            "[x for x in y]",
            *("seed == {[]}", "seed == {{}}", "seed in {1, 2}", "seed in {}", "a == {1: {}}"),
            *("a > b'x'", "seed > 1j", "seed == ...", "seed in [1, {}]", "-seed > 1", "seed == ~1"),
            "(seed := 4)",
            "{**a}",
            "f'{seed}'",
            "a.b() == 1",
            "'a'.upper() == 'A'",
        ),
        "(" * 5000 + "1" + ")" * 5000,
        "not " * 100_000 + "seed",
    ],
)
def test_nothing_but_comparisons_is_read(text):
    with pytest.raises(UserError) as caught:
        holds(text)
    assert caught.value.what.startswith("can't read the condition")
    assert caught.value.hint.startswith("write e.g.") and len(caught.value.what) < 1000


@pytest.mark.parametrize(
    ("text", "part", "is_arithmetic"),
    [
        ("seed + 1 > 2", "seed + 1", True),
        ("test - val > 0", "test - val", True),
        ("-seed > 2", "-seed", True),
        ("seed > 1j", "1j", False),
    ],
)
def test_what_is_refused_is_named(text, part, is_arithmetic):
    with pytest.raises(UserError, match=re.escape(f"{part!r} is no comparison")) as caught:
        holds(text)
    assert ("there is no arithmetic" in caught.value.what) == is_arithmetic


@pytest.mark.parametrize(
    "text", ["seed in 1", "1 not in seed", "seed in true", "'a' in optimizer.lr"]
)
def test_nothing_is_in_what_is_no_list_or_text(text):
    with pytest.raises(UserError, match="it is no list or text"):
        holds(text)


@pytest.mark.parametrize(
    "text", ["seed > [1]", "model.depths <= 3", "optimizer.nesterov > false", "seed < true"]
)
def test_lists_and_truth_have_no_order(text):
    with pytest.raises(UserError, match="has no order"):
        holds(text)


def test_every_key_of_a_recipe_can_be_in_a_condition():
    for path in {key.path for key in keys()}:
        assert Expression(f"{path} == null").keys == [path]


def test_a_condition_says_its_keys():
    text = "seed > 1 and not a.b-c.d in (1, 2) or x == null"
    assert Expression(text).keys == ["seed", "a.b-c.d", "x"]


def test_values_of_any_kind_can_be_sorted():
    values = [None, "b", "30 epochs", 2.5, "9 epochs", True, "a", [1], "3 steps"]
    ordered = sorted(values, key=sort_order)
    assert ordered == [True, 2.5, "9 epochs", "30 epochs", "3 steps", [1], "a", "b", None]
