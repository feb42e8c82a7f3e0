"""fudan: residual networks under five million parameters (report fudan.txt, sections 2 and 3).

All four have a stem of 64 channels, strides 1, 2, 2, 2, a 1x1 shortcut, and the report's
settings: SGD with Nesterov, momentum 0.9, weight decay 1e-3, batch 128, the rate multiplied by
0.9 after each epoch, 50 epochs, 10 % validation, crop with padding 4 and horizontal flip. The
report also names vertical flips and Gaussian noise among its augmentations without saying which
result used them; they have recipes of their own. It chose each setting by looking at curves of
ResNet24, and gives numbers for the last two recipes only.
"""

from typing import Any

from cifarlab.recipes.catalog import register_recipe, register_variant
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, change


@register_recipe("fudan/resnet24", reported=93.71)
def resnet24() -> Recipe:
    """ResNet24: blocks 3, 3, 2, 3; channels 64, 128, 128, 256; 4,935,242 parameters.

    Source: fudan, table of networks and section 3. Reported: 93.71 % on CIFAR-10 without mixup
    (one run). Command: cifarlab train fudan/resnet24
    """
    return build(
        {
            "augment": {"crop": {"padding": 4}, "hflip": "random"},
            "model": {
                "kind": "resnet",
                "depths": [3, 3, 2, 3],
                "channels": [64, 128, 128, 256],
                "max_parameters": 5_000_000,
            },
            "optimizer": {"kind": "sgd", "lr": 0.1, "nesterov": True, "weight_decay": 1e-3},
            "schedule": {"kind": "exponential", "gamma": 0.9},
            "training": {"duration": "50 epochs", "batch_size": 128},
        }
    )


@register_recipe("fudan/resnet10")
def resnet10() -> Recipe:
    """ResNet10: blocks 1, 1, 1, 1; channels 64, 128, 256, 512; 4,903,242 parameters.

    Source: fudan, table of networks. Command: cifarlab train fudan/resnet10
    Expect: in full not measured here. With training.duration="8 epochs" schedule.kind=cosine
    schedule.warmup="1 epoch": 84.58 % on CIFAR-10 (JPEG) test images (one run, seed 0), 17 min on
    2 cores of an AMD EPYC in bfloat16.
    """
    return change(resnet24(), {"model.depths": [1, 1, 1, 1], "model.channels": [64, 128, 256, 512]})


@register_recipe("fudan/resnet16")
def resnet16() -> Recipe:
    """ResNet16: blocks 2, 1, 2, 2; channels 64, 128, 256, 256; 4,909,642 parameters.

    Source: fudan, table of networks. Command: cifarlab train fudan/resnet16
    """
    return change(resnet24(), {"model.depths": [2, 1, 2, 2], "model.channels": [64, 128, 256, 256]})


@register_recipe("fudan/resnet48")
def resnet48() -> Recipe:
    """ResNet48: blocks 8, 5, 5, 5; channels 64, 128, 128, 128; 4,994,378 parameters.

    Source: fudan, table of networks. Command: cifarlab train fudan/resnet48
    """
    return change(resnet24(), {"model.depths": [8, 5, 5, 5], "model.channels": [64, 128, 128, 128]})


NETWORKS = {"resnet10": resnet10, "resnet16": resnet16, "resnet24": resnet24, "resnet48": resnet48}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adagrad": {"optimizer.kind": "adagrad", "optimizer.weight_decay": 1e-3},
    "adadelta": {"optimizer.kind": "adadelta", "optimizer.weight_decay": 1e-3},
    "sgd": {"optimizer.nesterov": False},
}
for _network, _base in NETWORKS.items():
    for _kind, _changes in OPTIMIZERS.items():
        register_variant(
            f"fudan/{_network}-{_kind}",
            _base,
            _changes,
            f"""{_network} under {_kind}.

    Source: fudan, section 2.1.2 and figure 4: the SGD family, Nesterov's of which is
    fudan/{_network}, lies about 8 points over Adagrad and Adadelta. Rates of these two are not
    given: PyTorch's defaults, 0.01 and 1, are taken.""",
        )

