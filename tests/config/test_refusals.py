"""Each refusal: the path and what was wrong in one line, what is allowed or nearest in the next."""

import pytest
from other_values import KEYS, NEEDS, base_tree, other

from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, change, apply_overrides
from cifarlab.system.errors import RecipeError

LIST = "'cifarlab recipes keys' lists every setting"
MODELS = "Allowed: residual, cnn, speed"
FREE = ["model.norm.kind=none", "model.weight_standardisation=true"]


def refusal(*assignments):
    with pytest.raises(RecipeError) as caught:
        apply_overrides(Recipe(), assignments)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "nearest"),
    [
        ("optimizer.rat=1", "optimizer.rate"),
        ("optimzer.rate=1", "optimizer.rate"),
        ("data.images.sizes=8", "data.images.size"),
        ("training.batchsize=64", "training.batch_size"),
        ("sed=1", "seed"),
        ("model.dropout.rate=1", "model.dropout"),
        ("model.norm.momentun=0.5", "model.norm.momentum"),
        ("training.selection.shares=0.5", "training.selection.share"),
    ],
)
def test_an_unknown_key_names_the_nearest(assignment, nearest):
    key = assignment.partition("=")[0]
    expected = f"command line: unknown key '{key}'\ndid you mean '{nearest}'? {LIST}"
    assert refusal(assignment) == expected


def test_a_key_like_nothing_at_all():
    assert refusal("qqqq=1") == f"command line: unknown key 'qqqq'\n{LIST}"


def test_a_key_of_another_kind_is_unknown():
    assert refusal("optimizer.kind=adamw", "optimizer.momentum=0.9").startswith(
        "command line: unknown key 'optimizer.momentum'\n"
    )


@pytest.mark.parametrize(
    ("tree", "unknown", "hint"),
    [
        ({"modle": {}}, "modle", "did you mean 'model'? Allowed: name, seed, data, "),
        ({"data": {"seed": 1}}, "data.seed", "did you mean 'split_seed'? Allowed: source, "),
        ({"augment": {"crop": {"pad": 1}}}, "augment.crop.pad", "Allowed: padding, mode"),
        ({"model": {"kind": "cnn", "stem": 1}}, "model.stem", "Allowed: kind, "),
        ({"schedule": {"factor": 0.3}}, "schedule.factor", "Allowed: kind, warmup, final"),
        (
            {"model": {"kind": "speed", "norm": {"momentun": 0.5}}},
            "model.norm.momentun",
            "did you mean 'momentum'? Allowed: kind, scale, eps, momentum",
        ),
        (
            {"model": {"norm": {"kind": "group", "momentum": 0.5}}},
            "model.norm.momentum",
            "Allowed: kind, scale, eps, groups",
        ),
        (
            {"augment": {"sizes": [{"start": "0 steps", "pixels": 8, "pixel": 8}]}},
            "augment.sizes.0.pixel",
            "did you mean 'pixels'? Allowed: start, pixels",
        ),
        (
            {"optimizer": {"kind": "muon", "others": {"betas": [0, 0]}}},
            "optimizer.others.betas",
            "Allowed: rate, momentum, nesterov, weight_decay",
        ),
        ({"averaging": {"decay": 0.9}}, "averaging.decay", "Allowed: kind"),
    ],
)
def test_an_unknown_key_in_a_tree_lists_what_its_part_has(tree, unknown, hint):
    with pytest.raises(RecipeError) as caught:
        build(tree, "mine.yaml")
    what, second = str(caught.value).split("\n")
    assert what == f"mine.yaml: unknown key '{unknown}'"
    assert hint in second


