"""Each refusal: the path and what was wrong in one line, what is allowed or nearest in the next."""

import pytest
from other_values import KEYS, NEEDS, base_tree, other

from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import apply_overrides, build, change
from cifarlab.system.errors import RecipeError

LIST = "'cifarlab recipes keys' lists every setting"
MODELS = "Allowed: airbench, cnn, resnet"
FREE = ["model.norm.kind=none", "model.weight_standardization=true"]


def refusal(*assignments):
    with pytest.raises(RecipeError) as caught:
        apply_overrides(Recipe(), assignments)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "nearest"),
    [
        ("optimizer.l=1", "optimizer.lr"),
        ("optimzer.l1=1", "optimizer.l1"),
        ("data.images.sizes=8", "data.images.size"),
        ("training.batchsize=64", "training.batch_size"),
        ("sed=1", "seed"),
        ("model.dropout.rate=1", "model.dropout"),
        ("model.norm.momentun=0.5", "model.norm.momentum"),
        ("training.selective_backprop.keeps=0.5", "training.selective_backprop.keep"),
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
        ({"modle": {}}, "modle", "did you mean 'model'? Allowed: plugins, name, seed, "),
        ({"data": {"seed": 1}}, "data.seed", "did you mean 'split_seed'? Allowed: source, "),
        ({"augment": {"crop": {"pad": 1}}}, "augment.crop.pad", "Allowed: padding, padding_mode"),
        ({"model": {"kind": "cnn", "alpha": 1}}, "model.alpha", "it is a key of kind resnet"),
        ({"schedule": {"gamma": 0.3}}, "schedule.gamma", "Allowed: kind, warmup, final"),
        (
            {"model": {"kind": "airbench", "norm": {"momentun": 0.5}}},
            "model.norm.momentun",
            "did you mean 'momentum'? Allowed: kind, scale, eps, init, momentum",
        ),
        (
            {"model": {"norm": {"kind": "group", "momentum": 0.5}}},
            "model.norm.momentum",
            "Allowed: kind, scale, eps, init, num_groups",
        ),
        (
            {"augment": {"progressive_resize": [{"start": "0 steps", "pixels": 8, "pixel": 8}]}},
            "augment.progressive_resize.0.pixel",
            "did you mean 'pixels'? Allowed: start, pixels",
        ),
        (
            {"optimizer": {"kind": "muon", "aux_sgd": {"betas": [0, 0]}}},
            "optimizer.aux_sgd.betas",
            "Allowed: lr, momentum, nesterov, weight_decay",
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
        ("augment.hflip=randon", "augment.hflip can't be 'randon'", "did you mean 'random'? Allow"),
        (
            "augment.crop.padding_mode=3",
            "augment.crop.padding_mode can't be 3",
            "Allowed: constant, reflect",
        ),
        ("evaluation.tta_views=3", "evaluation.tta_views can't be 3", "Allowed: 1, 2, 6, 10"),
        ("model.kind=vit", "model.kind can't be 'vit'", MODELS),
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
        ("data.val_fraction=1", "data.val_fraction can't be 1: input should be less than 1"),
        ("data.test_fraction=0", "data.test_fraction can't be 0: input should be greater than 0"),
        ("data.images.size=97", "data.images.size can't be 97: input should be less than or"),
        ("data.source=3", "data.source can't be 3: input should be a kind's name, a path or"),
        ("optimizer.lr=0", "optimizer.lr can't be 0: input should be greater than 0"),
        ("optimizer.lr=.nan", "optimizer.lr can't be nan: input should be a finite number"),
        ("optimizer.lr=.inf", "optimizer.lr can't be inf: input should be a finite number"),
        ("optimizer.nesterov=2", "optimizer.nesterov can't be 2: input should be a valid bool"),
        ("model.depths=[1, 1, 1, 0]", "model.depths.3 can't be 0: input should be greater than"),
        ("model.depths=[]", "model.depths can't be []: "),
        ("model.strides=[5, 1, 1, 1]", "model.strides.0 can't be 5: input should be less than"),
        ("training={batch_size: 0}", "training.batch_size can't be 0: input should be greater"),
        (
            "name=a b",
            "name can't be 'a b': it has letters, digits, + - _ . and no leading dot",
        ),
        ("training.duration=30", "training.duration: 30 has no unit: write '30 epochs', "),
        ("model.norm.momentum=2", "model.norm.momentum can't be 2: input should be less than or"),
        (
            "training.selective_backprop.keep=0",
            "training.selective_backprop.keep can't be 0: input should be gre",
        ),
        (
            "training.micro_batch_size=1",
            "training.micro_batch_size can't be 1: input should be greater th",
        ),
        (
            "evaluation.tta_fraction=0",
            "evaluation.tta_fraction can't be 0: input should be greater than 0",
        ),
        ("evaluation.tta_threshold=1", "evaluation.tta_threshold can't be 1: input should be less"),
        (
            "augment.mix={kind: mixup, prob: 0}",
            "augment.mix.prob can't be 0: input should be greater than 0",
        ),
        (
            "augment.progressive_resize=[{start: 3, pixels: 8}]",
            "augment.progressive_resize.0.start: 3 has no unit: write",
        ),
        (
            "augment.progressive_resize=[{start: 0 steps, pixels: 8}, {start: 1 epoch, "
            "pixels: 97}]",
            "augment.progressive_resize.1.pixels can't be 97: input should be less than or equal "
            "to 96",
        ),
        (
            "augment.progressive_resize=[{start: 0 steps}]",
            "augment.progressive_resize.0.pixels is missing",
        ),
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
        "optimizer.lr=yes",
        "training.batch_size=true",
        "evaluation.tta_views=true",
        "model.norm.momentum=no",
        "averaging.kind=yes",
    ],
)
def test_true_is_no_number(assignment):
    assert refusal(assignment).startswith(f"command line: {assignment.partition('=')[0]} can't be")


