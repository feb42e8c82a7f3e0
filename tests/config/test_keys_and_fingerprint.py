"""``keys`` lists every setting truly, and every one of them but the name is in the fingerprint."""

import re
from operator import attrgetter

import pytest
import yaml
from other_values import KEYS, OTHER, TAGGED, base, changed, each_key, tree_at

from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import apply_overrides, build, change, fingerprint
from cifarlab.system.errors import RecipeError

DEFAULT_KINDS = {part: attrgetter(part)(Recipe()).kind for part in TAGGED}


def kinds(part):
    return next(key.allowed_values for key in KEYS if key.path == f"{part}.kind").split(" | ")


def leaves(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@each_key
def test_every_key_but_the_name_is_in_the_fingerprint(key):
    assert changed(key) != base(key)
    assert (fingerprint(changed(key)) == fingerprint(base(key))) == (
        key.path in ("name", "data.source.folder")  # its content decides
    )


@pytest.mark.parametrize(
    "extension",
    [{"duration": "2 epochs", "schedule": "hold"}, {"duration": "1 epoch", "schedule": "restart"}],
)
def test_an_extension_is_in_the_fingerprint_with_all_that_it_says(extension):
    first = change(Recipe(), {"training.extensions": OTHER["training.extensions"]})
    other = change(Recipe(), {"training.extensions": [extension]})
    assert fingerprint(first) != fingerprint(other)


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ({"training": {"duration": "1 epochs"}}, {"training": {"duration": "1.0 epoch"}}),
        ({"optimizer": {"lr": 1}}, {"optimizer": {"lr": 1.0}}),
        ({"model": {"kind": "resnet"}}, {}),
        ({"seed": 0, "name": "a"}, {"name": "b"}),
    ],
)
def test_the_same_settings_written_differently_have_one_fingerprint(first, other):
    assert fingerprint(build(first)) == fingerprint(build(other))


def test_different_lengths_have_different_fingerprints():
    # one epoch has 1 step: the first is half a step, rounded up; the second rounds to none
    trees = [{"schedule": {"warmup": f"{n} epochs"}} for n in (0.5, 0.49999999999999)]
    assert len({fingerprint(build(tree)) for tree in trees}) == 2


@each_key
def test_every_key_has_a_meaning(key):
    assert len(key.meaning) > 3


@each_key
def test_the_printed_default_is_the_schema_s(key):
    assert apply_overrides(changed(key), [f"{key.path}={key.default}"]) == base(key)


@pytest.mark.parametrize(("part", "kind"), [(p, k) for p in TAGGED for k in kinds(p)])
def test_the_keys_are_all_leaves_of_the_schema(part, kind):
    tree = tree_at(part, {"kind": kind})
    assert keys_of_kinds({"", *(DEFAULT_KINDS | {part: kind}).values()}, "batch") == paths_of(tree)


@pytest.mark.parametrize("norm", ["batch", "layer", "group", "instance", "none"])
@pytest.mark.parametrize("model", ["resnet", "airbench"])
def test_the_keys_of_a_part_inside_a_part_are_all_leaves_of_the_schema(model, norm):
    tree = {"model": {"kind": model, "norm": {"kind": norm}}}
    assert keys_of_kinds({"", *(DEFAULT_KINDS | {"model": model}).values()}, norm) == paths_of(tree)


def keys_of_kinds(kinds, norm):
    """The listed keys of parts of these kinds, with this kind of normalisation in them."""
    of_kinds = kinds | {f"{kind}, {norm}" for kind in kinds}
    return {key.path for key in KEYS if key.kind in of_kinds}


def paths_of(tree):
    """The keys of the whole recipe of that tree."""
    return set(leaves(build(tree).model_dump(mode="json")))


def test_no_two_parts_have_the_same_kind():
    # the list says only the kind that has a key
    names = [kind for part in TAGGED for kind in kinds(part)]
    with_keys = [name for name in names if name in {key.kind for key in KEYS}]
    assert len(set(with_keys)) == len(with_keys)


def test_every_part_of_several_kinds_is_known_as_such():
    tagged = {key.path for key in KEYS if key.path.endswith(".kind")}
    assert tagged == {
        *(f"{part}.kind" for part in TAGGED),
        "model.norm.kind",
        "schedule.monitor.kind",
    }


def test_no_key_is_listed_twice():
    assert len({(key.path, key.kind) for key in KEYS}) == len(KEYS)


