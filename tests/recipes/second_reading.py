"""What each line of the second reading of the five reports became.

A line of the table is named by the report and the beginning of its cell, a sentence above the table
by some of its words. What it became is a list of checks of ``reading_checks``, each with its
arguments; one line is planned for later.
"""

from typing import Any

from reading_checks import (
    activations_drawn,
    augmentation_drawn,
    contradicted,
    curves,
    goes_on_from_best,
    predictions_counted,
    recipe,
    search,
    searches_draw,
    steps,
    study,
    views,
)


def exchange(step: str) -> str:
    """Normalisation for dropout, dropout for normalisation, any other step for itself."""
    return {"norm": "dropout", "dropout": "norm"}.get(step, step)


KERAS_NORM = {"model.norm.momentum": 0.01, "model.norm.eps": 1e-3}
BEST = {"data.val_fraction": 0.1, "evaluation.checkpoint": "best"}
BY_LOSS = BEST | {"evaluation.metric.kind": "log_loss"}
BY_ACCURACY = BEST | {"evaluation.metric.kind": "accuracy"}
STOPS = "training.early_stopping.monitor.kind"
SELECTING = {
    "early-stopping-loss": BY_LOSS | {STOPS: "log_loss"},
    "early-stopping-accuracy": BY_ACCURACY | {STOPS: "accuracy"},
    "checkpoint-loss": BY_LOSS | {"training.early_stopping": None},
    "checkpoint-accuracy": BY_ACCURACY | {"training.early_stopping": None},
}
LAST = {"data.val_fraction": 0.0, "evaluation.checkpoint": "last"}
HE_UNIFORM = {"model.init": "kaiming_uniform", "model.head_init": "xavier_uniform"}
ALL_400 = {"training.duration": "400 epochs"}
BLOCK = ["conv", "act", "norm", "conv", "act", "norm", "pool", "dropout"]
LINEAR = ["linear", "act", "norm", "dropout"]
ORDERS = {
    "norm-after-add": ("First reading", "conv norm act conv add norm act"),
    "act-before-add": ("In both readings", "conv norm act conv norm act add"),
    "act-before-norm": ("First reading", "conv act norm conv norm add act"),
    "pre-activation": ("First reading", "norm act conv norm act conv add"),
    "act-first": ("Second reading", "act conv norm act conv norm add"),
    "no-act-after-add": ("Second reading", "conv norm act conv norm add"),
    "no-act-within": ("Second reading", "conv norm conv norm add act"),
}
PLANNED = 'nyu2024: "applying the trained model'

