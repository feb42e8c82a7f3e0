"""``keys`` lists every setting truly, and every one of them but the name is in the fingerprint."""

import pytest

from cifarlab.errors import RecipeError
from cifarlab.recipe import Recipe, build, change, fingerprint, keys, overridden

KEYS = list(keys())
# For each setting a value that is not its default. A new setting must be added here.
OTHER = {
    "name": "mine",
    "seed": 1,
    "data.source": "digits",
    "data.labels": "coarse",
    "data.images.size": 16,
    "data.images.fit": "pad",
    "data.images.channels": "grey",
    "data.images.broken": "skip",
    "data.validation": 0.2,
    "data.test": 0.3,
    "data.split_seed": 1,
    "data.normalisation": "unit",
    "augment.crop.padding": 1,
    "augment.crop.mode": "reflect",
    "augment.flip": "random",
    "model.kind": "classic_cnn",
    "model.activation": "gelu",
    "model.stem": 32,
    "model.blocks": [2, 2, 2, 1],
    "residual model.channels": [64, 128, 256, 511],
    "tutorial_cnn model.channels": [32, 64, 127],
    "classic_cnn model.channels": [6, 17],
    "model.strides": [1, 2, 2, 1],
    "model.shortcut_kernel": 3,
    "residual model.dropout": 0.1,
    "tutorial_cnn model.dropout": [0, 0, 0, 0.1],
    "classic_cnn model.dropout": 0.1,
    "model.dropout_place": "head",
    "tutorial_cnn model.dense": 127,
    "classic_cnn model.dense": [120, 85],
    "optimizer.kind": "adamw",
    "optimizer.rate": 0.2,
    "optimizer.momentum": 0.8,
    "optimizer.nesterov": True,
    "optimizer.weight_decay": 0.1,
    "optimizer.betas": [0.9, 0.99],
    "optimizer.eps": 1e-6,
    "schedule.kind": "constant",
    "schedule.warmup": "1 epoch",
    "schedule.milestones": ["1 epoch"],
    "schedule.factor": 0.2,
    "schedule.final": 0.5,
    "training.duration": "30 steps",
    "training.extensions": [{"duration": "1 epoch", "schedule": "hold"}],
    "training.batch_size": 127,
    "training.precision": "float32",
    "training.label_smoothing": 0.1,
    "training.clip_norm": 1.0,
    "evaluation.checkpoint": "best",
    "evaluation.views": 2,
}


def base(key):
    """The default recipe, of the kind that has this key."""
    part = key.path.partition(".")[0]
    return build({part: {"kind": key.kind}} if key.kind else {})


def changed(key):
    value = OTHER.get(f"{key.kind} {key.path}", OTHER.get(key.path))
    return change(base(key), {key.path: value})


def kinds(part):
    return next(key.allowed for key in KEYS if key.path == f"{part}.kind").split(" | ")


def leaves(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


ids = [f"{key.path}{key.kind and ' of '}{key.kind}" for key in KEYS]
each_key = pytest.mark.parametrize("key", KEYS, ids=ids)


@each_key
def test_every_key_but_the_name_is_in_the_fingerprint(key):
    assert changed(key) != base(key)
    assert (fingerprint(changed(key)) == fingerprint(base(key))) == (key.path == "name")


@pytest.mark.parametrize(
    "extension",
    [{"duration": "2 epochs", "schedule": "hold"}, {"duration": "1 epoch", "schedule": "restart"}],
)
def test_an_extension_is_in_the_fingerprint_with_all_that_it_says(extension):
    one = change(Recipe(), {"training.extensions": OTHER["training.extensions"]})
    other = change(Recipe(), {"training.extensions": [extension]})
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"training": {"duration": "1 epochs"}}, {"training": {"duration": "1.0 epoch"}}),
        ({"optimizer": {"rate": 1}}, {"optimizer": {"rate": 1.0}}),
        ({"model": {"kind": "residual"}}, {}),
        ({"seed": 0, "name": "a"}, {"name": "b"}),
    ],
)
def test_the_same_settings_written_differently_have_one_fingerprint(one, other):
    assert fingerprint(build(one)) == fingerprint(build(other))


def test_different_lengths_have_different_fingerprints():
    # one epoch has 1 step: the first is half a step, rounded up; the second rounds to none
    trees = [{"schedule": {"warmup": f"{share} epochs"}} for share in (0.5, 0.49999999999999)]
    assert len({fingerprint(build(tree)) for tree in trees}) == 2


@each_key
def test_every_key_has_a_meaning(key):
    assert len(key.meaning) > 3


@each_key
def test_the_printed_default_is_the_schema_s(key):
    assert overridden(changed(key), [f"{key.path}={key.default}"]) == base(key)


@pytest.mark.parametrize(
    ("part", "kind"), [(p, k) for p in ("model", "optimizer", "schedule") for k in kinds(p)]
)
def test_the_keys_are_all_leaves_of_the_schema(part, kind):
    others = {k for p in ("model", "optimizer", "schedule") for k in kinds(p) if p != part}
    defaults = {"", kind} | {"residual", "sgd", "cosine"} & others
    tree = build({part: {"kind": kind}}).model_dump(mode="json")
    assert {key.path for key in KEYS if key.kind in defaults} == set(leaves(tree))


def test_no_key_is_listed_twice():
    assert len({(key.path, key.kind) for key in KEYS}) == len(KEYS)


def test_the_keys_of_an_extension_are_listed_too():
    # the hint of every refusal says that this list has every setting
    assert any("hold | restart | stretch" in key.allowed for key in KEYS)


@pytest.mark.parametrize(
    "key",
    [k for k in KEYS if " | " in k.allowed and k.path != "training.extensions"],
    ids=lambda k: k.path,
)
def test_every_choice_that_is_printed_is_taken(key):
    words = {"integer": "8", "number": "8"}
    for choice in key.allowed.split(" | "):
        word = choice.split(" ")[0]
        overridden(base(key), [f"{key.path}={words.get(word, word)}"])


@pytest.mark.parametrize("key", [k for k in KEYS if "<= " in k.allowed], ids=lambda k: k.path)
def test_the_largest_value_that_is_printed_is_taken_and_no_more(key):
    most = float(key.allowed.split("<= ")[1].split(" ")[0])
    item = [int(most)] * len(getattr(base(key).model, "strides", []))
    more = [int(most) + 1] * len(item)
    is_list = key.allowed.startswith("list")
    change(base(key), {key.path: item if is_list else most})
    with pytest.raises(RecipeError, match="less than or equal"):
        change(base(key), {key.path: more if is_list else most + 1})
