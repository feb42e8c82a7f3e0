"""Changes to the tiny recipe: each part of training with state or steps of its own, and all."""

from typing import Any

# 1,294 images: five whole batches and one of 14
LENGTH = {"training.batch_size": 256, "training.duration": "3 epochs"}
STEPS_PER_EPOCH = 6

ALL_SETTINGS: dict[str, Any] = {
    "data.normalization": "image",
    "data.images.channels": "rgb",  # for colours to change
    "augment.degrees": 10,
    "augment.scale": 0.1,
    "augment.translate": 0.1,
    "augment.fill_mode": "reflect",
    "augment.hflip": "alternating",
    "augment.vflip": True,
    "augment.policy": {"kind": "randaugment", "magnitude": 3},
    "augment.color_jitter": {
        "brightness_shift": 0.1,
        "contrast": 0.2,
        "saturation": 0.1,
        "hue": 0.1,
    },
    "augment.gaussian_noise.sigma": 0.02,
    "augment.cutout": 2,
    "augment.cutout_inside": False,
    "augment.mix": {"kind": "cutmix", "prob": 0.7},
    "augment.progressive_resize": [
        {"start": "0 of the run", "pixels": 6},
        {"start": "0.4 of the run", "pixels": 7},
        {"start": "0.7 of the run", "pixels": 8},
    ],
    "model.kind": "airbench",
    "model.channels": [6, 8],
    "model.whitening.images": 100,
    "optimizer.kind": "muon",
    "optimizer.lr": 0.05,
    "optimizer.aux_sgd": {"lr": 0.05, "weight_decay": 1e-3},
    "optimizer.norms.weight_decay": 0.0,
    "optimizer.head.lr": 0.2,
    "optimizer.whitening.until": "0.5 of the run",
    "schedule.kind": "linear",
    "schedule.final_momentum": 0.3,
    "averaging.kind": "lookahead",
    "averaging.every": 4,
    "training.micro_batch_size": 50,
    "training.freeze": [{"start": "0.6 of the run", "stages": 1}],
    "training.selective_backprop": {"keep": 0.5, "start": "4 steps", "image_size": 5},
    "loss.label_smoothing": 0.1,
    "training.clip_grad_norm": 2.0,
    "evaluation": {"tta_views": 6, "tta_fraction": 0.5},
}

COMBINATIONS: dict[str, dict[str, Any]] = {
    "ema": {"averaging.kind": "ema", "averaging.decay": 0.8, "averaging.every": 2},
    "lookahead": {
        "averaging.kind": "lookahead",
        "averaging.every": 4,
        "evaluation.checkpoint": "best",
    },
    "frozen": {"model.whitening.kernel_size": 2, "optimizer.whitening.until": "0.5 of the run"},
    "muon": {"optimizer.kind": "muon", "optimizer.lr": 0.05, "schedule.final_momentum": 0.3},
    "all settings": ALL_SETTINGS,
}