def test_the_keys_inside_a_list_are_listed_with_their_bounds():
    # the hint of every refusal says that this list has every setting
    values = {key.path: key.allowed_values for key in KEYS}
    assert "schedule: hold | restart | stretch" in values["training.extensions"]
    assert (
        values["augment.progressive_resize"]
        == "list of {start: duration, pixels: integer >= 4 <= 96}"
    )


@pytest.mark.parametrize(
    ("path", "kind", "default"),
    [
        ("model.norm.scale", "resnet, batch", "true"),
        ("model.norm.scale", "airbench, batch", "false"),
        ("model.norm.momentum", "resnet, batch", "0.1"),
        ("model.norm.momentum", "airbench, batch", "0.4"),
        ("model.norm.scale", "airbench, layer", "true"),
        ("model.norm.num_groups", "cnn, group", "8"),
        ("model.norm.kind", "resnet", "batch"),
        ("model.whitening.kernel_size", "airbench", "2"),
        ("optimizer.aux_sgd.nesterov", "muon", "true"),
        ("training.micro_batch_size", "", "null"),
        ("training.selective_backprop.start", "", "0 of the run"),
        ("averaging.kind", "", "none"),
        ("augment.progressive_resize", "", "[]"),
    ],
)
def test_the_default_is_the_one_of_its_kind(path, kind, default):
    assert [k.default for k in KEYS if (k.path, k.kind) == (path, kind)] == [default]


def test_the_bounds_stand_beside_the_type_that_they_are_of():
    values = {key.path: key.allowed_values for key in KEYS}
    assert values["data.images.size"] == "integer >= 8 <= 96 | null"
    assert values["schedule.final_momentum"] == "number >= 0 < 1 | null"
    assert values["optimizer.head.weight_decay"] == "number >= 0 | null"


@pytest.mark.parametrize(
    "key",
    [k for k in KEYS if " | " in k.allowed_values and not k.allowed_values.startswith("list")],
    ids=lambda k: f"{k.kind} {k.path}",
)
def test_every_choice_that_is_printed_is_taken(key):
    words = {"integer": "8", "number": "0.5", "duration": "1 epoch", "time": "1 min"}
    words["{n_splits:"] = "{n_splits: 3, index: 1}"
    words["{monitor:"] = "{patience: 3}"
    words["{text:"] = "{cat: 2}"
    digests = "0" * 64, "1" * 64
    words["{teacher:"] = f"{{teacher: runs/a, weights_sha256: '{digests[0]}'}}"
    words["{members:"] = f"{{method: soup, members: ['{digests[0]}', '{digests[1]}']}}"
    words |= {"text": __file__} if key.path.endswith(".file") else {}
    for choice in re.split(r" \| (?![^{]*\})", key.allowed_values):  # of none inside of braces
        word = choice.split(" ")[0]
        assert apply_overrides(base(key), [f"{key.path}={words.get(word, word)}"])


@pytest.mark.parametrize(
    "key",
    [k for k in KEYS if "<= " in k.allowed_values and "{" not in k.allowed_values],
    ids=lambda k: f"{k.kind} {k.path}",
)
def test_the_largest_value_that_is_printed_is_taken_and_no_more(key):
    largest = float(key.allowed_values.split("<= ")[1].split(" ")[0])
    entries = len(yaml.safe_load(key.default)) if key.allowed_values.startswith("list") else None

    def setting(value):
        return value if entries is None else [int(value)] * entries

    change(base(key), {key.path: setting(largest)})
    with pytest.raises(RecipeError, match="less than or equal"):
        change(base(key), {key.path: setting(largest + 1)})


def test_a_key_that_is_added_later_changes_a_fingerprint_only_off_its_default() -> None:
    class LaterData(type(Recipe().data)):
        new_key: int = 0

    class LaterRecipe(Recipe):
        data: LaterData = LaterData()

    recipe = build({"data": {"val_fraction": 0.2}, "optimizer": {"lr": 0.05}})
    later = LaterRecipe.model_validate(recipe.model_dump(mode="json"))
    assert later.data.new_key == 0 and fingerprint(later) == fingerprint(recipe)
    changed_recipe = LaterRecipe.model_validate({"data": {"val_fraction": 0.2, "new_key": 1}})
    assert fingerprint(changed_recipe) != fingerprint(build({"data": {"val_fraction": 0.2}}))
