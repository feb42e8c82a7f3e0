"""Each finding, both ways: what brings it, and the nearest recipe that does not."""

from contextlib import nullcontext

import pytest
from torch import nn

from cifarlab.optim.averaging import build_averaging
from cifarlab.optim.optimizers import OptimizerConfig
from cifarlab.recipes.catalog import find, shipped_recipes, usual_images, usual_splits
from cifarlab.recipes.lint import lint
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import apply_overrides, build
from cifarlab.system.errors import RecipeError

IMAGES = 45_000


def lint_default(*assignments, images=IMAGES, splits=()):
    return lint(apply_overrides(Recipe(), assignments), images, splits)


LONG = ("training.duration=400 epochs", "training.batch_size=64")


def test_kth2024_s_step_decay():
    milestones = "schedule.milestones=[1400 steps, 2800 steps, 10000 steps]"
    (finding,) = lint_default(*LONG, "schedule.kind=multistep", milestones)
    assert finding.what == ("schedule.milestones end at step 10,000 of 281,600, 3.6 % of the run")
    assert "64.42" in finding.reason and "0.5 of the run" in finding.hint


@pytest.mark.parametrize(
    ("last", "count"), [("0.1 of the run", 1), ("0.11 of the run", 0), ("60 epochs", 0)]
)
def test_milestones_may_end_after_a_tenth(last, count):
    milestones = f"schedule.milestones=[1 epoch, {last}]"
    assert len(lint_default(*LONG, "schedule.kind=multistep", milestones)) == count


@pytest.mark.parametrize(
    ("assignments", "key"),
    [
        (
            ["schedule.kind=step", "schedule.step_size=1 epoch", "training.duration=30 epochs"],
            "schedule.step_size",
        ),
        (
            ["schedule.kind=exponential", "schedule.gamma=0.5", "training.duration=100 epochs"],
            "schedule.gamma",
        ),
    ],
)
def test_an_lr_that_has_fallen_after_a_tenth(assignments, key):
    (finding,) = lint_default(*assignments)
    assert assignments[0] in finding.what and f"raise {key}" in finding.hint
    shorter = [a.replace("30 epochs", "20 epochs").replace("100 ep", "80 ep") for a in assignments]
    assert not lint_default(*shorter)


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("adam", "optimizer.kind=adamw"),
        ("adagrad", "optimizer.decoupled_weight_decay=true"),
        ("adadelta", "optimizer.decoupled_weight_decay=true"),
        ("rmsprop", "optimizer.decoupled_weight_decay=true"),
    ],
)
def test_weight_decay_that_the_denominator_distorts(kind, hint):
    (finding,) = lint_default(f"optimizer.kind={kind}", "optimizer.weight_decay=0.001")
    assert kind in finding.what and hint in finding.hint and "Loshchilov" in finding.reason
    assert not lint_default(f"optimizer.kind={kind}", "optimizer.weight_decay=0")
    if kind != "adam":
        decoupling = "optimizer.decoupled_weight_decay=true"
        assert not lint_default(
            f"optimizer.kind={kind}", "optimizer.weight_decay=0.001", decoupling
        )


@pytest.mark.parametrize("kind", ["sgd", "adamw", "muon"])
def test_weight_decay_elsewhere_is_usual(kind):
    assert not lint_default(f"optimizer.kind={kind}", "optimizer.weight_decay=0.001")


@pytest.mark.parametrize("kind", OptimizerConfig.kinds())
def test_an_lr_ten_times_outside_of_the_usual(kind):
    low, high = OptimizerConfig.kinds()[kind].usual_lrs
    for lr, side in ((low / 10.1, "below"), (high * 10.1, "above")):
        (finding,) = lint_default(f"optimizer.kind={kind}", f"optimizer.lr={lr:.6g}")
        assert side in finding.what and kind in finding.what
    for lr in (low / 9.9, high * 9.9, low, high):
        assert not lint_default(f"optimizer.kind={kind}", f"optimizer.lr={lr:.6g}")


