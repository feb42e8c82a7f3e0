"""kth2022 and kth2024: the tutorial CNN that both reports start from."""

from cifarlab.recipe import Recipe, build, change
from cifarlab.recipes import named


@named("kth2024/baseline")
def baseline2024() -> Recipe:
    """The tutorial CNN without any regularisation, 550,570 parameters.

    Source: kth2024, baseline. Left open by the text and taken from the tutorial it follows: SGD
    at a constant 0.001, momentum 0.9, batch 64, pixels/255, He-uniform initialisation.
    Reported: 73.81 % on CIFAR-10 (one run). Command: cifarlab train kth2024/baseline
    """
    return build(
        {
            "data": {"normalisation": "unit"},
            "model": {"kind": "cnn"},
            "optimizer": {"kind": "sgd", "rate": 0.001},
            "schedule": {"kind": "constant"},
            "training": {"duration": "100 epochs", "batch_size": 64},
        }
    )


@named("kth2024/dropout")
def dropout2024() -> Recipe:
    """The baseline with dropout 0.2 after each pool and after the hidden dense layer.

    Source: kth2024. Reported: 82.12 % on CIFAR-10 (one run).
    Command: cifarlab train kth2024/dropout
    """
    return change(baseline2024(), {"model.dropout": 0.2})


@named("kth2022/baseline")
def baseline2022() -> Recipe:
    """The tutorial CNN without any regularisation, 100 epochs.

    Source: kth2022, the same tutorial and so the same settings as kth2024/baseline.
    Reported: 68 % on CIFAR-10 (one run). Command: cifarlab train kth2022/baseline
    """
    return baseline2024()
