"""asha2021: the best settings that its searches found, for two networks."""

from cifarlab.recipe import Recipe, build
from cifarlab.recipes import named


@named("asha2021/classic")
def classic() -> Recipe:
    """The classic CNN: two convolutions, three dense layers.

    Source: asha2021, section 3.1.1. Widths are not given: those of the PyTorch tutorial that it
    builds on (6 and 16 channels, dense 120 and 84) are taken; the rate is constant.
    Reported: 64.4 % on CIFAR-10 test, 67.1 % validation (best of 30 trials).
    Command: cifarlab train asha2021/classic
    """
    return build(
        {
            "model": {
                "kind": "cnn",
                "initialisation": "usual",
                "channels": [6, 16],
                "kernel": 5,
                "block": ["conv", "act", "pool"],
                "dense": [120, 84],
                "dropout": 0.1,
            },
            "optimizer": {"kind": "sgd", "rate": 0.0039, "weight_decay": 0.006},
            "schedule": {"kind": "constant"},
            "training": {"duration": "30 epochs", "batch_size": 64},
        }
    )


@named("asha2021/resnet34-schedule")
def resnet34_schedule() -> Recipe:
    """ResNet-34 with a learning-rate schedule, 21,282,122 parameters, a stem for small images.

    Source: asha2021, section 3.1.2. Not given: which schedule (cosine is taken), crop padding (4
    is taken). Its random rotation is not part of this recipe.
    Reported: 92.37 % on CIFAR-10 test, 92.7 % validation (best of 10 trials).
    Command: cifarlab train asha2021/resnet34-schedule
    """
    return build(
        {
            "augment": {"crop": {"padding": 4}, "flip": "random"},
            "model": {"kind": "residual", "blocks": [3, 4, 6, 3]},
            "optimizer": {"kind": "sgd", "rate": 0.002, "weight_decay": 0.005},
            "schedule": {"kind": "cosine"},
            "training": {"duration": "50 epochs", "batch_size": 64},
        }
    )
