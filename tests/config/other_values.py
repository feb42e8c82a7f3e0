"""For every setting of a recipe another value than its default."""

import pytest
import yaml

from cifarlab.recipes.keys import keys
from cifarlab.recipes.text import build, change

KEYS = list(keys())
# parts that exist in several kinds
TAGGED = (
    "data.label_noise",
    "data.sampler",
    "augment.policy",
    "augment.mix",
    "model",
    "loss",
    "optimizer",
    "schedule",
    "averaging",
    "evaluation.metric",
)
# For each setting a value that is not its default; of a number or a switch it may be left out.
OTHER = {
    "name": "mine",
    "seed": 1,
    "plugins": [{"file": "mine.py", "sha256": "0" * 64}],
    "data.source": "digits",
    "data.source.path": "pets",
    "data.source.folder": "pets",
    "data.source.sha256": "0" * 64,
    "data.label_mode": "coarse",
    "data.images.size": 16,
    "data.images.resize_mode": "pad",
    "data.images.channels": "grey",
    "data.images.on_bad_images": "skip",
    "data.val_fraction": 0.2,
    "data.test_fraction": 0.3,
    "data.train_subset_fraction": 0.5,
    "data.fold": {"n_splits": 3, "index": 1},
    "data.split_seed": 1,
    "data.sampler.kind": "balanced",
    "data.sampler.file": __file__,  # what is in it is read by training alone
    "data.sampler.sha256": "0" * 64,
    "data.label_noise.kind": "pair",
    "data.label_noise.seed": 1,
    "data.label_noise.noise_rate": 0.3,
    "data.label_noise.transition_matrix": [[0.5, 0.5], [0.25, 0.75]],
    "data.normalization": "image",
    "training.distillation": {"teacher": "runs/a", "weights_sha256": "0" * 64},
    "combination": {"method": "soup", "members": ["0" * 64, "1" * 64]},
    "augment.crop.padding": 1,
    "augment.crop.padding_mode": "reflect",
    "augment.degrees": 15,
    "augment.scale": 0.1,
    "augment.translate": 0.1,
    "augment.fill_mode": "constant",
    "augment.hflip": "random",
    "augment.vflip": True,
    "augment.color_jitter.brightness_shift": 0.1,
    "augment.color_jitter.contrast": 0.1,
    "augment.color_jitter.saturation": 0.1,
    "augment.color_jitter.hue": 0.1,
    "augment.gaussian_noise.sigma": 0.1,
    "augment.cutout": 4,
    "augment.cutout_inside": False,
    "augment.policy.kind": "randaugment",
    "augment.policy.num_ops": 1,
    "augment.policy.magnitude": 10,
    "augment.extra": [{"kind": "vflip"}],
    "augment.mix.kind": "mixup",
    "augment.mix.alpha": 0.2,
    "augment.mix.prob": 0.5,
    "augment.progressive_resize": [{"start": "1 epoch", "pixels": 16}],
    "model.kind": "cnn",
    "model.activation": "silu",
    "model.init": "dirac",
    "model.linear_init": "orthogonal",
    "model.head_init": "orthogonal",
    "model.padding": "valid",
    "model.stem_kernel_size": 5,
    "model.norm.init": "uniform",
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
    "resnet model.shortcut": False,
    "airbench model.shortcut": True,
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
    "optimizer.lr": 0.2,
    "optimizer.momentum": 0.8,
    "optimizer.nesterov": True,
    "muon optimizer.nesterov": False,
    "optimizer.weight_decay": 0.1,
    "optimizer.decoupled_weight_decay": True,
    "optimizer.l1": 1e-4,
    "optimizer.initial_accumulator_value": 0.1,
    "optimizer.rho": 0.8,
    "optimizer.alpha": 0.9,
    "optimizer.betas": [0.9, 0.99],
    "optimizer.eps": 1e-5,
    "optimizer.ns_steps": 5,
    "optimizer.normalize_weights": False,
    "optimizer.aux_sgd.lr": 0.2,
    "optimizer.aux_sgd.momentum": 0.8,
    "optimizer.aux_sgd.nesterov": False,
    "optimizer.aux_sgd.weight_decay": 0.1,
    **{
        f"optimizer.{group}.{name}": value
        for group in ("shortcuts", "norms", "biases", "head", "whitening")
        for name, value in (
            ("lr", 0.3),
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
    "schedule.gamma": 0.2,
    "schedule.end_factor": 0.5,
    "schedule.step_size": "10 epochs",
    "schedule.period": "7 epochs",
    "schedule.cycle_mul": 2.0,
    "schedule.cycle_decay": 0.5,
    "schedule.pct_start": 0.5,
    "schedule.start_factor": 0.1,
    "training.early_stopping": {"patience": 3},
    "training.max_time": "10 min",
    "training.agc": 0.01,
    "schedule.monitor.kind": "accuracy",
    "schedule.monitor.k": 3,
    "schedule.patience": 3,
    "schedule.threshold": 0.01,
    "schedule.min_factor": 0.1,
    "averaging.kind": "ema",
    "averaging.decay": 0.9,
    "averaging.every": 2,
    "swa averaging.every": "2 epochs",
    "averaging.start": "0.5 of the run",
    "training.duration": "30 steps",
    "training.freeze": [{"start": "1 epoch", "stages": 1}],
    "training.extensions": [{"duration": "1 epoch", "schedule": "hold"}],
    "training.batch_size": 127,
    "training.micro_batch_size": 64,
    "training.selective_backprop.keep": 0.5,
    "training.selective_backprop.start": "1 epoch",
    "training.selective_backprop.image_size": 16,
    "training.precision": "float32",
    "loss.kind": "focal",
    "loss.class_weights": "balanced",
    "loss.label_smoothing": 0.1,
    "loss.gamma": 1.0,
    "training.clip_grad_norm": 1.0,
    "evaluation.metric.kind": "macro_f1",
    "evaluation.metric.k": 3,
    "evaluation.checkpoint": "best",
    "evaluation.test": False,
    "evaluation.tta_views": 2,
    "evaluation.tta_fraction": 0.5,
    "evaluation.tta_threshold": 0.6,
}
# What a setting can't be changed without.
NEEDS = {
    "evaluation.tta_fraction": {"evaluation": {"tta_views": 2}},
    "evaluation.tta_threshold": {"evaluation": {"tta_views": 2}},
    "data.images.resize_mode": {"data": {"images": {"size": 16}}},
    "augment.crop.padding_mode": {"augment": {"crop": {"padding": 1}}},
    "augment.fill_mode": {"augment": {"translate": 0.1}},
    "augment.cutout_inside": {"augment": {"cutout": 4}},
    **{
        f"model.whitening.{name}": {"model": {"whitening": {"kernel_size": 2}}}
        for name in ("eps", "images", "n_components")
    },
    **{
        f"training.selective_backprop.{name}": {"training": {"selective_backprop": {"keep": 0.5}}}
        for name in ("start", "image_size")
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


def merge(tree, changes):
    """Merge two trees; where both have a value, the second one's counts."""
    if not (isinstance(tree, dict) and isinstance(changes, dict)):
        return changes
    return tree | {k: merge(tree[k], v) if k in tree else v for k, v in changes.items()}


def tree_at(path, value):
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def base_tree(key, needs=NEEDS):
    """The least tree of the kind that has this key, and what it needs."""
    tree = needs.get(key.path, {})
    if key.path.startswith("model.norm.") and key.kind.startswith("cnn"):
        tree = NORM_IN_CNN
    if key.path == "data.sampler.sha256":
        tree = {"data": {"sampler": {"file": __file__}}}
    if not key.kind:
        return tree
    part = next(tagged for tagged in (*TAGGED, "data.source") if key.path.startswith(f"{tagged}."))
    outer, _, nested = key.kind.partition(", ")
    tree = merge(tree, tree_at(part, {"kind": outer}))
    if nested:
        inner = key.path.removeprefix(f"{part}.").partition(".")[0]
        tree = merge(tree, tree_at(f"{part}.{inner}", {"kind": nested}))
    return tree


def base(key):
    """The default recipe, of the kind that has this key."""
    return build(base_tree(key))


def other(key):
    return OTHER.get(
        f"{key.kind} {key.path}", OTHER.get(key.path, next_value(yaml.safe_load(key.default)))
    )


def next_value(default):
    """Another value of a setting that ``OTHER`` has none of: it will do for most numbers."""
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    return (default / 2 or 0.1) if isinstance(default, float) else None


def changed(key):
    return change(base(key), {key.path: other(key)})


ids = [f"{key.path}{key.kind and ' of '}{key.kind}" for key in KEYS]
each_key = pytest.mark.parametrize("key", KEYS, ids=ids)
