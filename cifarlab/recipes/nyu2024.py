"""nyu2024: a residual network under five million parameters with dropout 0.6 in its blocks."""

from cifarlab.recipes.catalog import register_recipe, register_variant
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build


@register_recipe("nyu2024/resnet", reported=92, split="val")
def resnet() -> Recipe:
    """The final network, 4,709,914 parameters.

    Source: nyu2024, figure 1 and methodology. Left open by the text and taken from the authors'
    code: momentum 0.9, weight decay 6e-4, normalisation 0.5/0.5, 150 epochs, the rate times 0.1
    every 30 epochs (the text's other figure is 20), dropout after the block's first activation.
    Reported: 92 % validation on CIFAR-10 (one run). Command: cifarlab train nyu2024/resnet
    """
    return build(
        {
            "data": {"normalization": "half"},
            "augment": {"crop": {"padding": 4}, "hflip": "random"},
            "model": {
                "kind": "resnet",
                "stem_width": 16,
                "depths": [3, 3, 3, 3],
                "channels": [32, 64, 128, 256],
                "shortcut_kernel_size": 3,
                "dropout": 0.6,
                "max_parameters": 5_000_000,
            },
            "optimizer": {"kind": "sgd", "lr": 0.1, "weight_decay": 6e-4},
            "schedule": {
                "kind": "multistep",
                "milestones": ["30 epochs", "60 epochs", "90 epochs", "120 epochs"],
            },
            "training": {"duration": "150 epochs", "batch_size": 128},
        }
    )


register_variant(
    "nyu2024/competition",
    resnet,
    {"data.val_fraction": 0.0},
    """The final network trained on all images, for the competition's unlabelled ones.

    Source: nyu2024, results: 82 % on a competition's test set, which is distributed differently
    and does not come with cifarlab; 'cifarlab predict' writes its file.""",
)
register_variant(
    "nyu2024/step-20",
    resnet,
    {"schedule.kind": "step", "schedule.step_size": "20 epochs"},
    """The final network, the rate times 0.1 every 20 epochs.

    Source: nyu2024, methodology; the discussion and the code say 30.""",
)
for _name in ("elu", "silu"):
    register_variant(
        f"nyu2024/{_name}",
        resnet,
        {"model.activation": _name},
        f"""The final network with {_name.upper() if _name == "elu" else "SiLU"}.

    Source: nyu2024, methodology: tried, ReLU was kept; no numbers.""",
    )
for _dropout in (0.0, 0.3, 0.5):
    register_variant(
        f"nyu2024/dropout-{_dropout:g}",
        resnet,
        {"model.dropout": _dropout},
        f"""The final network with dropout {_dropout:g} instead of 0.6.

    Source: nyu2024, results: several rates were tried, 0.6 was best; the others are not named.
    Without it the loss rises from epoch 30 on, with it from epoch 60.""",
    )
