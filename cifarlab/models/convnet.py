"""Plain convolutional networks of the reports: the tutorial CNN and the classic CNN."""

from torch import nn

from cifarlab.models.layers import Head, activation, he_uniform_
from cifarlab.recipe.networks import ClassicCNN, TutorialCNN


def tutorial_cnn(
    model: TutorialCNN, image_shape: tuple[int, int, int], classes: int
) -> nn.Sequential:
    """Blocks of [conv 3x3, act, conv 3x3, act, max-pool 2, (dropout)], dense, act, dense.

    He-uniform initialisation and padding "same", as in the tutorial that kth2022 and kth2024
    follow. 550,570 parameters at (32, 32, 3) and K = 10.
    """
    height, width, channels_in = image_shape
    layers: list[nn.Module] = []
    for channels, rate in zip(model.channels, model.dropout[:-1], strict=True):
        layers += [
            nn.Conv2d(channels_in, channels, 3, padding=1),
            activation(model.activation),
            nn.Conv2d(channels, channels, 3, padding=1),
            activation(model.activation),
            nn.MaxPool2d(2),
            *_dropout(rate),
        ]
        height, width, channels_in = height // 2, width // 2, channels
    layers += [
        nn.Flatten(),
        nn.Linear(channels_in * height * width, model.dense),
        activation(model.activation),
        *_dropout(model.dropout[-1]),
        Head(model.dense, classes),
    ]
    return nn.Sequential(*layers).apply(he_uniform_)


def classic_cnn(
    model: ClassicCNN, image_shape: tuple[int, int, int], classes: int
) -> nn.Sequential:
    """2 x [conv 5x5, act, max-pool 2], then dense, act, (dropout), twice, and dense (asha2021).

    The report gives no widths; the recipe's defaults are those of the PyTorch tutorial. Padding
    is "same" here, so that images of 8 pixels pass too.
    """
    height, width, channels_in = image_shape
    layers: list[nn.Module] = []
    for channels in model.channels:
        layers += [
            nn.Conv2d(channels_in, channels, 5, padding=2),
            activation(model.activation),
            nn.MaxPool2d(2),
        ]
        height, width, channels_in = height // 2, width // 2, channels
    layers.append(nn.Flatten())
    features = channels_in * height * width
    for dense in model.dense:
        layers += [
            nn.Linear(features, dense),
            activation(model.activation),
            *_dropout(model.dropout),
        ]
        features = dense
    return nn.Sequential(*layers, Head(features, classes))


def _dropout(rate: float) -> list[nn.Module]:
    return [nn.Dropout(rate)] if rate else []