@pytest.mark.parametrize(
    ("assignments", "what"),
    [
        (["model.depths=[1, 1]"], "model: depths, channels and strides name 2, 4 and 4 stages"),
        (["model.dropout=[0.1, 0.2]"], "model: dropout names 2 stages, depths 4: give each"),
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
            "model: dropout is 0.1, but no layer uses it: put 'dropout' into the order",
        ),
        (
            ["model.order=[conv, act, conv, add]", "model.norm.kind=layer"],
            "model: norm is set, but no layer uses it: put 'norm' into order",
        ),
        (FREE, "model: a normalizer-free network (norm none, weight_standardization) needs an o"),
        (["model.alpha=0.5"], "model: alpha needs norm.kind none and weight_standardization"),
        (["model.alpha=0.5", FREE[0]], "model: alpha needs norm.kind none and weight_standa"),
        (["model.alpha=0.5", FREE[1]], "model: alpha needs norm.kind none and weight_standa"),
        (["model.input_norm=true", FREE[0]], "model: input_norm needs another norm.kind"),
        (["model.init=dirac", FREE[1]], "model: weight_standardization would undo"),
        (["model={kind: cnn, block: [act]}"], "model: block needs a conv"),
        (["model={kind: cnn, linear_order: [act]}"], "model: linear_order needs 'linear' once"),
        (
            ["model={kind: cnn, linear_order: [linear, linear]}"],
            "model: linear_order needs 'linear'",
        ),
        (["model={kind: cnn, norm: {eps: 0.1}}"], "model: norm is set, but no layer uses it"),
        (
            ["model={kind: cnn, linear_order: [norm, linear], norm: {kind: instance}}"],
            "model: norm.kind instance leaves nothing of a linear layer",
        ),
        (["model={kind: cnn, dropout: [0.1, 0.1]}"], "model: dropout can't be 2 values: give one"),
        (
            ["model={kind: cnn, hidden_features: [9, 9], dropout: [0, 0, 0, 0, 0, 0]}"],
            "model: dropout can't be 6 values: give one for all, or one for each of the 3 blocks",
        ),
        (
            ["model={kind: cnn, block: [conv, pool], dropout: [0.1, 0, 0, 0]}"],
            "model: dropout is 0.1, but no layer uses it",
        ),
        (
            ["model={kind: cnn, linear_order: [linear], dropout: [0, 0, 0, 0.1]}"],
            "model: dropout is 0.1, but no layer uses it",
        ),
        (
            ["model={kind: cnn, block: [conv], linear_order: [linear], dropout: 0.1}"],
            "model: dropout is 0.1, but no layer uses it",
        ),
        (
            ["model={kind: cnn, hidden_features: [], linear_order: [linear, norm]}"],
            "model: linear_order would do nothing without hidden_features",
        ),
        (["optimizer.nesterov=true", "optimizer.momentum=0"], "optimizer: nesterov needs mom"),
        (["optimizer.kind=muon", "optimizer.momentum=0"], "optimizer: nesterov needs momentum"),
        (
            ["optimizer.kind=muon", "optimizer.aux_sgd.momentum=0"],
            "optimizer.aux_sgd: nesterov nee",
        ),
        (
            ["model.kind=airbench", "model.shortcut=true", "model.depths=1"],
            "model: a shortcut needs",
        ),
        (
            ["model.kind=airbench", "model.shortcut=true", "model.depths=[2, 1, 2]"],
            "model: a shortcut needs",
        ),
        (
            ["model.kind=airbench", "model.depths=[2, 3]"],
            "model: depths names 2 groups, channels 3",
        ),
        (["optimizer.kind=adamw", "schedule.final_momentum=0.5"], "schedule.final_momentum needs"),
        (
            ["optimizer.kind=rmsprop", "schedule.final_momentum=0.5"],
            "schedule.final_momentum needs an optimizer with momentum above 0: sgd or rmsprop or "
            "muon",
        ),
        (
            ["model.kind=cnn", "training.selective_backprop={keep: 0.5, image_size: 16}"],
            "augment.progressive_resize and training.selective_backprop.image_size need a network "
            "for any image size: model.kind=cnn takes one; take airbench or resnet, or leave",
        ),
        (
            ["training.early_stopping={patience: 2}", "data.val_fraction=0"],
            "training.early_stopping watches validation images",
        ),
        (["schedule.kind=plateau", "data.val_fraction=0"], "schedule.kind=plateau watches val"),
        (["evaluation.checkpoint=best", "data.val_fraction=0"], "evaluation.checkpoint=best sel"),
        (
            ["evaluation.tta_fraction=0.25"],
            "evaluation: tta_fraction=0.25 gives some images further views, but tta_views is 1: "
            "take tta_views=2, 6 or 10, or tta_fraction=1",
        ),
        (
            ["evaluation.tta_threshold=0.5"],
            "evaluation: tta_threshold=0.5 gives some images further views, but tta_views is 1: "
            "take tta_views=2, 6 or 10, or tta_threshold=null",
        ),
        (
            [
                "evaluation.tta_views=6",
                "evaluation.tta_fraction=0.25",
                "evaluation.tta_threshold=0.5",
            ],
            "evaluation: tta_threshold=0.5 says which images are unsure, and so does "
            "tta_fraction=0.25: take tta_fraction=1, or tta_threshold=null",
        ),
        (
            ["evaluation.tta_views=6", "evaluation.tta_fraction=0.25", "data.val_fraction=0"],
            "evaluation.tta_fraction=0.25 is found on validation images, but data.val_fraction is "
            "0: hold some out, or take evaluation.tta_fraction=1, with evaluation.tta_threshold",
        ),
    ],
)
def test_settings_that_contradict_each_other(assignments, what):
    first, second = refusal(*assignments).split("\n")
    assert first.startswith(f"command line: {what}")
    assert second == LIST


@pytest.mark.parametrize(
    "key",
    [
        k for k in KEYS if k.path in NEEDS and k.kind != "airbench"
    ],  # whose whitening has a kernel_size
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
        ("seed", "'seed' is no key=value\nwrite e.g. optimizer.lr=0.05"),
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
