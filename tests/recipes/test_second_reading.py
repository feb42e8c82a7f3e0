"""Where each line of the second reading of the five reports went (what decides their settings).

A line becomes a recipe, a setting, a row of a study, a search, a picture or a documented
contradiction; one is planned for later. Each is looked up here, so that none goes missing.
"""

from fnmatch import filter as matching

import pytest

from cifarlab.experiments.search.definition import find_search
from cifarlab.experiments.study.definition import find_study
from cifarlab.recipes.catalog import find, shipped_recipes

RECIPES = shipped_recipes()
KTH = [*matching(RECIPES, "kth2022/*"), *matching(RECIPES, "kth2024/*")]
SELECTING = {"kth2022/early-stopping-*", "kth2022/checkpoint-*"}

# line -> what it became; a recipe's name may have settings that it must have
LINES = {
    # which images, which epoch
    "kth2022 and kth2024 train on all 50,000 images": {
        "kth2024/baseline": {"data.val_fraction": 0.0, "training.duration": "100 epochs"},
        "kth2022/all": {"data.val_fraction": 0.0},
        "kth2022/resnet-constant": {"data.val_fraction": 0.0, "evaluation.checkpoint": "last"},
    },
    "kth2022's rows that select hold out 10 %": {
        "kth2022/early-stopping-loss": {"data.val_fraction": 0.1},
        "kth2022/early-stopping-accuracy": {"data.val_fraction": 0.1},
        "kth2022/checkpoint-loss": {"data.val_fraction": 0.1, "evaluation.checkpoint": "best"},
        "kth2022/checkpoint-accuracy": {"data.val_fraction": 0.1, "evaluation.checkpoint": "best"},
    },
    "asha2021, fudan and nyu2024 hold out 10 %, and the best epoch counts": {
        "asha2021/classic": {"data.val_fraction": 0.1, "evaluation.checkpoint": "best"},
        "fudan/resnet24": {"data.val_fraction": 0.1, "evaluation.checkpoint": "best"},
        "nyu2024/resnet": {"data.val_fraction": 0.1, "evaluation.checkpoint": "best"},
    },
    # Keras is not PyTorch
    "batch normalisation of momentum 0.99 and eps 1e-3": {
        "kth2024/combined": {"model.norm.momentum": 0.01, "model.norm.eps": 1e-3},
        "kth2022/resnet-constant": {"model.norm.momentum": 0.01, "model.norm.eps": 1e-3},
    },
    "layer normalisation over the channels of each pixel": {
        "kth2022/norm-layer": {"model.norm.per_pixel": True, "model.norm.eps": 1e-3},
    },
    "group normalisation of 32 groups, instance normalisation": {
        "kth2022/norm-group": {"model.norm.num_groups": 32, "model.norm.eps": 1e-3},
        "kth2022/norm-instance": {"model.norm.kind": "instance", "model.norm.eps": 1e-3},
    },
    "Adam's eps 1e-7": {
        "kth2024/adam": {"optimizer.eps": 1e-7},
        "kth2024/adamw": {"optimizer.eps": 1e-7, "optimizer.weight_decay": 0.004},
        "kth2022/resnet-adam": {"optimizer.eps": 1e-7},
    },
    "convolutions keep their bias before a normalisation": {
        "kth2022/resnet-constant": {"model.conv_bias": True},
    },
    "L2's gradient is 2 * l2 * w": {"kth2024/weight-decay": {"optimizer.weight_decay": 0.002}},
    "the output layer is Glorot-uniform, the others He-uniform": {
        "kth2024/baseline": {"model.init": "kaiming_uniform", "model.head_init": "xavier_uniform"},
    },
    "SGD keeps the rate inside the velocity": {
        "kth2024/step-decay": {"optimizer.momentum_includes_lr": True},
    },
    "exchanged order, slow running statistics, longer": {
        "kth2024/exchanged": {"model.norm.momentum": 0.01},
        "kth2024/exchanged-fast-statistics": {"model.norm.momentum": 0.1},
        "kth2024/exchanged-longer": {"training.duration": "400 epochs"},
    },
    # the table
    "kth2022: the norm comparison also on the combined CNN": "study:combined-normalization",
    "kth2022: deeper at a constant rate": {"kth2022/resnet-deeper-constant": {}},
    "kth2022: Adam, other rates, linear and exponential decay": {
        "kth2022/resnet-adam": {"optimizer.kind": "adam"},
        "kth2022/resnet-sgd-0.01": {"optimizer.lr": 0.01},
        "kth2022/resnet-sgd-0.001": {"optimizer.lr": 0.001},
        "kth2022/resnet-linear": {"schedule.kind": "linear"},
        "kth2022/resnet-exponential": {"schedule.kind": "exponential"},
    },
    "kth2022: regularisers under noisy labels": "study:kth2022-noisy-labels",
    "kth2022: views of the test images; still deeper": {
        "kth2022/test-views": {"evaluation.tta_views": 10},
        "kth2022/resnet-still-deeper": {"model.depths": [5, 5]},
        "kth2022/resnet-still-deeper-cifar100": {"data.source": "cifar100"},
    },
    "kth2022: L2 on the 3x3 convolutions alone": {
        "kth2022/resnet-constant": {"optimizer.shortcuts.weight_decay": 0.0},
    },
    "kth2024: L2 of 0.001 or of 0.001 %": {
        "kth2024/weight-decay-percent": {"optimizer.weight_decay": 2e-5},
    },
    "kth2024: AdamW at larger rates": {
        "kth2024/adamw-0.003": {"optimizer.lr": 0.003},
        "kth2024/adamw-0.01": {"optimizer.lr": 0.01},
    },
    "kth2024: a search for AdamW": "search:kth2024/adamw",
    "kth2024: a search for step decay": "search:kth2024/step-decay",
    "kth2024: a search for the exchanged order": "search:kth2024/exchanged",
    "kth2024: a search that tunes cosine": "search:kth2024/cosine",
    "kth2024: 400 epochs are ours; dropout only, longer": {
        "kth2024/adam": {"training.duration": "400 epochs"},
        "kth2024/dropout-only-longer": {"training.duration": "400 epochs"},
    },
    "asha2021: the step schedule of He et al., cosine as the other reading": {
        "asha2021/resnet34-schedule": {
            "schedule.kind": "multistep",
            "schedule.milestones": ["0.5 of the run", "0.75 of the run"],
        },
        "asha2021/resnet34-cosine": {"schedule.kind": "cosine"},
    },
    "asha2021: Xavier touches dense layers alone": "search:asha2021/classic",
    "asha2021: the PyTorch tutorial's network, the padded one as the other reading": {
        "asha2021/classic": {"model.padding": "valid"},
        "asha2021/classic-padded": {"model.padding": "same"},
    },
    "asha2021: accuracy per class, row by row": "study:asha2021",
    "asha2021: fewer trials with a higher maximum epoch": "search:asha2021/longer",
    "nyu2024: schedulers by speed and stability": {
        "nyu2024/exponential": {},
        "nyu2024/cosine": {},
        "nyu2024/plateau": {},
    },
    "nyu2024: loss rising without and with dropout": "study:nyu2024-dropout",
    "nyu2024: narrower, wider, shallower, deeper": {
        f"nyu2024/{how}": {"model.max_parameters": 5_000_000}
        for how in ("narrower", "wider", "shallower", "deeper")
    },
    "nyu2024: batch sizes; Adam": {
        "nyu2024/batch-64": {"training.batch_size": 64},
        "nyu2024/batch-512": {"training.batch_size": 512},
        "nyu2024/adam": {"optimizer.kind": "adam"},
    },
    "nyu2024: 7x7 kernels, lower dropout, other regularisers": {
        "nyu2024/kernel-7": {"model.stem_kernel_size": 7},
        "nyu2024/dropout-0.1": {"model.dropout": [0.1]},
        "nyu2024/label-smoothing": {},
    },
    "nyu2024: similar tasks (fine-tuning from a run)": "planned",
    "fudan: 93.71 with crops and flips, or without": {
        "fudan/resnet24": {"augment.hflip": "random"},
        "fudan/no-augmentation": {"augment.hflip": "none"},
    },
    "fudan: block orders of He et al. 2016b": {
        f"fudan/{order}": {}
        for order in ("norm-after-add", "act-before-add", "act-before-norm", "pre-activation")
    },
    "fudan: block orders whose normalisation stays behind its convolution": {
        f"fudan/{order}": {}
        for order in ("act-before-add", "act-first", "no-act-after-add", "no-act-within")
    },
    "fudan: training accuracy and gap, epochs to a level, time": "study:fudan",
    "fudan: plain networks of 20 and 56 layers": "study:degradation",
    "fudan: sigmoid, PReLU": {
        "fudan/sigmoid": {"model.activation": "sigmoid"},
        "fudan/plain-20-sigmoid": {"model.activation": "sigmoid"},
        "fudan/prelu": {"model.activation": "prelu"},
    },
}
CONTRADICTIONS = {
    "kth2022/best-cnn": "400 epochs",
    "kth2024/weight-decay": "0.001 %",
    "asha2021/resnet34-schedule": "92.3",
    "nyu2024/resnet": "every 20",
    "fudan/resnet24": "without data augmentation",
    "fudan/mixup": "94.59",
}