@pytest.mark.parametrize(
    ("assignment", "what", "hint"),
    [
        ("augment.flip=randon", "augment.flip can't be 'randon'", "did you mean 'random'? Allow"),
        ("augment.crop.mode=3", "augment.crop.mode can't be 3", "Allowed: zero, reflect"),
        ("evaluation.views=3", "evaluation.views can't be 3", "Allowed: 1, 2, 6, 10"),
        ("model.kind=resnet", "model.kind can't be 'resnet'", MODELS),
        ("model.kind=cn", "model.kind can't be 'cn'", "did you mean 'cnn'?"),
        ("model.norm.kind=bach", "model.norm.kind can't be 'bach'", "did you mean 'batch'? Allo"),
        ("model.order=[conf]", "model.order.0 can't be 'conf'", "did you mean 'conv'? Allowed: "),
        ("optimizer.kind=adan", "optimizer.kind can't be 'adan'", "did you mean 'adam'? Allowed"),
        ("model.activation=rellu", "model.activation can't be 'rellu'", "did you mean 'relu'?"),
        (
            "training.extensions=[{duration: 3 epochs, schedule: hod}]",
            "training.extensions.0.schedule can't be 'hod'",
            "did you mean 'hold'? Allowed: hold, restart, stretch",
        ),
    ],
)
def test_a_value_that_is_no_choice_names_the_nearest_and_all(assignment, what, hint):
    first, second = refusal(assignment).split("\n")
    assert first == f"command line: {what}"
    assert hint in second


@pytest.mark.parametrize(
    ("assignment", "what"),
    [
        ("seed=-1", "seed can't be -1: input should be greater than or equal to 0"),
        ("seed=4294967296", "seed can't be 4294967296: input should be less than or equal to"),
        ("seed=1.5", "seed can't be 1.5: input should be a valid integer"),
        ("seed=many", "seed can't be 'many': input should be a valid integer"),
        ("data.validation=1", "data.validation can't be 1: input should be less than 1"),
        ("data.test=0", "data.test can't be 0: input should be greater than 0"),
        ("data.images.size=97", "data.images.size can't be 97: input should be less than or"),
        ("data.source=3", "data.source can't be 3: input should be a valid string"),
        ("optimizer.rate=0", "optimizer.rate can't be 0: input should be greater than 0"),
        ("optimizer.rate=.nan", "optimizer.rate can't be nan: input should be a finite number"),
        ("optimizer.rate=.inf", "optimizer.rate can't be inf: input should be a finite number"),
        ("optimizer.nesterov=2", "optimizer.nesterov can't be 2: input should be a valid bool"),
        ("model.blocks=[1, 1, 1, 0]", "model.blocks.3 can't be 0: input should be greater than"),
        ("model.blocks=[]", "model.blocks can't be []: "),
        ("model.strides=[5, 1, 1, 1]", "model.strides.0 can't be 5: input should be less than"),
        ("training={batch_size: 0}", "training.batch_size can't be 0: input should be greater"),
        ("name=a b", "name can't be 'a b': string should match pattern"),
        ("training.duration=30", "training.duration: 30 has no unit: write '30 epochs', "),
        ("model.norm.momentum=1", "model.norm.momentum can't be 1: input should be less than 1"),
        ("training.selection.share=0", "training.selection.share can't be 0: input should be gre"),
        ("training.micro_batch=1", "training.micro_batch can't be 1: input should be greater th"),
        ("evaluation.unsure=0", "evaluation.unsure can't be 0: input should be greater than 0"),
        ("evaluation.tta_threshold=1", "evaluation.tta_threshold can't be 1: input should be less"),
        ("augment.sizes=[{start: 3, pixels: 8}]", "augment.sizes.0.start: 3 has no unit: write"),
        (
            "augment.sizes=[{start: 0 steps, pixels: 8}, {start: 1 epoch, pixels: 97}]",
            "augment.sizes.1.pixels can't be 97: input should be less than or equal to 96",
        ),
        ("augment.sizes=[{start: 0 steps}]", "augment.sizes.0.pixels is missing"),
        ("schedule.warmup=soon", "schedule.warmup: 'soon' is no duration: write '30 epochs', "),
    ],
)
def test_a_wrong_type_or_range_names_the_path_the_value_and_what_is_allowed(assignment, what):
    first, second = refusal(assignment).split("\n")
    assert first.startswith(f"command line: {what}")
    assert second == LIST