# what stands above the table: words of each sentence, or of each part of one
PARAGRAPHS: dict[str, list[tuple[Any, ...]]] = {
    "kth2022 and kth2024 name no validation split": [
        (recipe, "kth2024/baseline", LAST | {"training.duration": "100 epochs"}),
        (recipe, "kth2022/baseline", LAST, "trains on all images"),
    ],
    "(782 steps per epoch at batch 64": [(steps, "kth2024/baseline", 782)],
    "nothing selects, and the last epoch counts (ours for kth2022)": [
        (recipe, "kth2022/baseline", LAST, "the last epoch counts is ours, here and in all rows"),
        (recipe, "kth2022/all", LAST),
        (recipe, "kth2022/resnet-constant", LAST),
    ],
    "kth2022's rows that select": [
        *(
            (recipe, f"kth2022/{row}", settings, "10 % held out are ours")
            for row, settings in SELECTING.items()
        ),
    ],
    'asha2021 ("training-validation split of 90:10%") and fudan': [
        (recipe, "asha2021/classic", {"data.val_fraction": 0.1}),
        (recipe, "fudan/resnet24", {"data.val_fraction": 0.1}),
        (recipe, "fudan/plain-20", {"data.val_fraction": 0.1}),
    ],
    "nyu2024 speaks of validation accuracy and never says of which images": [
        (recipe, "nyu2024/resnet", {"data.val_fraction": 0.1}, "10 % held out are ours"),
    ],
    "kth2024: the last": [(recipe, "kth2024/combined", LAST)],
    "asha2021: the best by validation": [
        (recipe, "asha2021/classic", BEST),
        (recipe, "asha2021/resnet34-schedule", BEST),
    ],
    "going on from the *best* state must work": [(goes_on_from_best, "fudan/resnet24")],
    "by validation accuracy is ours": [
        (recipe, "fudan/resnet24", BY_ACCURACY, "by validation accuracy, which is ours"),
        (recipe, "fudan/plain-20", BY_ACCURACY),
    ],
    "nyu2024: the peak": [(recipe, "nyu2024/resnet", BY_ACCURACY, "the peak counts")],
    "kth2022: the last": [(recipe, "kth2022/resnet-deeper", LAST)],
    "its early-stopping and model-checkpoint rows": [
        *((recipe, f"kth2022/{row}", settings) for row, settings in SELECTING.items()),
        (study, "kth2022-selection", "last-epoch early-stopping-loss checkpoint-accuracy"),
    ],
    "batch normalisation with momentum 0.99": [
        (recipe, "kth2024/combined", KERAS_NORM),
        (recipe, "kth2022/resnet-constant", KERAS_NORM),
    ],
    "layer normalisation over the channels of each pixel": [
        (recipe, "kth2022/norm-layer", {"model.norm.per_pixel": True, "model.norm.eps": 1e-3}),
    ],
    "group normalisation of TF-Addons with 32 groups": [
        (recipe, "kth2022/norm-group", {"model.norm.num_groups": 32, "model.norm.eps": 1e-3}),
        (recipe, "kth2022/norm-instance", {"model.norm.kind": "instance"}),
    ],
    "Adam's eps": [
        (recipe, "kth2024/adam", {"optimizer.eps": 1e-7}),
        (recipe, "kth2024/adamw", {"optimizer.eps": 1e-7, "optimizer.weight_decay": 0.004}),
        (recipe, "kth2022/resnet-adam", {"optimizer.eps": 1e-7}),
    ],
    "convolutions keep their bias": [
        (recipe, "kth2022/resnet-constant", {"model.conv_bias": True}),
    ],
    "L2 adds l2 * w^2": [(recipe, "kth2024/weight-decay", {"optimizer.weight_decay": 0.002})],
    "the output layer is Glorot-uniform, the others He-uniform": [
        (recipe, "kth2024/baseline", HE_UNIFORM),
        (recipe, "kth2022/resnet-constant", HE_UNIFORM),
        (recipe, "kth2022/resnet-deeper", HE_UNIFORM),
    ],
    "SGD keeps the rate inside the velocity": [
        (recipe, "kth2024/step-decay", {"optimizer.momentum_includes_lr": True}),
        (recipe, "kth2022/resnet-schedule", {"optimizer.momentum_includes_lr": True}),
    ],
    "each batch normalisation becomes a dropout": [
        (recipe, "kth2024/combined", {"model.block": BLOCK, "model.linear_order": LINEAR}),
        (
            recipe,
            "kth2024/exchanged",
            KERAS_NORM
            | {
                "model.block": [*map(exchange, BLOCK)],
                "model.linear_order": [*map(exchange, LINEAR)],
            },
            "switching out one technique to the other",
        ),
        (recipe, "kth2024/exchanged", {}, "stay with their blocks, which is ours"),
    ],
    "Whether Keras' slow running statistics decide it": [
        (recipe, "kth2024/exchanged", KERAS_NORM, "is our question"),
        (recipe, "kth2024/exchanged-fast-statistics", KERAS_NORM | {"model.norm.momentum": 0.1}),
    ],
    "switched techniques eventually converge": [
        (recipe, "kth2024/exchanged-longer", ALL_400, "switched techniques eventually converge"),
    ],
}
FIRST_READING: dict[str, list[tuple[Any, ...]]] = {
    "nyu2024: 7x7 against 3x3 kernels": [
        (recipe, "nyu2024/kernel-7", {"model.stem_kernel_size": 7}),
    ],
    "nyu2024: even lower dropout rates": [
        (recipe, "nyu2024/dropout-0.1", {"model.dropout": [0.1]})
    ],
    "nyu2024: other regularisers": [
        (recipe, "nyu2024/label-smoothing", {"loss.label_smoothing": 0.1}),
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
        (
            study,
            "kth2022-noisy-labels",
            "none augmentation weight-decay dropout batch-norm all",
            "",
            {"data.label_noise.kind": "symmetric", "data.label_noise.noise_rate": 0.2},
        ),
    ],
    "kth2022: test-time augmentation": [
        (
            recipe,
            "kth2022/test-views",
            {"evaluation.tta_views": 10, "augment.translate": 0.1, "augment.fill_mode": "nearest"},
            "shifts by one pixel towards each corner, the edges reflected, each mirrored too. "
            "Training shifts by up to 3 pixels and repeats the edges.",
        ),
        (views, "kth2022/test-views"),
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
        *(
            (recipe, f"kth2024/{name}", ALL_400, "400, as for the combined network, is ours")
            for name in ("adam", "adamw", "cosine", "cosine-restarts", "step-decay")
        ),
        *(
            (recipe, f"kth2024/{name}", ALL_400, "the 400 epochs")
            for name in ("adamw-0.003", "adamw-0.01", "warmup")
        ),
        (recipe, "kth2024/dropout-only-longer", ALL_400, "How long is ours"),
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
        (recipe, "asha2021/classic-padded", {"model.padding": "same"}, "the other reading"),
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
        (study, "nyu2024-dropout", "resnet dropout-0", "best_epoch", {}, "log_loss"),
        (curves, "nyu2024-dropout", "resnet dropout-0", "loss"),
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
            (recipe, f"fudan/{order}", {"model.order": layers.split()}, reading)
            for order, (reading, layers) in ORDERS.items()
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
        (
            study,
            "fudan-penalties",
            "resnet24 l1-1e-3 l1-1e-4 l1-1e-5 l2-0 l2-1e-4 l2-5e-3",
            "",
            {},
            "log_loss",
        ),
        (study, "fudan-activations", "resnet24 relu6 leaky-relu elu silu"),
        (curves, "fudan-optimizers", "resnet24 resnet24-sgd resnet24-adagrad", "accuracy"),
        (curves, "fudan-schedules", "resnet24 step restarts plateau", "loss"),
        (curves, "fudan-penalties", "resnet24 l1-1e-3 l2-0", "loss"),
        (curves, "fudan-activations", "resnet24 relu6 silu", "accuracy"),
        (activations_drawn, "relu relu6 leaky_relu elu silu"),
        (augmentation_drawn, "fudan/vertical-flip", "crop hflip vflip"),
        (augmentation_drawn, "fudan/noise", "gaussian_noise"),
    ],
    "fudan: degradation": [
        (study, "degradation", "plain-20 plain-56 residual-20 residual-56", "train_accuracy gap"),
        (curves, "degradation", "plain-20 plain-56 residual-20 residual-56", "accuracy"),
        (recipe, "fudan/plain-56", {"model.shortcut": False, "model.depths": [9, 9, 9]}),
        (recipe, "fudan/plain-20-sigmoid", {"model.activation": "sigmoid"}),
        (recipe, "fudan/sigmoid", {"model.activation": "sigmoid"}),
        (recipe, "fudan/prelu", {"model.activation": "prelu"}),
    ],
}
