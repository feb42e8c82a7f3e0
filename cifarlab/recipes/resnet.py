"""Residual networks as most CIFAR-10 repositories train them.

ResNet-18 is the yardstick of the benchmarks. Accuracies of the others are not measured here.
"""

from cifarlab.recipes.catalog import register_recipe, register_variant
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build


@register_recipe("resnet18")
def resnet18() -> Recipe:
    """ResNet-18 with a stem for small images, 11,173,962 parameters.

    Source: He et al. 2016 with the settings of kuangliu/pytorch-cifar (SGD 0.1, weight decay
    5e-4, batch 128, cosine, crop and flip); 30 epochs instead of its 200, with one of warm-up.
    Command: cifarlab train resnet18
    Expect: accuracy not measured here; 190 images/s on 2 cores of an AMD EPYC in bfloat16.
    """
    return build(
        {
            "augment": {"crop": {"padding": 4}, "hflip": "random"},
            "model": {"kind": "resnet"},
            "optimizer": {"kind": "sgd", "lr": 0.1, "nesterov": True, "weight_decay": 5e-4},
            "schedule": {"kind": "cosine", "warmup": "1 epoch"},
            "training": {"duration": "30 epochs", "batch_size": 128},
        }
    )


register_variant(
    "resnet34",
    resnet18,
    {"model.depths": [3, 4, 6, 3]},
    """ResNet-34, 21,282,122 parameters.

    Source: He et al. 2016, with the settings of resnet18.""",
)
register_variant(
    "resnet50",
    resnet18,
    {"model.depths": [3, 4, 6, 3], "model.block": "bottleneck"},
    """ResNet-50, 23,520,842 parameters.

    Source: He et al. 2016, with the settings of resnet18.""",
)
_WIDE = {
    "model.order": ["norm", "act", "conv", "norm", "act", "dropout", "conv", "add"],
    "model.stem_width": 16,
    "model.strides": [1, 2, 2],
    "model.dropout": 0.3,
}
register_variant(
    "wrn-16-8",
    resnet18,
    {**_WIDE, "model.depths": [2, 2, 2], "model.channels": [128, 256, 512]},
    """Wide residual network of depth 16 and width 8, dropout 0.3.

    Source: Zagoruyko & Komodakis 2016 (arXiv:1605.07146), with the settings of resnet18.""",
)
register_variant(
    "wrn-28-10",
    resnet18,
    {**_WIDE, "model.depths": [4, 4, 4], "model.channels": [160, 320, 640]},
    """Wide residual network of depth 28 and width 10, dropout 0.3.

    Source: Zagoruyko & Komodakis 2016 (arXiv:1605.07146), with the settings of resnet18.""",
)
