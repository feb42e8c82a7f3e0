"""What each line of the second reading of the five reports became, and how that is looked up.

A line is named by the report and the beginning of its cell. What it became is a list of checks,
each a function and its arguments; one line is planned for later.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from made_run import make

from cifarlab.experiments.search.definition import find_search
from cifarlab.experiments.search.figures import FIGURES as SEARCH_FIGURES
from cifarlab.experiments.study.definition import find_study
from cifarlab.experiments.study.figure import FIGURES as STUDY_FIGURES
from cifarlab.explain.previews import draw_activations, preview_augmentation
from cifarlab.recipes.catalog import find, shipped_recipes
from cifarlab.recipes.text import change
from cifarlab.report.tables import prediction_counts
from cifarlab.run_folder.run_data import read_runs


def setting(config: Any, key: str) -> Any:
    """A setting by its dotted key, as YAML has it."""
    tree = config.model_dump(mode="json")
    for part in key.split("."):
        tree = tree[part]
    return tree


def recipe(name: str, settings: Mapping[str, Any], says: str = "") -> None:
    """A recipe has those settings, and its text says so."""
    assert {key: setting(find(name), key) for key in settings} == settings
    assert says in " ".join(shipped_recipes()[name].text.split())


def contradicted(name: str, says: str) -> None:
    """A recipe's number has its contradiction beside it."""
    reported = shipped_recipes()[name].reported
    assert reported is not None
    assert says in reported.contradiction


def study(name: str, rows: str, columns: str = "") -> None:
    """A study has those rows and columns, and draws their curves."""
    defined = find_study(name)
    assert set(rows.split()) <= {row.name for row in defined.rows}
    assert set(columns.split()) <= set(defined.columns)
    assert "curves" in STUDY_FIGURES


def search(name: str, base: str, keys: str, settings: Mapping[str, Any]) -> None:
    """A search is of that recipe, over those keys, with those settings of its own."""
    defined = find_search(name)
    assert defined.recipe == base
    assert set(keys.split()) <= set(defined.space)
    assert {key: setting(defined, key) for key in settings} == settings


def searches_draw(figure: str) -> None:
    """Each search has that figure, with training beside validation."""
    description = SEARCH_FIGURES[figure][1]
    assert "validation" in description and "training" in description


def activations_drawn(names: str) -> None:
    """The functions are drawn with their slopes."""
    for panel in draw_activations().panels:
        assert set(names.split()) <= {getattr(mark, "label", "") for mark in panel.marks}


def augmentation_drawn(name: str, kinds: str) -> None:
    """An image is drawn before and after each of a recipe's transformations."""
    (panel,) = preview_augmentation(find(name), np.zeros((32, 32, 3), np.uint8)).panels
    assert set(kinds.split()) <= {getattr(mark, "text", "") for mark in panel.marks}


def predictions_counted() -> None:
    """A report shows how often each class is predicted beside how often it is true."""
    with tempfile.TemporaryDirectory() as folder:
        run = read_runs([make(Path(folder) / "run")])[0]
    assert prediction_counts(run).columns[:3] == ["class", "images", "predicted"]


def goes_on_from_best(name: str) -> None:
    """A recipe may be trained further from its best epoch."""
    extension = {"duration": "10 epochs", "schedule": "hold", "start": "best"}
    change(find(name), {"training.extensions": [extension]})


KERAS_NORM = {"model.norm.momentum": 0.01, "model.norm.eps": 1e-3}
BEST = {"data.val_fraction": 0.1, "evaluation.checkpoint": "best"}
BY_LOSS = BEST | {"evaluation.metric.kind": "log_loss"}
LAST = {"data.val_fraction": 0.0, "evaluation.checkpoint": "last"}
HE_UNIFORM = {"model.init": "kaiming_uniform", "model.head_init": "xavier_uniform"}
ALL_400 = {"training.duration": "400 epochs"}
PLANNED = 'nyu2024: "applying the trained model'