def test_a_value_inside_a_list_of_a_kind():
    what = "command line: schedule.milestones.1: 3 has no unit: write "
    message = refusal("schedule.kind=multistep", "schedule.milestones=[2 epochs, 3]")
    assert message.startswith(what)


@pytest.mark.parametrize(
    "assignment",
    [
        "seed=true",
        "optimizer.rate=yes",
        "training.batch_size=true",
        "evaluation.views=true",
        "model.norm.momentum=no",
        "averaging.kind=yes",
    ],
)
def test_true_is_no_number(assignment):
    assert refusal(assignment).startswith(f"command line: {assignment.partition('=')[0]} can't be")


@pytest.mark.parametrize(
    ("assignments", "what"),
    [
        (["model.blocks=[1, 1]"], "model: blocks, channels and strides name 2, 4 and 4 stages"),
        (["model.dropout=[0.1, 0.2]"], "model: dropout names 2 stages, blocks 4: give each"),
        (["model.order=[conv, norm, add]"], "model: order needs two convolutions, not 1"),
        (["model.order=[conv, conv, conv, add]"], "model: order needs two convolutions, not 3"),
        (
            ["model.block=bottleneck", "model.order=[conv, add]"],
            "model: order needs two or three convolutions, not 1",
        ),
        (["model.order=[conv, add, conv]"], "model: order needs one add, after its last conv"),
        (["model.order=[conv, conv]"], "model: order needs one add, after its last conv"),
        (
            ["model.order=[conv, act, conv, add]", "model.dropout=0.1"],
            "model: dropout is 0.1, but no place has it: put 'dropout' into the order",
        ),
        (
            ["model.order=[conv, act, conv, add]", "model.norm.kind=layer"],
            "model: norm is set, but no place has it: put 'norm' into order",
        ),
        (FREE, "model: a normaliser-free network (norm none, weight_standardisation) needs an o"),
        (["model.alpha=0.5"], "model: alpha needs norm.kind none and weight_standardisation"),
        (["model.alpha=0.5", FREE[0]], "model: alpha needs norm.kind none and weight_standa"),
        (["model.alpha=0.5", FREE[1]], "model: alpha needs norm.kind none and weight_standa"),
        (["model.input_norm=true", FREE[0]], "model: input_norm needs another norm.kind"),
        (["model.initialisation=dirac", FREE[1]], "model: weight_standardisation would undo"),
        (["model={kind: cnn, block: [act]}"], "model: block needs a conv"),
        (["model={kind: cnn, dense_order: [act]}"], "model: dense_order needs 'dense' once"),
        (["model={kind: cnn, dense_order: [dense, dense]}"], "model: dense_order needs 'dense'"),
        (["model={kind: cnn, norm: {eps: 0.1}}"], "model: norm is set, but no place has it"),
        (
            ["model={kind: cnn, dense_order: [norm, dense], norm: {kind: instance}}"],
            "model: norm.kind instance leaves nothing of a dense layer",
        ),
        (["model={kind: cnn, dropout: [0.1, 0.1]}"], "model: dropout can't be 2 rates: give one"),
        (
            ["model={kind: cnn, dense: [9, 9], dropout: [0, 0, 0, 0, 0, 0]}"],
            "model: dropout can't be 6 rates: give one for all, or one for each of the 3 blocks",
        ),
        (
            ["model={kind: cnn, block: [conv, pool], dropout: [0.1, 0, 0, 0]}"],
            "model: dropout is 0.1, but no place has it",
        ),
        (
            ["model={kind: cnn, dense_order: [dense], dropout: [0, 0, 0, 0.1]}"],
            "model: dropout is 0.1, but no place has it",
        ),
        (
            ["model={kind: cnn, block: [conv], dense_order: [dense], dropout: 0.1}"],
            "model: dropout is 0.1, but no place has it",
        ),
        (
            ["model={kind: cnn, dense: [], dense_order: [dense, norm]}"],
            "model: dense_order would do nothing without dense",
        ),
        (["optimizer.nesterov=true", "optimizer.momentum=0"], "optimizer: nesterov needs mom"),
        (["optimizer.kind=muon", "optimizer.momentum=0"], "optimizer: nesterov needs momentum"),
        (["optimizer.kind=muon", "optimizer.others.momentum=0"], "optimizer.others: nesterov nee"),
        (["model.kind=speed", "model.shortcut=true", "model.depth=1"], "model: a shortcut needs"),
        (
            ["model.kind=speed", "model.shortcut=true", "model.depth=[2, 1, 2]"],
            "model: a shortcut needs",
        ),
        (["model.kind=speed", "model.depth=[2, 3]"], "model: depth names 2 groups, channels 3"),
        (["optimizer.kind=adamw", "schedule.final_momentum=0.5"], "schedule.final_momentum needs"),
        (["optimizer.kind=rmsprop", "schedule.final_momentum=0.5"], "schedule.final_momentum nee"),
        (
            ["model.kind=cnn", "training.selection={share: 0.5, pixels: 16}"],
            "augment.sizes and training.selection.pixels need",
        ),
        (["training.patience=2", "data.validation=0"], "training.patience watches the validation"),
        (["schedule.kind=plateau", "data.validation=0"], "schedule.kind=plateau watches the val"),
        (["evaluation.checkpoint=best", "data.validation=0"], "evaluation.checkpoint=best sel"),
        (
            ["evaluation.unsure=0.25"],
            "evaluation: unsure=0.25 gives some images further views, but views is 1: "
            "take views=2, 6 or 10, or unsure=1",
        ),
        (
            ["evaluation.tta_threshold=0.5"],
            "evaluation: tta_threshold=0.5 gives some images further views, but views is 1: "
            "take views=2, 6 or 10, or tta_threshold=null",
        ),
        (
            ["evaluation.views=6", "evaluation.unsure=0.25", "evaluation.tta_threshold=0.5"],
            "evaluation: tta_threshold=0.5 says which images are unsure, and so does unsure=0.25: "
            "take unsure=1, or tta_threshold=null",
        ),
        (
            ["evaluation.views=6", "evaluation.unsure=0.25", "data.validation=0"],
            "evaluation.unsure=0.25 is found on validation images, but data.validation is 0: take "
            "evaluation.unsure=1, with evaluation.tta_threshold where only some",
        ),
    ],
)
def test_settings_that_contradict_each_other(assignments, what):
    first, second = refusal(*assignments).split("\n")
    assert first.startswith(f"command line: {what}")
    assert second == LIST


