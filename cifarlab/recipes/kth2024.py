"""kth2024: one regulariser, optimizer, schedule and order at a time on the tutorial CNN.

Keras' L2 adds l2 * |w|^2 to the loss, whose gradient is 2 * l2 * w: a weight decay of twice the
report's number, on the kernels of convolutions and hidden linear layers alone.
"""

from cifarlab.recipes.catalog import register_recipe, register_variant
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, change


@register_recipe("kth2024/baseline", reported=73.81)
def baseline() -> Recipe:
    """The tutorial CNN without any regularisation, 550,570 parameters.

    Source: kth2024, baseline. Left open by the text and taken from the tutorial it follows: SGD
    at a constant 0.001, momentum 0.9, batch 64, pixels/255, He-uniform initialisation.
    Reported: 73.81 % on CIFAR-10 (one run). Command: cifarlab train kth2024/baseline
    """
    return build(
        {
            "data": {"normalization": "unit"},
            "model": {"kind": "cnn"},
            "optimizer": {"kind": "sgd", "lr": 0.001},
            "schedule": {"kind": "constant"},
            "training": {"duration": "100 epochs", "batch_size": 64},
        }
    )


register_variant(
    "kth2024/dropout",
    baseline,
    {"model.dropout": 0.2},
    """Dropout 0.2 after each pool and after the hidden linear layer.

    Source: kth2024, dropout.""",
    82.12,
)
register_variant(
    "kth2024/weight-decay",
    baseline,
    {
        "optimizer.weight_decay": 0.002,
        "optimizer.biases.weight_decay": 0.0,
        "optimizer.head.weight_decay": 0.0,
    },
    """L2 of 0.001 on the kernels.

    Source: kth2024, weight decay; which layers have it is the tutorial's.""",
    72.95,
)
AUGMENTATION = {"augment.translate": 0.1, "augment.hflip": "random"}
register_variant(
    "kth2024/augmentation",
    baseline,
    AUGMENTATION,
    """Shifts by up to 10 % of the side and horizontal flips.

    Source: kth2024, data augmentation. What moves in repeats the border, as Keras does.""",
    82.66,
)


@register_recipe("kth2024/combined", reported=87.82)
def combined() -> Recipe:
    """Dropout, augmentation and batch normalisation together, 400 epochs.

    Source: kth2024, model with regularization and batch normalization. Left open and taken from
    the tutorial: dropout 0.2, 0.3, 0.4, 0.5; normalisation after each activation.
    Reported: 87.82 % on CIFAR-10 (one run). Command: cifarlab train kth2024/combined
    """
    return change(
        baseline(),
        {
            **AUGMENTATION,
            "model.block": ["conv", "act", "norm", "conv", "act", "norm", "pool", "dropout"],
            "model.linear_order": ["linear", "act", "norm", "dropout"],
            "model.dropout": [0.2, 0.3, 0.4, 0.5],
            "training.duration": "400 epochs",
        },
    )


register_variant(
    "kth2024/combined-standardised",
    combined,
    {"data.normalization": "dataset"},
    """The combined network on images of zero mean and unit deviation.

    Source: kth2024, centering around zero; here by channel.""",
    88.25,
)
register_variant(
    "kth2024/adam",
    combined,
    {"optimizer.kind": "adam", "optimizer.lr": 0.001},
    """The combined network under Adam.

    Source: kth2024, Adam and AdamW; the rate is Keras' default, which AdamW's text names.""",
    86.99,
)
register_variant(
    "kth2024/adamw",
    combined,
    {"optimizer.kind": "adamw", "optimizer.lr": 0.001, "optimizer.weight_decay": 0.004},
    """The combined network under AdamW, rate 0.001, weight decay 0.004.

    Source: kth2024, Adam and AdamW. Decay touches all parameters, as Keras' does by default.""",
    41.3,
)
cosine = register_variant(
    "kth2024/cosine",
    combined,
    {"schedule.kind": "cosine"},
    """The combined network, the rate falling as half a cosine.

    Source: kth2024, learning rate scheduling. Not given: the first rate (0.001 is kept).""",
    87.86,
)
register_variant(
    "kth2024/cosine-restarts",
    combined,
    {"schedule.kind": "cosine_restarts", "schedule.period": "10 epochs", "schedule.cycle_mul": 2.0},
    """The combined network under cosines with restarts.

    Source: kth2024, learning rate scheduling. Not given: the periods; 10 epochs and twice as
    long each time are taken, the latter Keras' default.""",
    84.5,
)
register_variant(
    "kth2024/step-decay",
    combined,
    {
        "optimizer.lr": 0.1,
        "schedule.kind": "multistep",
        "schedule.milestones": ["1400 steps", "2800 steps", "10000 steps"],
    },
    """The combined network, rates 0.1, 0.01, 0.001, 0.0001 from steps 1,400, 2,800, 10,000 on.

    Source: kth2024, learning rate scheduling. The last boundary is in epoch 13 of 400.""",
    64.42,
)
register_variant(
    "kth2024/exchanged",
    combined,
    {
        "model.block": ["conv", "act", "dropout", "conv", "act", "dropout", "pool", "norm"],
        "model.linear_order": ["linear", "act", "dropout", "norm"],
        "training.duration": "100 epochs",
    },
    """The combined network, normalisation where dropout was and dropout where it was.

    Source: kth2024, complementary impact: "switching out one technique to the other".""",
    59.49,
)
register_variant(
    "kth2024/batch-norm-only",
    combined,
    {
        "model.block": ["conv", "act", "norm", "conv", "act", "norm", "pool"],
        "model.linear_order": ["linear", "act", "norm"],
        "model.dropout": [0.0],
        "training.duration": "100 epochs",
    },
    """The combined network without dropout, 100 epochs.

    Source: kth2024, complementary impact; augmentation stays.""",
    83.94,
)
register_variant(
    "kth2024/dropout-only",
    combined,
    {
        "model.block": ["conv", "act", "conv", "act", "pool", "dropout"],
        "model.linear_order": ["linear", "act", "dropout"],
        "training.duration": "100 epochs",
    },
    """The combined network without batch normalisation, 100 epochs.

    Source: kth2024, complementary impact; augmentation stays.""",
    80.17,
)
register_variant(
    "kth2024/warmup",
    cosine,
    {"schedule.warmup": "5 epochs"},
    """The combined network, a linear warm-up and then half a cosine.

    Source: kth2024, learning rate scheduling: wanted, but its tools did not allow it. The length
    of the warm-up is ours.""",
)
