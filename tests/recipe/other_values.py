"""For every setting of a recipe another value than its default."""

import pytest

from cifarlab.recipe import build, change, keys
from cifarlab.recipe.schema import TAGGED

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
    "data.normalisation": "image",
    "augment.crop.padding": 1,
    "augment.crop.mode": "reflect",
    "augment.rotation": 15,
    "augment.zoom": 0.1,
    "augment.shift": 0.1,
    "augment.fill": "zero",
    "augment.flip": "random",
    "augment.flip_vertical": True,
    "augment.jitter.brightness": 0.1,
    "augment.jitter.contrast": 0.1,
    "augment.jitter.saturation": 0.1,
    "augment.jitter.hue": 0.1,
    "augment.noise": 0.1,
    "augment.cutout": 4,
    "augment.cutout_inside": False,
    "augment.policy.kind": "randaugment",
    "augment.policy.operations": 1,
    "augment.policy.magnitude": 10,
    "augment.mix.kind": "mixup",
    "augment.mix.alpha": 0.2,
    "augment.mix.probability": 0.5,
    "augment.sizes": [{"start": "1 epoch", "pixels": 16}],
    "model.kind": "classic_cnn",
    "model.activation": "silu",
    "model.initialisation": "dirac",
    "speed model.initialisation": "usual",
    "model.norm.scale": False,
    "speed model.norm.scale": True,
    "model.norm.momentum": 0.8,
    "model.norm.eps": 1e-4,
    "model.whitening.kernel": 3,
    "model.whitening.eps": 1e-4,
    "model.whitening.images": 100,
    "model.whitening.directions": 3,
    "model.stem": 32,
    "model.blocks": [2, 2, 2, 1],
    "residual model.channels": [64, 128, 256, 511],
    "tutorial_cnn model.channels": [32, 64, 127],
    "classic_cnn model.channels": [6, 17],
    "speed model.channels": [64, 256, 255],
    "model.depth": [3],
    "model.shortcut": True,
    "model.head_scale": 0.1,
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
    "muon optimizer.nesterov": False,
    "optimizer.weight_decay": 0.1,
    "optimizer.betas": [0.9, 0.99],
    "optimizer.eps": 1e-6,
    "optimizer.iterations": 5,
    "optimizer.normalise": False,
    "optimizer.others.rate": 0.2,
    "optimizer.others.momentum": 0.8,
    "optimizer.others.nesterov": False,
    "optimizer.others.weight_decay": 0.1,
    **{
        f"optimizer.{group}.{name}": value
        for group in ("norms", "biases", "head", "whitening")
        for name, value in (("rate", 0.3), ("weight_decay", 0.0), ("until", "3 epochs"))
    },
    "schedule.kind": "constant",
    "schedule.warmup": "1 epoch",
    "schedule.final_momentum": 0.5,
    "schedule.milestones": ["1 epoch"],
    "schedule.factor": 0.2,
    "schedule.final": 0.5,
    "averaging.kind": "ema",
    "averaging.decay": 0.9,
    "averaging.every": 2,
    "training.duration": "30 steps",
    "training.freeze": [{"start": "1 epoch", "stages": 1}],
    "training.extensions": [{"duration": "1 epoch", "schedule": "hold"}],
    "training.batch_size": 127,
    "training.micro_batch": 64,
    "training.selection.share": 0.5,
    "training.selection.start": "1 epoch",
    "training.selection.pixels": 16,
    "training.precision": "float32",
    "training.label_smoothing": 0.1,
    "training.clip_norm": 1.0,
    "evaluation.checkpoint": "best",
    "evaluation.test": False,
    "evaluation.views": 2,
    "evaluation.unsure": 0.5,
}
# What a setting can't be changed without.
NEEDS = {"evaluation.unsure": {"evaluation": {"views": 2}}}


def nested(path, tree):
    """The tree under that dotted path."""
    for name in reversed(path.split(".")):
        tree = {name: tree}
    return tree


def tagged(key):
    """The path of the part whose kind decides whether there is this key."""
    return next(part for part in TAGGED if key.path.startswith(f"{part}."))


def base(key):
    """The default recipe, of the kind that has this key."""
    if not key.kind:
        return build(NEEDS.get(key.path, {}))
    return build(nested(tagged(key), {"kind": key.kind}))


def other(key):
    return OTHER.get(f"{key.kind} {key.path}", OTHER.get(key.path))


def changed(key):
    return change(base(key), {key.path: other(key)})


ids = [f"{key.path}{key.kind and ' of '}{key.kind}" for key in KEYS]
each_key = pytest.mark.parametrize("key", KEYS, ids=ids)
