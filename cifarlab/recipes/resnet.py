"""ResNet-18 as most CIFAR-10 repositories train it: the yardstick of the benchmarks."""

from cifarlab.recipe import Recipe, build
from cifarlab.recipes import named


@named("resnet18")
def resnet18() -> Recipe:
    """ResNet-18 with a stem for small images, 11,173,962 parameters.

    Source: He et al. 2016 with the settings of kuangliu/pytorch-cifar (SGD 0.1, weight decay
    5e-4, batch 128, cosine, crop and flip); 30 epochs instead of its 200, with one of warm-up.
    Command: cifarlab train resnet18
    Expect: accuracy not measured here; 190 images/s on 2 cores of an AMD EPYC in bfloat16.
    """
    return build(
        {
            "augment": {"crop": {"padding": 4}, "flip": "random"},
            "model": {"kind": "residual"},
            "optimizer": {"kind": "sgd", "rate": 0.1, "nesterov": True, "weight_decay": 5e-4},
            "schedule": {"kind": "cosine", "warmup": "1 epoch"},
            "training": {"duration": "30 epochs", "batch_size": 128},
        }
    )