register_variant(
    "fudan/step",
    resnet24,
    {"schedule.kind": "step", "schedule.step_size": "20 epochs"},
    """ResNet24, the rate times 0.1 every 20 epochs.

    Source: fudan, section 2.1.3; "steps" are taken for epochs.""",
)
register_variant(
    "fudan/restarts",
    resnet24,
    {"schedule.kind": "cosine_restarts", "schedule.period": "20 epochs"},
    """ResNet24, half a cosine every 20 epochs.

    Source: fudan, section 2.1.3.""",
)
register_variant(
    "fudan/plateau",
    resnet24,
    {"schedule.kind": "plateau", "schedule.patience": 3, "schedule.factor": 0.5},
    """ResNet24, the rate halved when the validation loss has not fallen for three epochs.

    Source: fudan, section 2.1.3.""",
)
for _weight in ("1e-3", "1e-4", "1e-5"):
    register_variant(
        f"fudan/l1-{_weight}",
        resnet24,
        {"optimizer.weight_decay": 0.0, "optimizer.l1": float(_weight)},
        f"""ResNet24 with L1 of {_weight} instead of L2.

    Source: fudan, section 2.1.4 and figure 6; the weights that it tried are not given.""",
    )
for _weight in ("0", "1e-4", "5e-4", "5e-3"):
    register_variant(
        f"fudan/l2-{_weight}",
        resnet24,
        {"optimizer.weight_decay": float(_weight)},
        f"""ResNet24 with L2 of {_weight} instead of 1e-3.

    Source: fudan, section 2.1.4 and figure 6; the weights that it tried are not given.""",
    )
for _name in ("relu6", "leaky_relu", "elu", "silu"):
    register_variant(
        f"fudan/{_name.replace('_', '-')}",
        resnet24,
        {"model.activation": _name},
        f"""ResNet24 with {_name} everywhere.

    Source: fudan, section 2.1.5 and figure 8: none is better than ReLU. Swish is SiLU here.""",
    )
ORDERS = {
    "norm-after-add": ["conv", "norm", "act", "conv", "add", "norm", "act"],
    "act-before-add": ["conv", "norm", "act", "conv", "norm", "act", "add"],
    "act-before-norm": ["conv", "act", "norm", "conv", "norm", "add", "act"],
    "pre-activation": ["norm", "act", "conv", "norm", "act", "conv", "add"],
}
for _name, _order in ORDERS.items():
    register_variant(
        f"fudan/{_name}",
        resnet24,
        {"model.order": _order},
        f"""ResNet24 with blocks of {", ".join(_order)}.

    Source: fudan, section 2.1.6 and figure 9, whose sequences its text does not name: those of He
    et al. 2016b (figure 4) are taken. The original is the best.""",
    )
register_variant(
    "fudan/no-augmentation",
    resnet24,
    {"augment.crop.padding": 0, "augment.hflip": "none"},
    """ResNet24 without augmentation.

    Source: fudan, section 2.1.7.""",
)
register_variant(
    "fudan/vertical-flip",
    resnet24,
    {"augment.vflip": True},
    """ResNet24 with vertical flips too.

    Source: fudan, section 2.1.7.""",
)
register_variant(
    "fudan/noise",
    resnet24,
    {"augment.gaussian_noise.sigma": 0.25},
    """ResNet24 with Gaussian noise.

    Source: fudan, section 2.1.7: "mean=0, var=1". On images normalised by deviations of about a
    quarter of the range, as its transforms are listed, that is 0.25 of it.""",
)
register_variant(
    "fudan/mixup",
    resnet24,
    {"augment.mix.kind": "mixup"},
    """ResNet24 with mixup, the report's best.

    Source: fudan, section 2.2. Not given: alpha (1, as Zhang et al. 2018 use on CIFAR-10). Its
    confusion matrix sums to 94.59.""",
    94.43,
)