# what stands above the table
PARAGRAPHS: dict[str, list[tuple[Any, ...]]] = {
    "kth2022 and kth2024 train on all images, and the last epoch counts": [
        (recipe, "kth2024/baseline", LAST | {"training.duration": "100 epochs"}),
        (recipe, "kth2022/all", LAST),
        (recipe, "kth2022/resnet-constant", LAST),
    ],
    "kth2022's rows that select hold out 10 %, and the selected epoch counts": [
        (recipe, "kth2022/early-stopping-loss", BY_LOSS, "10 % held out are ours"),
        (recipe, "kth2022/early-stopping-accuracy", BEST, "10 % held out are ours"),
        (recipe, "kth2022/checkpoint-loss", BY_LOSS, "10 % held out are ours"),
        (recipe, "kth2022/checkpoint-accuracy", BEST, "10 % held out are ours"),
        (study, "kth2022-selection", "last-epoch early-stopping-loss checkpoint-accuracy"),
    ],
    "asha2021, fudan and nyu2024 hold out 10 %, and the best epoch counts": [
        (recipe, "asha2021/classic", BEST),
        (recipe, "fudan/resnet24", BEST),
        (recipe, "fudan/plain-20", BEST),
        (recipe, "nyu2024/resnet", BEST),
    ],
    "fudan goes on from the best state": [(goes_on_from_best, "fudan/resnet24")],
    "Keras: batch normalisation": [
        (recipe, "kth2024/combined", KERAS_NORM),
        (recipe, "kth2022/resnet-constant", KERAS_NORM),
    ],
    "Keras: layer, group and instance normalisation": [
        (recipe, "kth2022/norm-layer", {"model.norm.per_pixel": True, "model.norm.eps": 1e-3}),
        (recipe, "kth2022/norm-group", {"model.norm.num_groups": 32, "model.norm.eps": 1e-3}),
        (recipe, "kth2022/norm-instance", {"model.norm.kind": "instance"}),
    ],
    "Keras: Adam's eps": [
        (recipe, "kth2024/adam", {"optimizer.eps": 1e-7}),
        (recipe, "kth2024/adamw", {"optimizer.eps": 1e-7, "optimizer.weight_decay": 0.004}),
        (recipe, "kth2022/resnet-adam", {"optimizer.eps": 1e-7}),
    ],
    "Keras: convolutions keep their bias; L2's gradient is 2 * l2 * w": [
        (recipe, "kth2022/resnet-constant", {"model.conv_bias": True}),
        (recipe, "kth2024/weight-decay", {"optimizer.weight_decay": 0.002}),
    ],
    "Keras: the output layer is Glorot-uniform, the others He-uniform": [
        (recipe, "kth2024/baseline", HE_UNIFORM),
        (recipe, "kth2022/resnet-constant", HE_UNIFORM),
        (recipe, "kth2022/resnet-deeper", HE_UNIFORM),
    ],
    "Keras: SGD keeps the rate inside the velocity": [
        (recipe, "kth2024/step-decay", {"optimizer.momentum_includes_lr": True}),
        (recipe, "kth2022/resnet-schedule", {"optimizer.momentum_includes_lr": True}),
    ],
    "nyu2024: 7x7 kernels, lower dropout, other regularisers (the first reading)": [
        (recipe, "nyu2024/kernel-7", {"model.stem_kernel_size": 7}),
        (recipe, "nyu2024/dropout-0.1", {"model.dropout": [0.1]}),
        (recipe, "nyu2024/label-smoothing", {"loss.label_smoothing": 0.1}),
    ],
    "kth2024's exchanged order": [
        (recipe, "kth2024/exchanged", KERAS_NORM, "switching out one technique to the other"),
        (recipe, "kth2024/exchanged-fast-statistics", KERAS_NORM | {"model.norm.momentum": 0.1}),
        (recipe, "kth2024/exchanged-longer", ALL_400),
    ],
}
# the table
TABLE: dict[str, list[tuple[Any, ...]]] = {
    'kth2022: "To ensure batch normalization performs best': [
        (study, "normalization", "norm-batch norm-layer norm-group norm-instance"),
        (study, "combined-normalization", "combined-norm-batch combined-norm-layer"),
        (study, "combined-normalization", "combined-norm-group combined-norm-instance"),
    ],
    'kth2022: "Before implementing the learning rate schedule': [
        (
            recipe,
            "kth2022/resnet-deeper-constant",
            {"model.depths": [3, 3], "schedule.kind": "constant"},
        ),
    ],
    'kth2022: "Different optimizers': [
        (recipe, "kth2022/resnet-adam", {"optimizer.kind": "adam"}),
        (recipe, "kth2022/resnet-sgd-0.01", {"optimizer.lr": 0.01}),
        (recipe, "kth2022/resnet-sgd-0.001", {"optimizer.lr": 0.001}),
        (recipe, "kth2022/resnet-linear", {"schedule.kind": "linear"}),
        (recipe, "kth2022/resnet-exponential", {"schedule.kind": "exponential"}),
    ],
    "kth2022: noisy labels": [
        (recipe, "kth2022/noisy-labels", {"data.label_noise.noise_rate": 0.2}),
        (study, "kth2022-noisy-labels", "none augmentation weight-decay dropout batch-norm all"),
    ],
    "kth2022: test-time augmentation": [
        (recipe, "kth2022/test-views", {"evaluation.tta_views": 10}),
        (recipe, "kth2022/resnet-still-deeper", {"model.depths": [5, 5]}),
        (
            recipe,
            "kth2022/resnet-still-deeper-cifar100",
            {"model.depths": [5, 5], "data.source": "cifar100"},
        ),
    ],
    "kth2022: the published code": [
        (
            recipe,
            "kth2022/resnet-constant",
            {"optimizer.weight_decay": 2e-4, "optimizer.shortcuts.weight_decay": 0.0},
        ),
    ],
    'kth2024: L2 "0.001 %"': [
        (contradicted, "kth2024/weight-decay", "0.001 %"),
        (recipe, "kth2024/weight-decay-percent", {"optimizer.weight_decay": 2e-5}),
    ],
    'kth2024: "A larger initial learning rate': [
        (recipe, "kth2024/adamw-0.003", {"optimizer.lr": 0.003}),
        (recipe, "kth2024/adamw-0.01", {"optimizer.lr": 0.01}),
        (search, "kth2024/adamw", "kth2024/adamw", "optimizer.lr optimizer.weight_decay", {}),
        (
            search,
            "kth2024/step-decay",
            "kth2024/step-decay",
            "optimizer.lr schedule.milestones",
            {},
        ),
        (search, "kth2024/exchanged", "kth2024/exchanged", "model.dropout model.norm.momentum", {}),
    ],
    "kth2024: optimizer and schedule rows": [
        (recipe, "kth2024/adam", ALL_400, "400, as for the combined network, is ours"),
        *(
            (recipe, f"kth2024/{name}", ALL_400)
            for name in ("adamw", "cosine", "cosine-restarts", "step-decay", "dropout-only-longer")
        ),
        (search, "kth2024/cosine", "kth2024/cosine", "optimizer.lr schedule.end_factor", {}),
    ],
    'asha2021: the schedule "was used': [
        (
            recipe,
            "asha2021/resnet34-schedule",
            {
                "schedule.kind": "multistep",
                "schedule.milestones": ["0.5 of the run", "0.75 of the run"],
            },
        ),
        (recipe, "asha2021/resnet34-cosine", {"schedule.kind": "cosine"}),
    ],
    'asha2021: "dense layer weight': [
        (search, "asha2021/classic", "asha2021/classic", "model.linear_init", {"trials": 30}),
    ],
    "asha2021: classic CNN": [
        (recipe, "asha2021/classic", {"model.padding": "valid"}, "62,006 parameters"),
        (recipe, "asha2021/classic-padded", {"model.padding": "same"}),
    ],
    "asha2021: table 4": [
        (study, "asha2021", "classic resnet34 resnet34-schedule", "classes groups"),
    ],
    'asha2021: "fewer trials': [
        (
            search,
            "asha2021/longer",
            "asha2021/classic",
            "optimizer.kind optimizer.lr optimizer.weight_decay model.dropout augment model.block",
            {"trials": 8, "max_epochs": "120 epochs"},
        ),
    ],
    "asha2021: figures 1 to 3": [(searches_draw, "curves"), (predictions_counted,)],
    'nyu2024: schedulers by "training speed': [
        (study, "nyu2024", "step-20 exponential cosine plateau", "epochs_to_level final_std"),
        (recipe, "nyu2024/exponential", {"schedule.kind": "exponential"}),
        (recipe, "nyu2024/cosine", {"schedule.kind": "cosine"}),
        (recipe, "nyu2024/plateau", {"schedule.kind": "plateau"}),
        (study, "nyu2024-dropout", "resnet dropout-0", "best_epoch"),
    ],
    'nyu2024: "a balance between Narrow and Wide"': [
        (recipe, f"nyu2024/{name}", {"model.max_parameters": 5_000_000, "model.depths": depths})
        for name, depths in {
            "narrower": [5, 5, 5, 5],
            "wider": [1, 1, 1, 1],
            "shallower": [2, 2, 2, 2],
            "deeper": [5, 5, 3, 3],
        }.items()
    ],
    'nyu2024: "optimization of batch sizes"': [
        (recipe, "nyu2024/batch-64", {"training.batch_size": 64}),
        (recipe, "nyu2024/batch-512", {"training.batch_size": 512}),
        (recipe, "nyu2024/adam", {"optimizer.kind": "adam"}),
    ],
    PLANNED: [],
    'fudan: "training it for just 50 epochs': [
        (contradicted, "fudan/resnet24", "without data augmentation"),
        (recipe, "fudan/resnet24", {"augment.hflip": "random", "augment.crop.padding": 4}),
        (recipe, "fudan/no-augmentation", {"augment.hflip": "none", "augment.crop.padding": 0}),
    ],
    'fudan: "I always set the BN layer': [
        *(
            (recipe, f"fudan/{order}", {}, "First reading")
            for order in ("norm-after-add", "act-before-norm", "pre-activation")
        ),
        (recipe, "fudan/act-before-add", {}, "In both readings"),
        *(
            (recipe, f"fudan/{order}", {}, "Second reading")
            for order in ("act-first", "no-act-after-add", "no-act-within")
        ),
    ],
    'fudan: "over-fitting problem': [
        (study, "fudan", "resnet24", "train_accuracy gap epochs_to_level train_seconds"),
        (study, "fudan-optimizers", "resnet24-sgd", "gap epochs_to_level train_seconds"),
    ],
    "fudan: figures 4 to 6 and 8": [
        *(
            (study, "fudan-optimizers", f"{n} {n}-sgd {n}-adagrad {n}-adadelta")
            for n in ("resnet10", "resnet16", "resnet24", "resnet48")
        ),
        (study, "fudan-schedules", "resnet24 step restarts plateau", "epochs_to_level final_std"),
        (study, "fudan-penalties", "resnet24 l1-1e-3 l1-1e-4 l1-1e-5 l2-0 l2-1e-4 l2-5e-3"),
        (study, "fudan-activations", "resnet24 relu6 leaky-relu elu silu"),
        (activations_drawn, "relu relu6 leaky_relu elu silu"),
        (augmentation_drawn, "fudan/vertical-flip", "crop hflip vflip"),
        (augmentation_drawn, "fudan/noise", "gaussian_noise"),
    ],
    "fudan: degradation": [
        (study, "degradation", "plain-20 plain-56 residual-20 residual-56", "train_accuracy gap"),
        (recipe, "fudan/plain-56", {"model.shortcut": False, "model.depths": [9, 9, 9]}),
        (recipe, "fudan/plain-20-sigmoid", {"model.activation": "sigmoid"}),
        (recipe, "fudan/sigmoid", {"model.activation": "sigmoid"}),
        (recipe, "fudan/prelu", {"model.activation": "prelu"}),
    ],
}
