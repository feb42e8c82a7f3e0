"""What each part of speed/94 brings: one out, or one in, at a time."""

from typing import Any

from cifarlab.experiments.study.definition import Study, StudyRow

# airbench94's rates before Muon: 11.5 per 1,024 images whose losses are added up, norms 64 times
_BATCH = 500
_LR = 11.5 * _BATCH / (1024 * (1 + 1 / (1 - 0.85)))
_DECAY = 0.0153 / 11.5
_FAST = {"lr": 64 * _LR, "weight_decay": _DECAY / 64}

_CHANGES: dict[str, dict[str, Any]] = {
    "no-whitening": {"model.whitening": {"kernel_size": 0}, "optimizer.whitening": {}},
    "all-whitening-directions": {"model.whitening.n_components": None},
    "whitening-bias-throughout": {"optimizer.whitening": {}},
    "no-shortcuts": {"model.shortcut": False},
    "two-convolutions-per-group": {"model.depths": 2},
    "usual-initialisation": {"model.init": "default"},
    "norms-with-scale": {"model.norm.scale": True},
    "statistics-kept-0.9": {"model.norm.momentum": 0.1},
    "head-not-scaled": {"model.logit_scale": 1.0},
    "relu": {"model.activation": "relu"},
    "muon-without-scaling": {"optimizer.normalize_weights": False},
    "sgd": {
        "optimizer": {
            "kind": "sgd",
            "lr": _LR,
            "momentum": 0.85,
            "nesterov": True,
            "weight_decay": _DECAY,
            "norms": _FAST,
            "whitening": {**_FAST, "until": "0.05 of the run"},
        }
    },
    "one-rate-for-head-and-norms": {"optimizer.head": {}},
    "batches-of-1000": {"training.batch_size": 1000, "optimizer.lr": 0.15},
    "whole-batches": {"training.micro_batch_size": None},
    "constant-rate": {"schedule.kind": "constant"},
    "falling-momentum": {"schedule.final_momentum": 0.3},
    "random-flip": {"augment.hflip": "random"},
    "no-flip": {"augment.hflip": "none"},
    "no-translation": {"augment.crop": {}},
    "full-size-throughout": {"augment.progressive_resize": []},
    "no-label-smoothing": {"loss.label_smoothing": 0.0},
    "one-view": {"evaluation.tta_views": 1, "evaluation.tta_threshold": None},
    "ten-views": {"evaluation.tta_views": 10},
    "with-selection": {
        "training.selective_backprop.keep": 0.5,
        "training.selective_backprop.start": "0.5 of the run",
        "training.selective_backprop.image_size": 16,
    },
    "with-freezing": {"training.freeze": [{"start": "0.5 of the run", "stages": 1}]},
    "with-lookahead": {"averaging.kind": "lookahead"},
    "with-averaged-weights": {"averaging.kind": "ema", "averaging.decay": 0.9},
    "with-jitter": {"augment.color_jitter": {"brightness_shift": 0.035, "contrast": 0.13}},
    "with-cutout": {"augment.cutout": 8},
    "with-mixup": {"augment.mix.kind": "mixup"},
}

SPEED94 = Study(
    name="speed-94",
    about="What does each part of speed/94 bring, taken out or put in alone?",
    # settings are still being chosen by such tables: the test split stays closed
    overrides={"evaluation.test": False},
    rows=(
        StudyRow(name="as-it-is", recipe="speed/94"),
        *(
            StudyRow(name=name, recipe="speed/94", overrides=overrides)
            for name, overrides in _CHANGES.items()
        ),
    ),
)
