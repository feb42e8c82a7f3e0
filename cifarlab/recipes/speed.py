"""Recipes for the shortest time to an accuracy.

They descend from KellerJordan/cifar10-airbench (Jordan 2024, arXiv:2404.00498) and
hiverge/cifar10-speedrun. Those add up losses over a batch; here the loss is the mean, so that a
rate of what SGD trains is worth as much as theirs times the batch size.
"""

from cifarlab.recipes.catalog import register_recipe
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, change


@register_recipe("speed/94")
def speed94() -> Recipe:
    """The accuracy of the public 94 % speed runs, in the fewest seconds on a processor.

    Source: airbench94_muon's settings, with what a processor wants: narrower first groups (67
    instead of 118 million multiply-adds per image at 32 pixels), small images early and more
    epochs, batches of 500 in pieces of 250, SiLU, the strongest whitening components alone, a
    whitening bias that is trained briefly, and a third convolution and shortcuts. Chosen on
    validation images of CIFAR-10 (JPEG), on 2 cores. Reported for airbench94_muon on CIFAR-10:
    94.01 %.
    Command: cifarlab train speed/94 data.val_fraction=0
    Expect: 90.78 % on CIFAR-10 (JPEG) (deviation 0.14, n = 5 seeds, trained on all 50,000
    images), 484 s of training and evaluation on 2 cores of an AMD EPYC, 0.158 PFLOP. On the same
    machine airbench94_muon takes 1,020 s and reaches 90.65 % (one run).
    """
    return build(
        {
            "augment": {
                "crop": {"padding": 2, "padding_mode": "reflect"},
                "hflip": "alternating",
                "progressive_resize": [
                    {"start": "0 of the run", "pixels": 20},
                    {"start": "0.3 of the run", "pixels": 24},
                    {"start": "0.5 of the run", "pixels": 28},
                    {"start": "0.7 of the run", "pixels": 32},
                ],
            },
            "model": {
                "kind": "airbench",
                "activation": "silu",
                "whitening": {"n_components": 8},
                "channels": [32, 192, 256],
                "depths": [2, 2, 3],
                "shortcut": True,
            },
            "optimizer": {
                "kind": "muon",
                "lr": 0.11,
                "momentum": 0.6,
                "aux_sgd": {
                    "lr": 53,
                    "momentum": 0.85,
                    "weight_decay": 2e-6 / 0.053,
                },
                "head": {"lr": 670, "weight_decay": 2e-6 / 0.67},
                "whitening": {"until": "0.05 of the run"},
            },
            "schedule": {"kind": "linear"},
            "training": {
                "duration": "11.5 epochs",
                "batch_size": 500,
                "micro_batch_size": 250,
            },
            "loss": {"label_smoothing": 0.2},
            "evaluation": {"tta_views": 6, "tta_threshold": 0.7},
        }
    )


@register_recipe("speed/96")
def speed96() -> Recipe:
    """The larger network and longer run of airbench96, under Muon.

    Source: airbench96_faster: widths 128, 384, 512 and three convolutions per group with a
    shortcut, translation by 4 pixels, cutout of 12. Its length here, and Muon's rate, are not
    tuned. Reported for airbench96_faster on CIFAR-10: 96.00 %.
    Command: cifarlab train speed/96
    Expect: not measured yet; hours on 2 processor cores.
    """
    return change(
        speed94(),
        {
            "augment.crop.padding": 4,
            "augment.cutout": 12,
            "model.channels": [128, 384, 512],
            "model.depths": 3,
            "model.shortcut": True,
            "training.duration": "30 epochs",
            "augment.progressive_resize": [],
            "model.whitening.n_components": None,
            "evaluation.tta_threshold": None,
        },
    )
