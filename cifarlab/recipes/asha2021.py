"""asha2021: the best settings that its searches found, for two networks, and its further work.

The searches themselves are named searches, not recipes. Where it augments, it crops, flips and
rotates at random; neither padding nor angle is given: 4 pixels and 15 degrees are taken.
"""

from cifarlab.recipes.catalog import register_recipe, register_variant
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, change

_AUGMENT = {"crop": {"padding": 4}, "hflip": "random", "degrees": 15}


@register_recipe("asha2021/classic", reported=64.4)
def classic() -> Recipe:
    """The classic CNN: two convolutions, three linear layers.

    Source: asha2021, section 3.1.1. Widths are not given: those of the PyTorch tutorial that it
    builds on (6 and 16 channels, dense 120 and 84) are taken; the rate is constant.
    Reported: 64.4 % on CIFAR-10 test, 67.1 % validation (best of 30 trials).
    Command: cifarlab train asha2021/classic
    """
    return build(
        {
            "model": {
                "kind": "cnn",
                "init": "default",
                "channels": [6, 16],
                "kernel_size": 5,
                "block": ["conv", "act", "pool"],
                "hidden_features": [120, 84],
                "dropout": 0.1,
            },
            "optimizer": {"kind": "sgd", "lr": 0.0039, "weight_decay": 0.006},
            "schedule": {"kind": "constant"},
            "training": {"duration": "30 epochs", "batch_size": 64},
        }
    )


@register_recipe("asha2021/resnet34", reported=87.8)
def resnet34() -> Recipe:
    """ResNet-34 under Adam, 21,282,122 parameters, a stem for small images.

    Source: asha2021, section 3.1.1: Adam at 1e-4, weight decay 0.0024, dropout 0.3 before the
    linear layer, 30 epochs; the rate is constant.
    Reported: 87.8 % on CIFAR-10 test, 87.6 % validation (best of 30 trials).
    Command: cifarlab train asha2021/resnet34
    """
    return build(
        {
            "augment": _AUGMENT,
            "model": {"kind": "resnet", "depths": [3, 4, 6, 3], "head_dropout": 0.3},
            "optimizer": {"kind": "adam", "lr": 1e-4, "weight_decay": 0.0024},
            "schedule": {"kind": "constant"},
            "training": {"duration": "30 epochs", "batch_size": 64},
        }
    )


@register_recipe("asha2021/resnet34-schedule", reported=92.37)
def resnet34_schedule() -> Recipe:
    """ResNet-34 with a learning-rate schedule, 21,282,122 parameters, a stem for small images.

    Source: asha2021, section 3.1.2. Not given: which schedule; cosine is taken.
    Reported: 92.37 % on CIFAR-10 test, 92.7 % validation (best of 10 trials).
    Command: cifarlab train asha2021/resnet34-schedule
    """
    return build(
        {
            "augment": _AUGMENT,
            "model": {"kind": "resnet", "depths": [3, 4, 6, 3]},
            "optimizer": {"kind": "sgd", "lr": 0.002, "weight_decay": 0.005},
            "schedule": {"kind": "cosine"},
            "training": {"duration": "50 epochs", "batch_size": 64},
        }
    )


register_variant(
    "asha2021/mixup",
    resnet34_schedule,
    {"augment.mix.kind": "mixup"},
    """ResNet-34 with a schedule and mixup.

    Source: asha2021, further work; alpha 1 as in Zhang et al. 2018.""",
)
register_variant(
    "asha2021/cutout",
    resnet34_schedule,
    {"augment.cutout": 16, "augment.cutout_inside": False},
    """ResNet-34 with a schedule and cutout of 16 pixels.

    Source: asha2021, further work; the size is that of DeVries & Taylor 2017 for CIFAR-10.""",
)
register_variant(
    "asha2021/deeper",
    resnet34_schedule,
    {"model.block": "bottleneck"},
    """ResNet-50 with a schedule.

    Source: asha2021, further work: deeper residual networks.""",
)
for _blocks in (1, 3):
    register_variant(
        f"asha2021/classic-{_blocks}",
        classic,
        {"model.channels": [6, 16, 32][:_blocks]},
        f"""The classic CNN of {_blocks} convolution{"s" * (_blocks > 1)} instead of two.

    Source: asha2021, further work: a classic CNN of varying depth.""",
    )


@register_recipe("asha2021/normaliser-free")
def normalizer_free() -> Recipe:
    """ResNet-34 without normalisation, with a schedule.

    Source: asha2021, further work: normaliser-free networks. Scaled weight standardisation and
    blocks as in Brock et al. 2021 (arXiv:2101.08692), adaptive gradient clipping as in Brock et
    al. 2021 (arXiv:2102.06171), section 4, with its 0.01.
    Command: cifarlab train asha2021/normaliser-free
    """
    return change(
        resnet34_schedule(),
        {
            "model.norm.kind": "none",
            "model.weight_standardization": True,
            "model.order": ["act", "conv", "act", "conv", "add"],
            "training.agc": 0.01,
        },
    )