def test_every_optimizer_has_usual_lrs_with_its_default():
    for optimizer in OptimizerConfig.kinds().values():
        low, high = optimizer.usual_lrs
        assert low <= optimizer().lr <= high


@pytest.mark.parametrize(
    ("warmup", "count"), [("10 epochs", 1), ("9 epochs", 0), ("3520 steps", 1), ("3519 steps", 0)]
)
def test_a_warmup_as_long_as_the_run(warmup, count):
    """45,000 images in batches of 128 make 352 steps."""
    findings = lint_default("training.duration=10 epochs", f"schedule.warmup={warmup}")
    assert len(findings) == count
    assert all("never reaches its peak" in finding.reason for finding in findings)


@pytest.mark.parametrize(
    ("key", "assignments", "early", "late"),
    [
        (
            "augment.progressive_resize.0",
            ["augment.progressive_resize=[{start: {}, pixels: 16}]"],
            "3519 steps",
            "10 epochs",
        ),
        (
            "training.freeze.0",
            ["training.freeze=[{start: {}, stages: 1}]"],
            "9 epochs",
            "1 of the run",
        ),
        (
            "training.selective_backprop",
            ["training.selective_backprop={keep: 0.5, start: {}}"],
            "0.9 of the run",
            "3520 steps",
        ),
        (
            "schedule.milestones.1",
            ["schedule.kind=multistep", "schedule.milestones=[5 epochs, {}]"],
            "9 epochs",
            "3600 steps",
        ),
        (
            "schedule.step_size",
            ["schedule.kind=step", "schedule.step_size={}"],
            "9 epochs",
            "10 epochs",
        ),
        (
            "schedule.cycle_mul",
            ["schedule.kind=cosine_restarts", "schedule.cycle_mul=2", "schedule.period={}"],
            "9 epochs",
            "10 epochs",
        ),
        (
            "schedule.cycle_decay",
            ["schedule={kind: cosine_restarts, cycle_decay: 0.5, period: 5 epochs, warmup: {}}"],
            "4 epochs",
            "5 epochs",
        ),
        ("schedule.patience", ["schedule.kind=plateau", "schedule.patience={}"], "7", "8"),
        ("training.early_stopping", ["training.early_stopping={patience: {}}"], "8", "9"),
    ],
)
def test_what_first_acts_after_the_end(key, assignments, early, late):
    """10 epochs of 352 steps."""
    for value, count in ((early, 0), (late, 1)):
        filled = [a.replace("{}", value) for a in assignments]
        findings = lint_default("training.duration=10 epochs", *filled)
        assert [f.what.split(" ")[0] for f in findings] == [key] * count
    longer = "training.extensions=[{duration: 5 epochs, schedule: stretch}]"
    assert not lint_default("training.duration=10 epochs", longer, *filled)


@pytest.mark.parametrize("kind", ["ema", "lookahead", "swa"])
def test_an_average_that_train_refuses(kind):
    """10 epochs of 5 steps, as ``build_averaging`` counts them."""
    epochs = {"ema": ("25", "26"), "lookahead": ("50", "51"), "swa": ("6 steps", "7 steps")}
    short = ["training.duration=10 epochs", "training.batch_size=128", f"averaging.kind={kind}"]
    for every, count in zip(epochs[kind], (0, 1), strict=True):
        assignments = [*short, f"averaging.every={every}"]
        averaging = apply_overrides(Recipe(), assignments).averaging
        with pytest.raises(RecipeError) if count else nullcontext():
            build_averaging(averaging, nn.Linear(1, 1), 5, 50)
        findings = lint_default(*assignments, images=640)
        assert [f.what.split(" ")[0] for f in findings] == [f"averaging.kind={kind}"] * count


@pytest.mark.parametrize(("key", "split"), [("test_fraction", "test"), ("val_fraction", "val")])
def test_a_fraction_of_a_split_that_the_source_brings(key, split):
    (finding,) = lint_default(f"data.{key}=0.3", splits=("train", split))
    assert finding.what.startswith(f"data.{key}=0.3, and the source brings")
    assert not lint_default(f"data.{key}=0.3", splits=("train",))
    assert not lint_default(splits=("train", split))
    assert usual_splits(apply_overrides(Recipe(), ["data.source=digits"])) == ("train",)
    assert "test" in usual_splits(Recipe())