@pytest.mark.parametrize(
    "key",
    [k for k in KEYS if k.path in NEEDS and k.kind != "speed"],  # whose whitening has a kernel
    ids=lambda k: f"{k.kind} {k.path}",
)
def test_a_setting_that_would_do_nothing_is_refused(key):
    """Each that needs another one, alone."""
    alone = build(base_tree(key, needs={}))
    with pytest.raises(RecipeError) as caught:
        change(alone, {key.path: other(key)})
    assert any(name in caught.value.what for name in key.path.split(".")[1:])


@pytest.mark.parametrize("length", ["0 epochs", "0 steps", "0.5 of the run"])
def test_a_length_that_is_none_names_its_own_path(length):
    first = refusal(f"training.duration={length}").split("\n")[0]
    assert f"'{length}' is no length: write epochs or steps above 0" in first
    assert "training.duration" in first  # not just "training": an extension may be meant


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("seed", "'seed' is no key=value\nwrite e.g. optimizer.rate=0.05"),
        ("seed=[1", "can't read 'seed=[1' as YAML\nquote the value"),
        ("seed={a: 1, a: 2}", "can't read 'seed={a: 1, a: 2}' as YAML\nquote the value"),
        ("name=2024-99-99", "can't read 'name=2024-99-99' as YAML\nquote the value"),
        ("seed=0b_", "can't read 'seed=0b_' as YAML\nquote the value"),
    ],
)
def test_what_is_no_assignment(assignment, message):
    assert refusal(assignment) == message


@pytest.mark.parametrize("length", ["1e309 steps", "1e400 epochs"])
def test_a_length_beyond_all_numbers(length):
    assert refusal(f"training.duration={length}").startswith("command line: training.duration")
