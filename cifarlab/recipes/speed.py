"""Recipes for the shortest time to an accuracy.

They descend from KellerJordan/cifar10-airbench (Jordan 2024, arXiv:2404.00498) and
hiverge/cifar10-speedrun. Those add up losses over a batch; here the loss is the mean, so that
rates of what SGD trains are theirs times the batch size, and weight decays theirs divided by it.
"""

from cifarlab.recipe import Recipe, build
from cifarlab.recipes import named


@named("speed/94")
def speed94() -> Recipe:
    """Placeholder.

    Source: airbench. Command: cifarlab train speed/94 Expect: not measured
    """
    batch = 1000
    return build(
        {
            "augment": {
                "crop": {"padding": 2, "mode": "reflect"},
                "flip": "alternating",
                "sizes": [
                    {"start": "0 of the run", "pixels": 20},
                    {"start": "0.5 of the run", "pixels": 26},
                    {"start": "0.75 of the run", "pixels": 32},
                ],
            },
            "model": {"kind": "speed"},
            "optimizer": {
                "kind": "muon",
                "rate": 0.17,
                "momentum": 0.6,
                "others": {"rate": 0.053 * batch, "momentum": 0.85, "weight_decay": 2e-6 / 0.053},
                "head": {"rate": 0.67 * batch, "weight_decay": 2e-6 / 0.67},
                "whitening": {"until": "3 epochs"},
            },
            "schedule": {"kind": "linear"},
            "training": {
                "duration": "8 epochs",
                "batch_size": batch,
                "micro_batch": 250,
                "label_smoothing": 0.2,
            },
            "evaluation": {"views": 6},
        }
    )
