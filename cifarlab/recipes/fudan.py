"""fudan: residual networks under five million parameters (report fudan.txt, sections 2 and 3).

All four have a stem of 64 channels, strides 1, 2, 2, 2, a 1x1 shortcut, and the report's
settings: SGD with Nesterov, momentum 0.9, weight decay 1e-3, batch 128, the rate multiplied by
0.9 after each epoch, 50 epochs, 10 % validation, crop with padding 4 and horizontal flip. The
report also names vertical flips and Gaussian noise among its augmentations without saying which
result used them; they are left out here.
"""

from cifarlab.recipe import Recipe, build, change
from cifarlab.recipes import named


@named("fudan/resnet24")
def resnet24() -> Recipe:
    """ResNet24: blocks 3, 3, 2, 3; channels 64, 128, 128, 256; 4,935,242 parameters.

    Source: fudan, table of networks and section 3. Reported: 93.71 % on CIFAR-10 without mixup
    (one run). Command: cifarlab train fudan/resnet24
    """
    return build(
        {
            "augment": {"crop": {"padding": 4}, "flip": "random"},
            "model": {
                "kind": "residual",
                "blocks": [3, 3, 2, 3],
                "channels": [64, 128, 128, 256],
            },
            "optimizer": {"kind": "sgd", "rate": 0.1, "nesterov": True, "weight_decay": 1e-3},
            "schedule": {"kind": "exponential", "factor": 0.9},
            "training": {"duration": "50 epochs", "batch_size": 128},
        }
    )


@named("fudan/resnet10")
def resnet10() -> Recipe:
    """ResNet10: blocks 1, 1, 1, 1; channels 64, 128, 256, 512; 4,903,242 parameters.

    Source: fudan, table of networks. Command: cifarlab train fudan/resnet10
    Expect: in full not measured here. With training.duration="8 epochs" schedule.kind=cosine
    schedule.warmup="1 epoch": 84.58 % on CIFAR-10 (JPEG) test images (one run, seed 0), 17 min on
    2 cores of an AMD EPYC in bfloat16.
    """
    return change(resnet24(), {"model.blocks": [1, 1, 1, 1], "model.channels": [64, 128, 256, 512]})


@named("fudan/resnet16")
def resnet16() -> Recipe:
    """ResNet16: blocks 2, 1, 2, 2; channels 64, 128, 256, 256; 4,909,642 parameters.

    Source: fudan, table of networks. Command: cifarlab train fudan/resnet16
    """
    return change(resnet24(), {"model.blocks": [2, 1, 2, 2], "model.channels": [64, 128, 256, 256]})


@named("fudan/resnet48")
def resnet48() -> Recipe:
    """ResNet48: blocks 8, 5, 5, 5; channels 64, 128, 128, 128; 4,994,378 parameters.

    Source: fudan, table of networks. Command: cifarlab train fudan/resnet48
    """
    return change(resnet24(), {"model.blocks": [8, 5, 5, 5], "model.channels": [64, 128, 128, 128]})