def setting(recipe, key):
    """A setting of a recipe by its dotted key, as YAML has it."""
    tree = find(recipe).model_dump(mode="json")
    for part in key.split("."):
        tree = tree[part]
    return tree


@pytest.mark.parametrize("line", LINES)
def test_each_line_went_somewhere(line):
    became = LINES[line]
    if became == "planned":
        return
    if isinstance(became, dict):
        for recipe, settings in became.items():
            assert {key: setting(recipe, key) for key in settings} == settings
    else:
        kind, _, name = became.partition(":")
        assert {"study": find_study, "search": find_search}[kind](name).about


def test_one_line_alone_is_planned_for_later():
    assert [line for line, became in LINES.items() if became == "planned"] == [
        "nyu2024: similar tasks (fine-tuning from a run)"
    ]


def test_nobody_watches_the_test_images_and_who_selects_holds_out():
    selecting = {name for pattern in SELECTING for name in matching(RECIPES, pattern)}
    assert len(selecting) == 4
    held_out = {name for name in KTH if setting(name, "data.val_fraction")}
    assert held_out == selecting


@pytest.mark.parametrize("study", ["kth2022-held-out", "kth2024-held-out"])
def test_twins_hold_ten_per_cent_out(study):
    recipes = find_study(study).recipes().values()
    assert {recipe.data.val_fraction for recipe in recipes} == {0.1}


def test_small_networks_compute_in_float32_and_residual_ones_choose():
    for name in KTH + matching(RECIPES, "asha2021/*"):
        small = setting(name, "model.kind") == "cnn"
        assert setting(name, "training.precision") == ("float32" if small else "auto"), name


@pytest.mark.parametrize("recipe", CONTRADICTIONS)
def test_contradictions_stand_beside_the_number(recipe):
    reported = RECIPES[recipe].reported
    assert reported is not None
    assert CONTRADICTIONS[recipe] in reported.contradiction


def test_the_reports_numbers_by_class_ship():
    rows = ("asha2021/classic", "asha2021/resnet34", "asha2021/resnet34-schedule")
    numbers = [RECIPES[row].reported for row in rows]
    means = [sum(n.classes.values()) / len(n.classes) for n in numbers if n]
    assert [round(mean, 2) for mean in means] == [64.38, 87.77, 92.37]
    mixup = RECIPES["fudan/mixup"].reported
    assert mixup is not None
    assert sum(row[i] for i, row in enumerate(mixup.confusion_matrix)) == 9459
    assert [sum(row) for row in mixup.confusion_matrix] == [1000] * 10
