"""For every setting of a recipe another value than its default."""

import pytest

from cifarlab.recipes.keys import keys
from cifarlab.recipes.schema import TAGGED
from cifarlab.recipes.text import build, change

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
    "data.share": 0.5,
    "data.fold": {"of": 3, "number": 1},
    "data.split_seed": 1,
    "data.noise.kind": "pair",
    "data.noise.seed": 1,
    "data.noise.share": 0.3,
    "data.noise.rows": [[0.5, 0.5], [0.25, 0.75]],
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
    "model.kind": "cnn",
    "model.activation": "silu",
    "model.init": "dirac",
    "airbench model.init": "default",
    "model.max_parameters": 10**8,
    "model.norm.kind": "layer",
    "model.norm.scale": False,
    "airbench, batch model.norm.scale": True,
    "model.norm.num_groups": 4,
    "model.norm.momentum": 0.2,
    "model.norm.eps": 1e-4,
    "model.whitening.kernel_size": 3,
    "model.whitening.eps": 1e-4,
    "model.whitening.images": 100,
    "model.whitening.n_components": 3,
    "model.stem_width": 32,
    "resnet model.depths": [2, 2, 2, 1],
    "resnet model.channels": [64, 128, 256, 511],
    "cnn model.channels": [32, 64, 127],
    "airbench model.channels": [64, 256, 255],
    "airbench model.depths": [3],
    "model.shortcut": True,
    "model.logit_scale": 0.1,
    "model.strides": [1, 2, 2, 1],
    "model.shortcut_kernel_size": 3,
    "model.dropout": [0.1],
    "model.head_dropout": 0.1,
    "resnet model.block": "bottleneck",
    "cnn model.block": ["conv", "act", "pool", "dropout"],
    "model.order": ["norm", "act", "conv", "norm", "act", "conv", "add"],
    "model.input_norm": True,
    "model.weight_standardization": True,
    "model.alpha": 0.5,
    "model.kernel_size": 5,
    "model.hidden_features": [127],
    "model.linear_order": ["linear", "dropout", "act"],
    "optimizer.kind": "adamw",
    "optimizer.rate": 0.2,
    "optimizer.momentum": 0.8,
    "optimizer.nesterov": True,
    "muon optimizer.nesterov": False,
    "optimizer.weight_decay": 0.1,
    "optimizer.decoupled": True,
    "optimizer.l1": 1e-4,
    "optimizer.start": 0.1,
    "optimizer.rho": 0.8,
    "optimizer.smoothing": 0.9,
    "optimizer.betas": [0.9, 0.99],
    "optimizer.eps": 1e-5,
    "optimizer.iterations": 5,
    "optimizer.normalise": False,
    "optimizer.others.rate": 0.2,
    "optimizer.others.momentum": 0.8,
    "optimizer.others.nesterov": False,
    "optimizer.others.weight_decay": 0.1,
    **{
        f"optimizer.{group}.{name}": value
        for group in ("norms", "biases", "head", "whitening")
        for name, value in (
            ("rate", 0.3),
            ("weight_decay", 0.0),
            ("l1", 1e-4),
            ("until", "3 epochs"),
        )
    },
    "schedule.kind": "constant",
    "schedule.warmup": "1 epoch",
    "schedule.final_momentum": 0.5,
    "schedule.milestones": ["1 epoch"],
    "schedule.factor": 0.2,
    "schedule.final": 0.5,
    "schedule.every": "10 epochs",
    "schedule.period": "7 epochs",
    "schedule.growth": 2.0,
    "schedule.peak": 0.5,
    "schedule.rise": 0.5,
    "schedule.start": 0.1,
    "training.patience": 3,
    "training.budget": "10 min",
    "training.clip_units": 0.01,
    "schedule.patience": 3,
    "schedule.threshold": 0.01,
    "schedule.least": 0.1,
    "averaging.kind": "ema",
    "averaging.decay": 0.9,
    "averaging.every": 2,
    "swa averaging.every": "2 epochs",
    "averaging.start": "0.5 of the run",
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
    "evaluation.tta_threshold": 0.6,
}
# What a setting can't be changed without.
NEEDS = {
    "evaluation.unsure": {"evaluation": {"views": 2}},
    "evaluation.tta_threshold": {"evaluation": {"views": 2}},
    "data.images.fit": {"data": {"images": {"size": 16}}},
    "augment.crop.mode": {"augment": {"crop": {"padding": 1}}},
    "augment.fill": {"augment": {"shift": 0.1}},
    "augment.cutout_inside": {"augment": {"cutout": 4}},
    **{
        f"model.whitening.{name}": {"model": {"whitening": {"kernel_size": 2}}}
        for name in ("eps", "images", "n_components")
    },
    **{
        f"training.selection.{name}": {"training": {"selection": {"share": 0.5}}}
        for name in ("start", "pixels")
    },
    "model.alpha": {
        "model": {
            "norm": {"kind": "none"},
            "weight_standardization": True,
            "order": ["act", "conv", "act", "conv", "add"],
        }
    },
}
NORM_IN_CNN = {"model": {"block": ["conv", "norm", "act", "pool"]}}


def merged(one, other):
    """Two trees in one; where both have a value it is the other's."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return other
    return one | {k: merged(one[k], v) if k in one else v for k, v in other.items()}


def tree_at(path, value):
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def base_tree(key, needs=NEEDS):
    """The least tree of the kind that has this key, and what it needs."""
    tree = needs.get(key.path, {})
    if key.path.startswith("model.norm.") and key.kind.startswith("cnn"):
        tree = NORM_IN_CNN
    if not key.kind:
        return tree
    part = next(tagged for tagged in TAGGED if key.path.startswith(f"{tagged}."))
    outer, _, nested = key.kind.partition(", ")
    tree = merged(tree, tree_at(part, {"kind": outer}))
    if nested:
        inner = key.path.removeprefix(f"{part}.").partition(".")[0]
        tree = merged(tree, tree_at(f"{part}.{inner}", {"kind": nested}))
    return tree


def base(key):
    """The default recipe, of the kind that has this key."""
    return build(base_tree(key))


def other(key):
    return OTHER.get(f"{key.kind} {key.path}", OTHER.get(key.path))


def changed(key):
    return change(base(key), {key.path: other(key)})


ids = [f"{key.path}{key.kind and ' of '}{key.kind}" for key in KEYS]
each_key = pytest.mark.parametrize("key", KEYS, ids=ids)