def test_an_exponential_of_a_single_epoch_never_falls():
    (finding,) = lint_default("training.duration=1 epoch", "schedule.kind=exponential")
    assert finding.what.startswith("schedule.gamma first acts at step 352")
    assert not lint_default("training.duration=353 steps", "schedule.kind=exponential")


def test_several_findings_and_none():
    assert lint(Recipe(), IMAGES) == []
    findings = lint_default("optimizer.kind=adam", "optimizer.weight_decay=0.1", "optimizer.lr=1")
    assert len(findings) == 2


# what the reports did: intended
INTENDED = {
    "schedule.milestones end": ["kth2024/step-decay"],
    "optimizer.weight_decay=": [
        "asha2021/resnet34",
        "kth2022/resnet-adam",
        "nyu2024/adam",
        *(f"fudan/resnet{n}-ada{kind}" for n in (10, 16, 24, 48) for kind in ("delta", "grad")),
    ],
    "batch normalisation comes": [
        *(
            f"kth2022/{n}"
            for n in ["all", "best-cnn", "noisy-labels", "test-views", "combined-norm-batch"]
        ),
        *(name for name in shipped_recipes() if name.startswith("kth2022/resnet-")),
        *(f"kth2024/{n}" for n in ["adam", "adamw", "adamw-0.003", "adamw-0.01", "combined"]),
        *(f"kth2024/{n}" for n in ["combined-standardised", "cosine", "cosine-restarts"]),
        *(f"kth2024/exchanged{n}" for n in ["", "-fast-statistics", "-longer"]),
        *(f"kth2024/{n}" for n in ["step-decay", "warmup"]),
        *(n for n in shipped_recipes() if n.startswith("nyu2024/") and n != "nyu2024/dropout-0"),
        "wrn-16-8",
        "wrn-28-10",
    ],
}


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_have_no_findings_but_the_intended_ones(name):
    recipe = find(name)
    findings = [
        finding.what for finding in lint(recipe, usual_images(recipe), usual_splits(recipe))
    ]
    assert [any(what.startswith(start) for what in findings) for start in INTENDED] == [
        name in names for names in INTENDED.values()
    ]
    assert len(findings) == sum(name in names for names in INTENDED.values())


@pytest.mark.parametrize(
    ("tree", "images"),
    [
        ({}, 45_000),
        ({"data": {"val_fraction": 0}}, 50_000),
        ({"data": {"source": "digits"}}, 1294),
        ({"data": {"train_subset_fraction": 0.1}}, 4500),
    ],
)
def test_how_many_images_a_recipe_s_data_usually_have(tree, images):
    assert usual_images(build(tree)) == pytest.approx(images, abs=1)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ({"kind": "cnn", "block": ["conv", "norm", "act", "pool", "dropout"], "dropout": 0.2}, 1),
        ({"kind": "cnn", "block": ["conv", "norm", "act", "pool", "dropout"]}, 0),
        ({"kind": "cnn", "dropout": 0.2}, 0),
        (
            {
                "kind": "cnn",
                "block": ["conv", "norm", "act", "pool"],
                "linear_order": ["linear", "act", "dropout"],
                "dropout": 0.2,
            },
            0,
        ),
        ({"kind": "resnet", "dropout": 0.6}, 1),
        ({"kind": "resnet", "dropout": 0.6, "norm": {"kind": "group"}}, 0),
        ({"kind": "resnet", "head_dropout": 0.3}, 0),
        ({"kind": "resnet", "dropout": [0, 0, 0, 0.6]}, 1),
    ],
)
def test_dropout_before_a_batch_norm(model, count):
    findings = lint(build({"model": model}), IMAGES)
    assert [f.what[:35] for f in findings] == ["batch normalisation comes behind dr"] * count
